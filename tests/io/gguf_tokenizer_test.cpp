// tokenizer.json and its kin, made from the metadata of a GGUF file.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/checkpoint.hpp"

namespace qeff {
namespace {

using testing::expect_error;
using testing::GgufBytes;
using testing::raw;
using testing::TemporaryDirectory;
using Json = nlohmann::json;

using Strings = std::vector<std::string>;
using Types = std::vector<std::int32_t>;

/// A model around a tokenizer.
GgufBytes model(std::string_view tokenizer, const Strings& tokens, const Types& types) {
  GgufBytes file;
  file.text("general.architecture", "llama").size("llama.block_count", 1);
  file.size("llama.embedding_length", 2).size("llama.feed_forward_length", 4);
  file.size("llama.attention.head_count", 1).size("llama.context_length", 64);
  file.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.tensor("token_embd.weight", {2, 1}, GgmlType::f32, raw(std::vector<float>{1, 2}));
  file.text("tokenizer.ggml.model", tokenizer).strings("tokenizer.ggml.tokens", tokens);
  return file.numbers("tokenizer.ggml.token_type", GgufType::i32, types);
}

GgufBytes bytes_model() {
  return model("gpt2", {"<|end|>", "a", "b", "ab", "<tool>"}, {3, 1, 1, 1, 4})
      .strings("tokenizer.ggml.merges", {"a b"})
      .size("tokenizer.ggml.eos_token_id", 0)
      .size("tokenizer.ggml.eot_token_id", 4)
      .size("tokenizer.ggml.padding_token_id", 0xFFFFFFFFu);
}

GgufBytes pieces_model() {
  const std::vector<float> scores{0, 0, 0, 0, -1, -2, -3, -4, -5};
  return model("llama", {"<unk>", "<s>", "</s>", "<0x0A>", "abc", "ab", "a", "b", "c"},
               {2, 3, 3, 6, 1, 1, 1, 1, 1})
      .numbers("tokenizer.ggml.scores", GgufType::f32, scores)
      .size("tokenizer.ggml.unknown_token_id", 0)
      .size("tokenizer.ggml.bos_token_id", 1)
      .size("tokenizer.ggml.eos_token_id", 2);
}

Json read(const GgufBytes& file, const std::string& name = "tokenizer.json") {
  const TemporaryDirectory directory;
  return Json::parse(Checkpoint::open(directory.file("m.gguf", file.bytes()))->read_text(name));
}

template <class Expected>
void expect_refused(const GgufBytes& file, const Strings& parts) {
  expect_error<Expected>([&] { (void)read(file); }, parts);
}

TEST(GgufTokenizer, AByteLevelVocabularyBecomesBpe) {
  const Json json = read(bytes_model().text("tokenizer.ggml.pre", "smollm"));
  EXPECT_EQ(json["model"]["vocab"],
            Json::parse(R"({"<|end|>": 0, "a": 1, "b": 2, "ab": 3, "<tool>": 4})"));
  EXPECT_EQ(json["model"]["merges"], Json::parse(R"([["a", "b"]])"));
  EXPECT_EQ(json["model"]["byte_fallback"], false);
  EXPECT_EQ(json["pre_tokenizer"]["pretokenizers"][0],
            Json::parse(R"({"type": "Digits", "individual_digits": true})"));
  EXPECT_EQ(json["pre_tokenizer"]["pretokenizers"][1]["use_regex"], true);
  EXPECT_EQ(json["post_processor"], Json());
  ASSERT_EQ(json["added_tokens"].size(), 2u);
  EXPECT_EQ(json["added_tokens"][0]["special"], true);
  EXPECT_EQ(json["added_tokens"][1]["content"], "<tool>");
  EXPECT_EQ(json["added_tokens"][1]["special"], false);
}

TEST(GgufTokenizer, WordsAreCutAsThePreTokenizerSays) {
  EXPECT_EQ(read(bytes_model())["pre_tokenizer"]["type"], "ByteLevel");
  const Json llama = read(
      bytes_model().text("tokenizer.ggml.pre", "llama-bpe").size("tokenizer.ggml.bos_token_id", 0));
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
            R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  EXPECT_EQ(llama["post_processor"]["single"][0]["SpecialToken"]["id"], "<|end|>");
  const Json qwen = read(bytes_model().text("tokenizer.ggml.pre", "qwen2"));
  EXPECT_EQ(qwen["normalizer"]["type"], "NFC");
  EXPECT_EQ(qwen["model"]["ignore_merges"], false);
  expect_refused<Unsupported>(bytes_model().text("tokenizer.ggml.pre", "klingon"),
                              {"'klingon'", "smollm"});
  expect_refused<Unsupported>(model("t5", {"a"}, {1}), {"tokenizer 't5'"});
}

TEST(GgufTokenizer, ScoresOfPiecesBecomeMerges) {
  const Json json = read(pieces_model());
  EXPECT_EQ(json["model"]["merges"], Json::parse(R"([["ab", "c"], ["a", "b"]])"));
  EXPECT_EQ(json["model"]["byte_fallback"], true);
  EXPECT_EQ(json["model"]["unk_token"], "<unk>");
  EXPECT_EQ(json["normalizer"]["normalizers"][0]["prepend"], "\xE2\x96\x81");
  EXPECT_EQ(json["decoder"]["decoders"].back()["type"], "Strip");
  EXPECT_EQ(json["post_processor"]["single"].size(), 2u);
  EXPECT_EQ(json["added_tokens"].size(), 3u);
  const Json bare = read(pieces_model()
                             .flag("tokenizer.ggml.add_space_prefix", false)
                             .flag("tokenizer.ggml.add_bos_token", false)
                             .flag("tokenizer.ggml.add_eos_token", true));
  EXPECT_EQ(bare["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(bare["decoder"]["decoders"].back()["type"], "Fuse");
  EXPECT_EQ(bare["post_processor"]["single"][1]["SpecialToken"]["id"], "</s>");
}

TEST(GgufTokenizer, TheConfigNamesSpecialTokensAndTheChatTemplate) {
  const Json config =
      read(bytes_model().text("tokenizer.chat_template", "{{ x }}"), "tokenizer_config.json");
  EXPECT_EQ(config["eos_token"], "<|end|>");
  EXPECT_EQ(config["chat_template"], "{{ x }}");
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_FALSE(config.contains("bos_token"));
  EXPECT_FALSE(config.contains("pad_token"));
  EXPECT_EQ(read(bytes_model(), "generation_config.json"),
            Json::parse(R"({"eos_token_id": [0, 4]})"));
}

TEST(GgufTokenizer, VocabulariesThatBreakTheRulesAreRefused) {
  const auto merged = [](const Strings& merges) {
    return model("gpt2", {"a", "b", "ab"}, {1, 1, 1}).strings("tokenizer.ggml.merges", merges);
  };
  expect_refused<FormatError>(model("gpt2", {"a", "a"}, {1, 1}), {"token 1 is also token 0"});
  expect_refused<FormatError>(model("gpt2", {"a", "b"}, {1}), {"2 tokens with 1 types"});
  expect_refused<FormatError>(merged({"a b", "b a"}), {"merge 1 is not of two tokens"});
  for (const char* merge : {"", " ", "a", "a ", "a c"})
    expect_refused<FormatError>(merged({merge}), {"merge 0 is not of two tokens"});
  expect_refused<FormatError>(merged({"a b"})
                                  .size("tokenizer.ggml.bos_token_id", 3)
                                  .flag("tokenizer.ggml.add_bos_token", true),
                              {"bos_token_id' is 3, there are 3 tokens"});
  expect_refused<FormatError>(model("gpt2", {"\xFF"}, {1}).strings("tokenizer.ggml.merges", {}),
                              {"not UTF-8"});
  expect_refused<FormatError>(model("llama", {"a"}, {1}), {"no key 'tokenizer.ggml.scores'"});
  expect_refused<FormatError>(
      model("llama", {std::string(5000, 'a')}, {1})
          .numbers("tokenizer.ggml.scores", GgufType::f32, std::vector<float>{0}),
      {"5000 bytes"});
  GgufBytes typed;
  typed = model("gpt2", {"a"}, {1});
  expect_refused<FormatError>(typed.size("tokenizer.ggml.merges", 7), {"not an array of strings"});
}

}  // namespace
}  // namespace qeff
