#include "nn/model_files.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "io/json.hpp"
#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::json;

/// The document, or null if the file is not there.
Json read_json(const Checkpoint& checkpoint, const std::string& name) {
  const std::string text = checkpoint.read_text(name);
  return text.empty() ? Json() : parse_json(text, checkpoint.directory() + "/" + name);
}

std::string pooling_mode(const Json& json) {
  if (const auto it = json.find("pooling_mode"); it != json.end() && it->is_string()) return *it;
  std::string modes;
  for (const auto& [key, value] : json.items())
    if (key.starts_with("pooling_mode_") && value.is_boolean() && value.get<bool>())
      modes += (modes.empty() ? "" : "+") + key.substr(sizeof("pooling_mode_") - 1);
  return modes;
}

}  // namespace

std::optional<Pooling> stated_pooling(const Checkpoint& checkpoint) {
  const Json json = read_json(checkpoint, "1_Pooling/config.json");
  if (!json.is_object()) return std::nullopt;
  const std::string mode = pooling_mode(json);
  if (mode == "mean_tokens" || mode == "mean") return Pooling::mean;
  if (mode == "cls_token" || mode == "cls") return Pooling::cls;
  if (mode == "max_tokens" || mode == "max") return Pooling::max;
  throw Unsupported(
      fmt::format("{}/1_Pooling/config.json: pooling \"{}\" has no native form; pass mean, cls "
                  "or max, or none to pool the hidden states yourself",
                  checkpoint.directory(), mode));
}

std::optional<bool> stated_normalize(const Checkpoint& checkpoint) {
  const Json json = read_json(checkpoint, "modules.json");
  if (!json.is_array()) return std::nullopt;
  for (const Json& module : json)
    if (module.is_object() && module.value("type", std::string()).ends_with("Normalize"))
      return true;
  return false;
}

std::optional<std::size_t> stated_max_tokens(const Checkpoint& checkpoint) {
  const std::string file = "sentence_bert_config.json";
  const Json json = read_json(checkpoint, file);
  if (!json.is_object() || !json.contains("max_seq_length") || json["max_seq_length"].is_null())
    return std::nullopt;
  const auto tokens =
      json_unsigned(json["max_seq_length"], checkpoint.directory() + "/" + file, "max_seq_length");
  if (tokens == 0) throw FormatError(checkpoint.directory() + "/" + file, "max_seq_length is 0");
  return tokens;
}

std::vector<std::pair<std::string, std::string>> files_to_keep(const Checkpoint& checkpoint,
                                                               const std::string& model_type) {
  std::vector<std::pair<std::string, std::string>> files{{"config.json", checkpoint.config()}};
  for (const char* name :
       {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json",
        "tokenizer.json", "generation_config.json", "chat_template.jinja", "vocab.json",
        "merges.txt", "sentence_bert_config.json", "1_Pooling/config.json"})
    if (std::string text = checkpoint.read_text(name); !text.empty())
      files.emplace_back(name, std::move(text));
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(files, [&](const auto& file) { return file.first == name; });
  };
  const bool wordpiece =
      model_type == "bert" || model_type == "distilbert" || model_type == "mpnet";
  if (wordpiece && has("vocab.txt") && has("tokenizer_config.json"))
    std::erase_if(files, [](const auto& file) { return file.first == "tokenizer.json"; });
  if (has("tokenizer.json"))  // it holds them
    std::erase_if(files, [](const auto& file) {
      return file.first == "vocab.json" || file.first == "merges.txt";
    });
  return files;
}

}  // namespace qeff::nn
