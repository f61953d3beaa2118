#include "model_texts.hpp"

#include <nlohmann/json.hpp>

#include "qeff/core/error.hpp"

namespace qeff::cli {
namespace {

using Json = nlohmann::json;

/// The document, or an empty object where there is none.
Json document(const ReadText& read, const std::string& name) {
  const std::string text = read(name);
  if (text.empty()) return Json::object();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw FormatError(name, "is not a JSON object");
  return json;
}

std::string content(const Json& object, const std::string& key) {
  const auto it = object.find(key);
  if (it == object.end()) return {};
  const Json& token = it->is_object() && it->contains("content") ? (*it)["content"] : *it;
  return token.is_string() ? token.get<std::string>() : std::string();
}

std::optional<bool> flag(const Json& object, const std::string& key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() ? std::optional(it->get<bool>()) : std::nullopt;
}

}  // namespace

BpeTokenizer make_tokenizer(const ReadText& read, const std::string& owner) {
  const std::string tokenizer = read("tokenizer.json");
  if (tokenizer.empty())
    throw Unsupported(owner + ": has no tokenizer.json; give token ids (--prompt-ids)");
  const Json config = document(read, "tokenizer_config.json");
  return BpeTokenizer::from_tokenizer_json(
      tokenizer, {flag(config, "add_bos_token"), flag(config, "add_eos_token"),
                  content(config, "bos_token"), content(config, "eos_token")});
}

std::string special_token(const ReadText& read, const std::string& name) {
  const std::string token = content(document(read, "tokenizer_config.json"), name);
  return token.empty() ? content(document(read, "special_tokens_map.json"), name) : token;
}

std::vector<std::int32_t> stated_eos_ids(const ReadText& read) {
  std::vector<std::int32_t> ids;
  for (const char* file : {"generation_config.json", "config.json"}) {
    const Json config = document(read, file);
    if (!config.contains("eos_token_id")) continue;
    const Json& stated = config["eos_token_id"];
    for (const Json& id : stated.is_array() ? stated : Json::array({stated}))
      if (id.is_number_integer()) ids.push_back(id.get<std::int32_t>());
    if (!ids.empty()) break;
  }
  return ids;
}

std::string chat_program(const ReadText& read) {
  if (std::string text = read("chat_template.jinja"); !text.empty()) return text;
  const Json config = document(read, "tokenizer_config.json");
  const auto it = config.find("chat_template");
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_array())
    for (const Json& named : *it)
      if (named.is_object() && named.value("name", "") == "default")
        return named.value("template", "");
  return {};
}

std::size_t stated_positions(const ReadText& read, std::size_t otherwise) {
  const Json config = document(read, "config.json");
  for (const char* name : {"max_position_embeddings", "n_positions"})
    if (config.contains(name) && config[name].is_number_unsigned() && config[name] != 0)
      return config[name].get<std::size_t>();
  return otherwise;
}

}  // namespace qeff::cli
