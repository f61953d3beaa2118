#include <limits>

#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "text/wordpiece_impl.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;

const std::string kFile = "tokenizer.json";

const Json& member(const Json& object, const char* key, const std::string& what) {
  return json_member(object, key, kFile, what);
}

/// @throws Unsupported unless the part has this "type".
void require_type(const Json& document, const char* part, std::string_view type) {
  const Json& value = member(document, part, "the document");
  const std::string found =
      value.is_null() ? "none" : json_string(member(value, "type", part), kFile, part);
  if (found != type)
    throw Unsupported(str(kFile, ": ", part, " of type ", found, ", qeff reads ", type,
                          "; tokenize with the model's own tokenizer and pass token ids"));
}

bool flag(const Json& object, const char* key, bool otherwise) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) throw FormatError(kFile, str("\"", key, "\" is not true or false"));
  return found->get<bool>();
}

std::int32_t token_id(const Json& value, const std::string& what) {
  const std::uint64_t id = json_unsigned(value, kFile, what);
  if (id >= static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(kFile, str(what, " is ", id, ", too large for a token id"));
  return static_cast<std::int32_t>(id);
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

/// Bert- and RobertaProcessing: "cls": [token, id] A "sep": [token, id].
std::vector<std::int32_t> processing_ids(const Json& processor, const char* key) {
  const Json& pair = member(processor, key, "post_processor");
  if (!pair.is_array() || pair.size() != 2)
    throw FormatError(kFile, str("\"", key, "\" is not [token, id]"));
  return {token_id(pair[1], str("the id of \"", key, "\""))};
}

void parse_template(const Json& processor, std::vector<std::int32_t>& prefix,
                    std::vector<std::int32_t>& suffix) {
  const Json& single = member(processor, "single", "post_processor");
  const Json& special = member(processor, "special_tokens", "post_processor");
  if (!single.is_array()) throw FormatError(kFile, "\"single\" is not an array");
  std::size_t sequences = 0;
  for (const Json& part : single) {
    if (part.is_object() && part.contains("Sequence")) {
      ++sequences;
      continue;
    }
    const Json& token = member(part, "SpecialToken", "a part of \"single\"");
    const std::string& name =
        json_string(member(token, "id", "SpecialToken"), kFile, "SpecialToken");
    const Json& ids = member(member(special, name.c_str(), "special_tokens"), "ids", name);
    if (!ids.is_array()) throw FormatError(kFile, "\"ids\" is not an array");
    for (const Json& id : ids)
      (sequences == 0 ? prefix : suffix).push_back(token_id(id, "an id of " + name));
  }
  if (sequences != 1)
    throw FormatError(kFile, str("the template has ", sequences, " sequences, expected 1"));
}

void parse_post_processor(const Json& document, std::vector<std::int32_t>& prefix,
                          std::vector<std::int32_t>& suffix) {
  const auto found = document.find("post_processor");
  if (found == document.end() || found->is_null()) return;
  const std::string& type =
      json_string(member(*found, "type", "post_processor"), kFile, "post_processor");
  if (type == "TemplateProcessing") return parse_template(*found, prefix, suffix);
  if (type != "BertProcessing" && type != "RobertaProcessing")
    throw Unsupported(kFile + ": post_processor of type " + type +
                      ", qeff reads TemplateProcessing, BertProcessing and RobertaProcessing");
  prefix = processing_ids(*found, "cls");
  suffix = processing_ids(*found, "sep");
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
  parse_post_processor(document, impl->prefix, impl->suffix);
  impl->max_length = parse_truncation(document);
  const std::string& unknown = json_string(member(model, "unk_token", "model"), kFile, "unk_token");
  const auto id = impl->words.find(unknown);
  if (!id) throw FormatError(kFile, "the vocabulary has no unk_token '" + unknown + "'");
  impl->unknown = *id;
  return WordPiece(impl);
}

}  // namespace qeff
