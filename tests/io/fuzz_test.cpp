// The fuzz targets, driven by mutations that know the formats, from a fixed seed.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <random>

#include "fuzz/targets.hpp"
#include "io/files.hpp"

namespace qeff {
namespace {

using testing::safetensors_bytes;

class Mutator {
 public:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  std::string operator()(std::string text) {
    for (std::size_t rounds = 1 + below(4); rounds > 0; --rounds) once(text);
    return text;
  }

 private:
  void once(std::string& text) {
    static constexpr auto kTokens = std::to_array<std::string_view>({"0",
                                                                     "-1",
                                                                     "1",
                                                                     "8",
                                                                     "64",
                                                                     "4294967296",
                                                                     "18446744073709551615",
                                                                     "18446744073709551616",
                                                                     "1e9",
                                                                     "0.5",
                                                                     "[",
                                                                     "]",
                                                                     "{",
                                                                     "}",
                                                                     ",",
                                                                     ":",
                                                                     "\"",
                                                                     "null",
                                                                     "true",
                                                                     "[0,0]",
                                                                     "\"F32\"",
                                                                     "\"U8\"",
                                                                     "\"uint4\"",
                                                                     "\"shape\"",
                                                                     "\"offset\"",
                                                                     "\\u0000",
                                                                     "\xFF",
                                                                     "\xE3\x80\xAE",
                                                                     "\xCC\x81",
                                                                     "[CLS]",
                                                                     "\n"});
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(text.size() - at, 12) + 1);
    switch (below(5)) {
      case 0:
        text.replace(at, length, kTokens[below(kTokens.size())]);
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(below(text.size() + 1), text.substr(at, length));
        break;
      case 3:
        replace_number(text, at, kTokens[below(9)]);
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
    }
  }

  /// The first number at or after `at`.
  static void replace_number(std::string& text, std::size_t at, std::string_view number) {
    const std::size_t begin = text.find_first_of("0123456789", at);
    if (begin == text.npos) return;
    const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    text.replace(begin, end - begin, number);
  }

  std::mt19937_64 random_{20240607};
};

constexpr const char* kHeader =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"U8","shape":[8],"data_offsets":[16,24]}})";

/// Runs the target on mutations and expects both answers among them.
void drive(std::size_t runs, const std::function<bool(Mutator&)>& run) {
  Mutator mutate;
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < runs; ++i) accepted += run(mutate) ? 1 : 0;
  EXPECT_GT(accepted, 0u);
  EXPECT_LT(accepted, runs);
}

TEST(Fuzz, SafetensorsHeaders) {
  const std::string header = kHeader;
  ASSERT_TRUE(fuzz::safetensors(safetensors_bytes(header, std::string(24, 'x'))));
  drive(20000, [&](Mutator& mutate) {
    return fuzz::safetensors(safetensors_bytes(
        mutate(header), std::string(mutate.below(4) ? 24 : mutate.below(40), 'x')));
  });
  drive(5000, [&](Mutator& mutate) {
    return fuzz::safetensors(mutate(safetensors_bytes(header, std::string(24, 'x'))));
  });
}

TEST(Fuzz, Artifacts) {
  const testing::TemporaryDirectory directory;
  ArtifactWriter writer(R"({"model":"x"})");
  writer.add("a", DType::f32, {2, 2}, testing::as_bytes("0123456789abcdef"));
  writer.add("b", DType::u4, {3}, testing::as_bytes("xy"));
  writer.write(directory / "a.qeff");
  const std::string bytes = testing::read_bytes(directory / "a.qeff");
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data() + 16, 8);
  drive(3000, [&](Mutator& mutate) {
    std::string header = mutate(bytes.substr(64, bytes.find_last_not_of(' ', 63 + size) - 63));
    header.resize(size, ' ');
    return fuzz::artifact(bytes.substr(0, 64) + header + bytes.substr(64 + size));
  });
  drive(1000, [&](Mutator& mutate) { return fuzz::artifact(mutate(bytes)); });
}

TEST(Fuzz, Json) {
  drive(20000, [](Mutator& mutate) { return fuzz::json(mutate(kHeader)); });
}

TEST(Fuzz, TextsAndVocabularies) {
  const std::string vocabulary = "[UNK]\n[CLS]\n[SEP]\nab\n##b\n日\n";
  const std::string document =
      R"({"added_tokens":[{"id":0,"content":"[CLS]","normalized":true}],"normalizer":{"type":"BertNormalizer"},)"
      R"("pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"BertProcessing","sep":["[SEP]",1],)"
      R"("cls":["[CLS]",0]},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",)"
      R"("max_input_chars_per_word":100,"vocab":{"[UNK]":2,"ab":3,"##b":4}}})";
  drive(5000, [&](Mutator& mutate) { return fuzz::wordpiece(mutate(vocabulary)); });
  drive(5000, [&](Mutator& mutate) { return fuzz::wordpiece(mutate(document)); });
}

}  // namespace
}  // namespace qeff
