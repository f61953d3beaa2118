#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/gguf_model.hpp"
#include "io/gguf_vocabulary.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, a space in SentencePiece

/// How a byte-level vocabulary cuts text into words: tokenizer.ggml.pre.
struct WordRule {
  std::string_view name;
  std::string_view pattern;  ///< Empty: the one of GPT-2.
  bool single_digits;        ///< Every digit a word before the pattern is applied.
  bool compose;              ///< NFC first.
  bool whole_words;          ///< A word that is a token is not merged from its parts.
  bool add_bos;              ///< Unless the file says otherwise.
};

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<WordRule, 6> kWordRules{{{"default", "", false, false, false, false},
                                              {"gpt-2", "", false, false, false, false},
                                              {"smollm", "", true, false, false, false},
                                              {"llama-bpe", kLlama3, false, false, true, true},
                                              {"llama3", kLlama3, false, false, true, true},
                                              {"qwen2", kQwen2, false, true, false, false}}};

/// Text of one JSON document. @throws FormatError for strings that are not UTF-8.
std::string dump(const Json& json, const std::string& file) {
  try {
    return json.dump() + "\n";
  } catch (const Json::type_error&) {
    throw FormatError(file, "a string of the tokenizer is not UTF-8");
  }
}

class TokenizerWriter {
 public:
  TokenizerWriter(const GgufTable& table, const std::string& file)
      : metadata_(table, file),
        vocabulary_(metadata_),
        model_(required_text("tokenizer.ggml.model")) {
    if (model_ != "gpt2" && model_ != "llama")
      throw Unsupported(str(metadata_.file(), ": tokenizer '", model_,
                            "'; qeff reads gpt2 (bytes) and llama (SentencePiece)"));
    if (byte_level()) rule_ = &word_rule();
  }

  [[nodiscard]] std::string tokenizer() const {
    Json json{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
    json["added_tokens"] = added_tokens();
    json["normalizer"] = byte_level() ? composition() : spaces();
    json["pre_tokenizer"] = byte_level() ? words() : Json();
    json["post_processor"] = frame();
    json["decoder"] = byte_level() ? byte_level_step(true, true) : piece_decoder();
    json["model"] = bpe();
    return dump(json, metadata_.file());
  }

  [[nodiscard]] std::string config() const {
    Json json{{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"add_bos_token", add_bos()},
              {"add_eos_token", add_eos()},
              {"add_prefix_space", !byte_level() && space_prefix()},
              {"clean_up_tokenization_spaces", false}};
    for (const auto& [key, name] :
         {std::pair("bos_token", "bos"), std::pair("eos_token", "eos"),
          std::pair("unk_token", "unknown"), std::pair("pad_token", "padding")})
      if (const auto id = vocabulary_.special(name)) json[key] = vocabulary_.tokens()[*id];
    const auto architecture = metadata_.text("general.architecture").value_or("");
    if (const auto context = metadata_.size(str(architecture, ".context_length")))
      json["model_max_length"] = *context;
    if (const auto chat = metadata_.text("tokenizer.chat_template")) json["chat_template"] = *chat;
    return dump(json, metadata_.file());
  }

  [[nodiscard]] std::string generation() const {
    Json json = Json::object();
    if (const auto bos = vocabulary_.special("bos")) json["bos_token_id"] = *bos;
    if (const auto pad = vocabulary_.special("padding")) json["pad_token_id"] = *pad;
    Json ends = Json::array();
    for (const std::string_view name : {"eos", "eot"}) {
      const auto id = vocabulary_.special(name);
      if (id && std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(*id);
    }
    if (!ends.empty()) json["eos_token_id"] = ends.size() == 1 ? ends.front() : ends;
    return dump(json, metadata_.file());
  }

 private:
  [[nodiscard]] bool byte_level() const noexcept { return model_ == "gpt2"; }

  [[nodiscard]] std::string_view required_text(std::string_view key) const {
    const auto text = metadata_.text(key);
    if (!text) throw FormatError(metadata_.file(), str("has no key '", key, "'"));
    return *text;
  }

  [[nodiscard]] const WordRule& word_rule() const {
    const std::string_view name = metadata_.text("tokenizer.ggml.pre").value_or("default");
    for (const WordRule& rule : kWordRules)
      if (rule.name == name) return rule;
    std::string known;
    for (const WordRule& rule : kWordRules) known += str(" ", rule.name);
    throw Unsupported(str(metadata_.file(), ": words of a tokenizer are cut by the rule '", name,
                          "'; qeff knows", known));
  }

  [[nodiscard]] bool add_bos() const {
    return metadata_.flag("tokenizer.ggml.add_bos_token")
        .value_or(byte_level() ? rule_->add_bos : true);
  }
  [[nodiscard]] bool add_eos() const {
    return metadata_.flag("tokenizer.ggml.add_eos_token").value_or(false);
  }
  [[nodiscard]] bool space_prefix() const {
    return metadata_.flag("tokenizer.ggml.add_space_prefix").value_or(true);
  }

  [[nodiscard]] Json added_tokens() const {
    Json added = Json::array();
    for (std::size_t id = 0; id < vocabulary_.tokens().size(); ++id) {
      const TokenKind kind = vocabulary_.kind(id);
      const bool special = kind == TokenKind::control || kind == TokenKind::unknown;
      if (!special && kind != TokenKind::user_defined) continue;
      added.push_back({{"id", id},
                       {"content", vocabulary_.tokens()[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", special}});
    }
    return added;
  }

  [[nodiscard]] Json composition() const { return rule_->compose ? Json{{"type", "NFC"}} : Json(); }

  static Json replace(std::string_view from, std::string_view to) {
    return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  }
  [[nodiscard]] Json spaces() const {
    Json steps = Json::array();
    if (space_prefix()) steps.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
    steps.push_back(replace(" ", kSpace));
    return {{"type", "Sequence"}, {"normalizers", steps}};
  }

  static Json byte_level_step(bool prefix, bool pattern) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", prefix},
            {"trim_offsets", true},
            {"use_regex", pattern}};
  }
  [[nodiscard]] Json words() const {
    Json steps = Json::array();
    if (rule_->single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    if (!rule_->pattern.empty())
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", rule_->pattern}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    steps.push_back(byte_level_step(false, rule_->pattern.empty()));
    if (steps.size() == 1) return steps.front();
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
  }

  [[nodiscard]] Json piece_decoder() const {
    Json steps =
        Json::array({replace(kSpace, " "), Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}}});
    if (space_prefix())
      steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    return {{"type", "Sequence"}, {"decoders", steps}};
  }

  /// Tokens before and after a text.
  [[nodiscard]] Json frame() const {
    const auto bos = add_bos() ? vocabulary_.special("bos") : std::nullopt;
    const auto eos = add_eos() ? vocabulary_.special("eos") : std::nullopt;
    if (!bos && !eos) return {};
    Json single = Json::array(), pair = Json::array(), specials = Json::object();
    const auto token = [&](const std::optional<std::size_t>& id, int type, Json& to) {
      if (!id) return;
      const std::string content(vocabulary_.tokens()[*id]);
      to.push_back({{"SpecialToken", {{"id", content}, {"type_id", type}}}});
      specials[content] = {
          {"id", content}, {"ids", Json::array({*id})}, {"tokens", Json::array({content})}};
    };
    const auto text = [&](const char* name, int type, Json& to) {
      token(bos, type, to);
      to.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
      token(eos, type, to);
    };
    text("A", 0, single);
    text("A", 0, pair);
    text("B", 1, pair);
    return {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", pair},
            {"special_tokens", specials}};
  }

  [[nodiscard]] bool has_bytes() const {
    for (std::size_t id = 0; id < vocabulary_.tokens().size(); ++id)
      if (vocabulary_.kind(id) == TokenKind::byte) return true;
    return false;
  }

  [[nodiscard]] Json bpe() const {
    const auto unknown = byte_level() ? std::nullopt : vocabulary_.special("unknown");
    Json model{{"type", "BPE"},
               {"dropout", nullptr},
               {"unk_token", unknown ? Json(vocabulary_.tokens()[*unknown]) : Json()},
               {"continuing_subword_prefix", nullptr},
               {"end_of_word_suffix", nullptr},
               {"fuse_unk", !byte_level()},
               {"byte_fallback", !byte_level() && has_bytes()},
               {"ignore_merges", byte_level() && rule_->whole_words}};
    Json::object_t vocab;  // filled as the list it is: operator[] would look at every entry
    vocab.reserve(vocabulary_.tokens().size());
    for (std::size_t id = 0; id < vocabulary_.tokens().size(); ++id)
      vocab.Container::emplace_back(std::string(vocabulary_.tokens()[id]), id);
    model["vocab"] = std::move(vocab);
    Json merges = Json::array();
    for (const auto& [left, right] : byte_level() ? stored_merges(metadata_, vocabulary_)
                                                  : merges_by_score(metadata_, vocabulary_))
      merges.push_back(Json::array({left, right}));
    model["merges"] = std::move(merges);
    return model;
  }

  GgufMetadata metadata_;
  GgufVocabulary vocabulary_;
  std::string_view model_;
  const WordRule* rule_ = nullptr;  // of a byte-level vocabulary
};

bool has_tokenizer(const GgufTable& table) {
  return table.metadata.contains("tokenizer.ggml.model");
}

}  // namespace

std::string gguf_tokenizer(const GgufTable& table, const std::string& file) {
  return has_tokenizer(table) ? TokenizerWriter(table, file).tokenizer() : std::string();
}

std::string gguf_tokenizer_config(const GgufTable& table, const std::string& file) {
  return has_tokenizer(table) ? TokenizerWriter(table, file).config() : std::string();
}

std::string gguf_generation_config(const GgufTable& table, const std::string& file) {
  return has_tokenizer(table) ? TokenizerWriter(table, file).generation() : std::string();
}

}  // namespace qeff
