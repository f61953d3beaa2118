#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "text/tokenizer_json.hpp"
#include "text/wordpiece_impl.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

/// @throws Unsupported unless the part has this "type".
void require_type(const Json& document, const char* part, std::string_view type) {
  const Json& value = member(document, part, "the document");
  const std::string found =
      value.is_null() ? "none" : json_string(member(value, "type", part), kFile, part);
  if (found != type)
    throw Unsupported(str(kFile, ": ", part, " of type ", found, ", qeff reads ", type,
                          "; tokenize with the model's own tokenizer and pass token ids"));
}

BertNormalizer parse_normalizer(const Json& document) {
  require_type(document, "normalizer", "BertNormalizer");
  const Json& object = document["normalizer"];
  BertNormalizer normalizer;
  normalizer.clean_text = flag(object, "clean_text", true);
  normalizer.chinese_spaces = flag(object, "handle_chinese_chars", true);
  normalizer.lower_case = flag(object, "lowercase", true);
  normalizer.strip_accents = flag(object, "strip_accents", normalizer.lower_case);
  return normalizer;
}

TokenIds parse_vocabulary(const Json& model) {
  const Json& vocab = member(model, "vocab", "model");
  if (!vocab.is_object()) throw FormatError(kFile, "\"vocab\" is not a JSON object");
  TokenIds tokens;
  for (const auto& [token, id] : vocab.get_ref<const Json::object_t&>())
    tokens.emplace_back(token, token_id(id, "the id of token '" + token + "'"));
  return tokens;
}

struct AddedTokens {
  TokenIds raw, normalized;
};

AddedTokens parse_added(const Json& document) {
  AddedTokens added;
  const auto list = document.find("added_tokens");
  if (list == document.end() || list->is_null()) return added;
  if (!list->is_array()) throw FormatError(kFile, "\"added_tokens\" is not an array");
  for (const Json& item : *list) {
    const std::string& content =
        json_string(member(item, "content", "an added token"), kFile, "an added token");
    const std::string what = "added token '" + content + "'";
    const std::int32_t id = token_id(member(item, "id", what), "the id of " + what);
    if (flag(item, "single_word", false))
      throw Unsupported(kFile + ": " + what + " matches single words only, which qeff does not do");
    (flag(item, "normalized", false) ? added.normalized : added.raw).emplace_back(content, id);
  }
  return added;
}

std::optional<std::size_t> parse_truncation(const Json& document) {
  const auto found = document.find("truncation");
  if (found == document.end() || found->is_null()) return std::nullopt;
  const auto direction = found->find("direction");
  if (direction != found->end() && *direction != "Right")
    throw Unsupported(kFile + ": truncation from the left, qeff truncates from the right");
  return json_unsigned(member(*found, "max_length", "truncation"), kFile, "max_length");
}

/// The contents as they look in normalized text.
TokenTrie normalized_trie(const TokenIds& tokens, const BertNormalizer& normalizer) {
  std::vector<std::string> contents(tokens.size());
  TokenIds normalized;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    normalizer.append(tokens[i].first, contents[i]);
    normalized.emplace_back(contents[i], tokens[i].second);
  }
  return TokenTrie(std::move(normalized));
}

}  // namespace

WordPiece WordPiece::from_tokenizer_json(std::string_view json) {
  const Json document = parse_json(json, kFile);
  require_type(document, "model", "WordPiece");
  require_type(document, "pre_tokenizer", "BertPreTokenizer");
  const Json& model = document["model"];
  const auto impl = std::make_shared<Impl>();
  impl->normalizer = parse_normalizer(document);
  impl->max_chars_per_word = json_unsigned(member(model, "max_input_chars_per_word", "model"),
                                           kFile, "max_input_chars_per_word");
  const AddedTokens added = parse_added(document);
  TokenIds special = added.raw;
  special.insert(special.end(), added.normalized.begin(), added.normalized.end());
  impl->set_vocabulary(parse_vocabulary(model), std::move(special),
                       json_string(member(model, "continuing_subword_prefix", "model"), kFile,
                                   "continuing_subword_prefix"));
  impl->raw_special = TokenTrie(added.raw);
  impl->normalized_special = normalized_trie(added.normalized, impl->normalizer);
  const Template around = parse_post_processor(document);
  impl->prefix = around.prefix;
  impl->suffix = around.suffix;
  impl->max_length = parse_truncation(document);
  const std::string& unknown = json_string(member(model, "unk_token", "model"), kFile, "unk_token");
  const auto id = impl->words.find(unknown);
  if (!id) throw FormatError(kFile, "the vocabulary has no unk_token '" + unknown + "'");
  impl->unknown = *id;
  return WordPiece(impl);
}

}  // namespace qeff
