#include <string>

#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "text/bpe_model.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

/// The two tokens of a merge: "a b" or ["a", "b"].
std::pair<std::string_view, std::string_view> merge_parts(const Json& merge, std::size_t rank) {
  const auto broken = [rank] {
    return FormatError(kFile, str("merge ", rank, " does not name two tokens"));
  };
  if (merge.is_string()) {
    const std::string_view both = merge.get_ref<const std::string&>();
    const std::size_t space = both.find(' ');
    if (space == both.npos || both.find(' ', space + 1) != both.npos) throw broken();
    return {both.substr(0, space), both.substr(space + 1)};
  }
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
    throw broken();
  return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
}

/// Whether the word mark follows something other than a word mark.
bool has_inner_mark(std::string_view token) noexcept {
  constexpr std::string_view kMark = BpeModel::kWordMark;
  while (token.starts_with(kMark)) token.remove_prefix(kMark.size());
  return token.find(kMark) != token.npos;
}

/// `words_apart` becomes false if a merge has an inner word mark.
MergeTable parse_merges(const Json& merges, const TokenTrie& vocabulary, bool& words_apart) {
  MergeTable table(merges.size());
  std::string both;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = merge_parts(merges[rank], rank);
    const auto id = [&, rank](std::string_view token) {
      const auto found = vocabulary.find(token);
      if (!found)
        throw FormatError(
            kFile, str("merge ", rank, " names '", token, "', which is not in the vocabulary"));
      return *found;
    };
    const std::int32_t left_id = id(left), right_id = id(right);
    both.assign(left).append(right);
    words_apart = words_apart && !has_inner_mark(both);
    table.insert(left_id, right_id, {static_cast<std::uint32_t>(rank), id(both)});
  }
  return table;
}

/// @throws Unsupported unless the option is not set, empty or zero.
void require_unset(const Json& model, const char* key) {
  const Json* value = find_member(model, key);
  const bool zero = value != nullptr && value->is_number() && value->get<double>() == 0.0;
  const bool empty = value != nullptr && *value == "";
  if (value != nullptr && !zero && !empty)
    refuse(str("model of type BPE with ", key, " ", value->dump()));
}

}  // namespace

BpeModel BpeModel::from_json(const Json& json, const Vocabulary& vocabulary) {
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    require_unset(json, key);
  BpeModel model;
  model.vocabulary_ = TokenTrie(vocabulary);
  model.ignore_merges_ = flag(json, "ignore_merges", false);
  model.words_apart_ = !model.ignore_merges_ && model.find(kWordMark).has_value();
  model.merges_ =
      parse_merges(array_member(json, "merges", "model"), model.vocabulary_, model.words_apart_);
  model.byte_fallback_ = flag(json, "byte_fallback", false);
  model.fuse_unknown_ = flag(json, "fuse_unk", false);
  for (std::size_t byte = 0; byte < model.byte_ids_.size(); ++byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::string name = str("<0x", kDigits[byte / 16], kDigits[byte % 16], ">");
    model.byte_ids_[byte] = model.find(name).value_or(kNoId);
  }
  if (find_member(json, "unk_token") != nullptr) {
    const std::string& name = string_member(json, "unk_token", "model");
    model.unknown_ = model.find(name).value_or(kNoId);
    if (model.unknown_ == kNoId)
      throw FormatError(kFile, "the vocabulary has no unk_token '" + name + "'");
  }
  return model;
}

}  // namespace qeff
