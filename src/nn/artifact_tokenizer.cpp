#include "nn/artifact_tokenizer.hpp"

#include <nlohmann/json.hpp>

#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::json;

/// A token of tokenizer_config.json: a string, or an object with "content".
void read_token(const Json& config, const char* key, std::string& token) {
  const auto it = config.find(key);
  if (it == config.end()) return;
  if (it->is_string()) token = it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
    token = (*it)["content"].get<std::string>();
}

void read_flag(const Json& config, const char* key, bool& flag) {
  const auto it = config.find(key);
  if (it != config.end() && it->is_boolean()) flag = it->get<bool>();
}

WordPieceOptions options_from(const std::string& tokenizer_config) {
  WordPieceOptions options;
  const Json config = Json::parse(tokenizer_config, nullptr, false);
  if (!config.is_object()) return options;
  read_flag(config, "do_lower_case", options.do_lower_case);
  read_flag(config, "tokenize_chinese_chars", options.tokenize_chinese_chars);
  if (const auto it = config.find("strip_accents"); it != config.end() && it->is_boolean())
    options.strip_accents = it->get<bool>();
  std::string pad = "[PAD]", mask = "[MASK]";
  read_token(config, "unk_token", options.unknown_token);
  read_token(config, "cls_token", options.prefix[0]);
  read_token(config, "sep_token", options.suffix[0]);
  read_token(config, "pad_token", pad);
  read_token(config, "mask_token", mask);
  options.special = {pad, options.unknown_token, options.prefix[0], options.suffix[0], mask};
  return options;
}

}  // namespace

std::string file_text(const Artifact& artifact, const std::string& name) {
  const std::string entry = "file/" + name;
  if (!artifact.contains(entry)) return {};
  const TensorView& tensor = artifact.tensor(entry);
  return {reinterpret_cast<const char*>(tensor.data), tensor.nbytes};
}

bool has_wordpiece(const Artifact& artifact) {
  if (artifact.contains("file/vocab.txt")) return true;
  const Json json = Json::parse(file_text(artifact, "tokenizer.json"), nullptr, false);
  return json.is_object() && json.contains("model") && json["model"].is_object() &&
         json["model"].value("type", Json()) == "WordPiece";
}

WordPiece read_wordpiece(const Artifact& artifact) {
  if (artifact.contains("file/tokenizer.json"))
    return WordPiece::from_tokenizer_json(file_text(artifact, "tokenizer.json"));
  if (artifact.contains("file/vocab.txt"))
    return WordPiece::from_vocab(file_text(artifact, "vocab.txt"),
                                 options_from(file_text(artifact, "tokenizer_config.json")));
  throw Unsupported(artifact.path() +
                    ": holds no WordPiece tokenizer; tokenize with the model's own "
                    "and pass token ids");
}

}  // namespace qeff::nn
