// The fuzz target of single-file models, driven by mutations from a fixed seed.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "fuzz/targets.hpp"
#include "io/gguf_bytes.hpp"

namespace qeff {
namespace {

using testing::GgufBytes;
using testing::raw;

std::string tiny_model() {
  GgufBytes file;
  file.text("general.architecture", "llama").size("llama.block_count", 1);
  file.size("llama.embedding_length", 4).size("llama.feed_forward_length", 4);
  file.size("llama.attention.head_count", 1).size("llama.context_length", 64);
  file.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.text("tokenizer.ggml.model", "llama");
  file.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "ab", "a", "b"});
  file.numbers("tokenizer.ggml.token_type", GgufType::i32,
               std::vector<std::int32_t>{2, 3, 1, 1, 1});
  file.numbers("tokenizer.ggml.scores", GgufType::f32, std::vector<float>{0, 0, -1, -2, -3});
  file.size("tokenizer.ggml.bos_token_id", 1);
  file.tensor("token_embd.weight", {4, 5}, GgmlType::f32, std::string(80, '\0'));
  file.tensor("blk.0.attn_q.weight", {4, 4}, GgmlType::f16, std::string(32, '\0'));
  file.tensor("blk.0.ffn_up.weight", {32, 1}, GgmlType::q4_0, std::string(18, '\0'));
  return file.bytes();
}

std::string tiny_llama2c() {
  return raw(std::vector<std::int32_t>{2, 1, 1, 1, 1, 1, 1}) + std::string(32 * 4, '\0');
}

/// One to four bytes or integers replaced by values that matter to sizes.
std::string mutate(std::string bytes, std::mt19937_64& random) {
  static constexpr std::array<std::uint64_t, 10> kNumbers{
      0, 1, 2, 8, 31, 0x7FFFFFFF, 0xFFFFFFFF, 1ull << 40, ~0ull >> 1, ~0ull};
  for (std::size_t rounds = 1 + random() % 4; rounds > 0 && bytes.size() > 8; --rounds) {
    const std::size_t at = random() % (bytes.size() - 8);
    const std::uint64_t number = kNumbers[random() % kNumbers.size()];
    switch (random() % 5) {
      case 0:
        std::memcpy(bytes.data() + at, &number, 8);
        break;
      case 1:
        std::memcpy(bytes.data() + at, &number, 4);
        break;
      case 2:
        bytes.erase(at, 1 + random() % 8);
        break;
      case 3:
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 40));
        break;
      default:
        bytes[at] = static_cast<char>(random() % 256);
    }
  }
  return bytes;
}

void drive(const std::string& good, std::size_t runs) {
  ASSERT_TRUE(fuzz::model_file(good));
  std::mt19937_64 random(20240608);
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < runs; ++i) accepted += fuzz::model_file(mutate(good, random)) ? 1 : 0;
  EXPECT_GT(accepted, 0u);
  EXPECT_LT(accepted, runs);
}

TEST(Fuzz, GgufModels) { drive(tiny_model(), 5000); }

TEST(Fuzz, Llama2cModels) { drive(tiny_llama2c(), 3000); }

}  // namespace
}  // namespace qeff
