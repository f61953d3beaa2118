#include "qeff/text/bpe.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "fuzz/tokenizer_json_target.hpp"
#include "io/files.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Ids = std::vector<std::int32_t>;
using testing::expect_error;

/// Bytes of "é" are Ã and ©; Ġ is the space.
const std::string kJson = R"({
  "added_tokens": [{"id": 12, "content": "<s>", "special": true, "lstrip": false, "rstrip": true}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": " ?\\p{L}+|\\s+(?!\\S)|\\s"}, "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [12], "tokens": ["<s>"]}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "byte_fallback": false, "unk_token": null,
    "vocab": {"a": 0, "b": 1, "Ġ": 2, "Ã": 3, "©": 4, "ab": 5, "Ġa": 6, "Ġab": 7, "Ã©": 8, "abab": 9,
      "ba": 10, "aa": 11},
    "merges": ["a b", ["Ġ", "ab"], "ab ab", "b a", "a a", "Ã ©"]}
})";

std::string changed(const std::string& from, const std::string& to) {
  std::string json = kJson;
  const std::size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return json.replace(at, from.size(), to);
}

BpeTokenizer small() { return BpeTokenizer::from_tokenizer_json(kJson); }

TEST(Bpe, MergesThePairLearnedFirstFromLeftToRight) {
  EXPECT_EQ(small().encode("aabab ab", false), (Ids{0, 9, 7}));
  EXPECT_EQ(small().encode("aaa baa", false), (Ids{11, 0, 2, 10, 0}));
}

TEST(Bpe, PutsTheTemplateAroundTheTextAndCutsOnlyTheText) {
  EXPECT_EQ(small().encode("a b"), (Ids{12, 0, 2, 1}));
  EXPECT_EQ(small().encode("a b", true, 2), (Ids{12, 0}));
  EXPECT_EQ(small().encode(""), (Ids{12}));
  expect_error<InvalidArgument>([] { (void)small().encode("a", true, 0); },
                                {"max_tokens is 0", "takes 1"});
}

TEST(Bpe, FindsAddedTokensAndTheSpaceTheyTake) {
  EXPECT_EQ(small().encode("a<s>  b<s", false), (Ids{0, 12, 1}));
}

TEST(Bpe, NormalizesBeforeItCuts) { EXPECT_EQ(small().encode("e\xCC\x81", false), (Ids{8})); }

TEST(Bpe, DecodesBytesAndSkipsSpecialTokens) {
  const Ids ids{12, 7, 8, 4, 3, 99, -1};
  EXPECT_EQ(small().decode(ids), " ab\u00e9\uFFFD\uFFFD");
  EXPECT_EQ(small().decode(ids, false), "<s> ab\u00e9\uFFFD\uFFFD");
}

TEST(Bpe, AStreamHoldsBackIncompleteCharacters) {
  const BpeTokenizer tokenizer = small();
  TokenStream stream(tokenizer);
  EXPECT_EQ(stream.push(0), "a");
  EXPECT_EQ(stream.push(3), "");
  EXPECT_EQ(stream.push(4), "\u00e9");
  EXPECT_EQ(stream.push(3), "");
  EXPECT_EQ(stream.push(1),
            "\uFFFD"
            "b");
  EXPECT_EQ(stream.push(3), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Bpe, OptionsReplaceTheTemplate) {
  const auto ids = [](const BpeOptions& options) {
    return BpeTokenizer::from_tokenizer_json(kJson, options).encode("a");
  };
  EXPECT_EQ(ids({false, {}, "<s>", ""}), (Ids{0}));
  EXPECT_EQ(ids({true, true, "<s>", "b"}), (Ids{12, 0, 1}));
  EXPECT_EQ(ids({true, {}, "", ""}), (Ids{0}));
  expect_error<FormatError>(
      [&] {
        (void)ids({true, {}, "<none>", ""});
      },
      {"has no token '<none>'"});
}

TEST(Bpe, AWordOfAMegabyteIsNoTrouble) {
  std::string text;
  for (int i = 0; i < 1 << 18; ++i) text += "abab";
  const Ids ids = small().encode(text, false);
  EXPECT_EQ(ids, Ids(1 << 18, 9));
  EXPECT_EQ(small().decode(ids), text);
}

TEST(Bpe, BrokenFilesAreRefused) {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& why) {
    const std::string json = changed(from, to);
    expect_error<FormatError>([&] { (void)BpeTokenizer::from_tokenizer_json(json); }, {why});
  };
  refused("\"b\": 1", "\"b\": 0", "id 0 is both");
  refused("\"b\": 1", "\"b\": 4194304", "at most 4194303 allowed");
  refused("\"b\": 1", "\"b\": 99999999999", "too large for a token id");
  refused("\"b\": 1", "\"b\": -1", "the id of token 'b'");
  refused("\"a b\"", "\"a x\"", "merge 0 names 'x'");
  refused("\"a b\"", "\"b b\"", "merge 0 names 'bb'");
  refused("\"a b\"", "\"ab\"", "merge 0 does not name two tokens");
  refused("\"a b\"", "7", "merge 0 does not name two tokens");
  refused("\"unk_token\": null", "\"unk_token\": \"<unk>\"", "no unk_token '<unk>'");
  refused("\"id\": 12", "\"id\": 3", "id 3 is both");
  refused("\"content\": \"<s>\"", "\"content\": \"a\"", "in the vocabulary 0");
  refused("\"ids\": [12]", "\"ids\": [500]", "the template has id 500");
  refused("\"Isolated\"", "\"Sometimes\"", "is no behavior");
  refused("\"use_regex\": false", "\"use_regex\": 1", "not true or false");
}

TEST(Bpe, DeepNestingIsRefused) {
  std::string open, close;
  for (int i = 0; i < 12; ++i) {
    open += R"({"type": "Sequence", "normalizers": [)";
    close += "]}";
  }
  const std::string json = changed(R"({"type": "NFC"})", open + close);
  expect_error<FormatError>([&] { (void)BpeTokenizer::from_tokenizer_json(json); },
                            {"nested deeper than 8"});
  expect_error<FormatError>(
      [] { (void)BpeTokenizer::from_tokenizer_json(std::string(100'000, '[')); },
      {"nested deeper"});
}

TEST(Bpe, MutatedFilesNeverDoMoreThanThrow) {
  static constexpr auto kParts = std::to_array<std::string_view>({"null",
                                                                  "0",
                                                                  "-1",
                                                                  "4194303",
                                                                  "1e9",
                                                                  "[",
                                                                  "]",
                                                                  "{",
                                                                  "}",
                                                                  "\"",
                                                                  "\"a\"",
                                                                  "true",
                                                                  ",",
                                                                  ":",
                                                                  "\"Regex\"",
                                                                  "\"String\"",
                                                                  "\"Metaspace\"",
                                                                  "\"Replace\"",
                                                                  "\"Strip\"",
                                                                  "\"ByteFallback\"",
                                                                  "a*",
                                                                  "(?:",
                                                                  ")",
                                                                  "\\\\p{L}",
                                                                  "{1,3}",
                                                                  "\xFF",
                                                                  "\xE2\x96\x81",
                                                                  "<0x41>"});
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string json = kJson;
    for (std::size_t edits = 1 + below(3); edits > 0; --edits) {
      const std::size_t at = below(json.size());
      const std::size_t length = below(std::min<std::size_t>(json.size() - at, 10) + 1);
      json.replace(at, length, below(3) == 0 ? "" : kParts[below(kParts.size())]);
    }
    accepted += fuzz::tokenizer_json(json);
  }
  EXPECT_TRUE(fuzz::tokenizer_json(kJson));
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 2900);
}

}  // namespace
}  // namespace qeff
