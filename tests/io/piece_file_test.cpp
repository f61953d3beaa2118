#include "io/piece_file.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::raw;

std::string llama2c_pieces() {
  std::string bytes = raw(std::vector<std::int32_t>{5});
  const auto add = [&](float score, const std::string& text) {
    bytes += raw(std::vector<float>{score});
    bytes += raw(std::vector<std::int32_t>{static_cast<std::int32_t>(text.size())}) + text;
  };
  for (const char* special : {"<unk>", "\n<s>\n", "\n</s>\n"}) add(0, special);
  add(-1, " a");
  add(-2, " ");
  add(-3, "a");
  return bytes;
}

std::string sentencepiece_pieces() {
  std::string bytes;
  const auto add = [&](const std::string& text, char kind) {
    const std::string piece = std::string("\x0a") + static_cast<char>(text.size()) + text + "\x15" +
                              raw(std::vector<float>{-1}) + "\x18" + kind;
    bytes += std::string("\x0a") + static_cast<char>(piece.size()) + piece;
  };
  add("<unk>", 2);
  add("<s>", 3);
  add("</s>", 3);
  for (const char* text : {"\xE2\x96\x81"
                           "a",
                           "\xE2\x96\x81", "a"})
    add(text, 1);
  return bytes + "\x12\x02\x18\x02";  // the trainer's part, which is passed over
}

class PieceFileTest : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] std::string good() const {
    return std::string(GetParam()) == "p.bin" ? llama2c_pieces() : sentencepiece_pieces();
  }
  [[nodiscard]] std::string tokenizer(const std::string& bytes, std::size_t count = 6) const {
    testing::TemporaryDirectory folder;
    return PieceFile(folder.file(GetParam(), bytes), count).tokenizer();
  }
};

TEST_P(PieceFileTest, PiecesAreMergedByTheirScores) {
  const std::string json = tokenizer(good());
  EXPECT_NE(json.find("[\"\xE2\x96\x81\",\"a\"]"), std::string::npos) << json;
  EXPECT_NE(json.find("\"<s>\":1"), std::string::npos) << json;
}

TEST_P(PieceFileTest, AnotherNumberOfPiecesIsRefused) {
  EXPECT_THROW((void)tokenizer(good(), 5), FormatError);
  EXPECT_THROW((void)tokenizer(good(), 7), FormatError);
  EXPECT_THROW((void)tokenizer(good(), std::size_t{1} << 60), FormatError);
}

TEST_P(PieceFileTest, DamagedBytesAreRefusedOrRead) {
  std::mt19937_64 random(20240608);
  std::size_t refused = 0;
  for (int run = 0; run < 400; ++run) {
    std::string bytes = good();
    bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    if (run % 4 == 0) bytes.resize(random() % bytes.size());
    try {
      (void)tokenizer(bytes);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_LT(refused, 400u);
}

INSTANTIATE_TEST_SUITE_P(Formats, PieceFileTest, ::testing::Values("p.bin", "p.model"));

}  // namespace
}  // namespace qeff
