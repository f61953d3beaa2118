// The promises of format/ggml_blocks.hpp. tests/python/test_gguf.py compares with the package gguf.
#include "qeff/format/ggml_blocks.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace qeff {
namespace {

constexpr std::uint16_t kHalf = 0x3800, kMinusTwo = 0xC000;  // 0.5 and -2 as float16

template <class Block>
std::vector<float> values(GgmlType type, const std::vector<Block>& blocks) {
  std::string bytes(1, '\0');  // one byte off: files need not be aligned
  bytes.append(reinterpret_cast<const char*>(blocks.data()), blocks.size() * sizeof(Block));
  std::vector<float> y(blocks.size() * info(type).block_elements);
  dequantize_ggml(type, std::as_bytes(std::span(bytes)).subspan(1), y);
  return y;
}

TEST(GgmlBlocks, AnEightBitCodeIsMultipliedByItsScale) {
  BlockQ8_0 block{kHalf, {}};
  block.codes[0] = -128;
  block.codes[31] = 127;
  const auto y = values<BlockQ8_0>(GgmlType::q8_0, {block, {kMinusTwo, block.codes}});
  ASSERT_EQ(y.size(), 64u);
  EXPECT_EQ(y[0], -64.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[31], 63.5f);
  EXPECT_EQ(y[32], 256.0f);
  EXPECT_EQ(y[63], -254.0f);
}

TEST(GgmlBlocks, LowHalvesComeBeforeHighHalves) {
  BlockQ4_0 block{kHalf, {}};
  for (std::size_t j = 0; j < 16; ++j)
    block.codes[j] = static_cast<std::uint8_t>(j | (15 - j) << 4);
  const auto y = values<BlockQ4_0>(GgmlType::q4_0, {block});
  for (std::size_t j = 0; j < 16; ++j) {
    EXPECT_EQ(y[j], 0.5f * (static_cast<float>(j) - 8.0f));
    EXPECT_EQ(y[16 + j], 0.5f * (7.0f - static_cast<float>(j)));
  }
}

TEST(GgmlBlocks, AMinimumIsAddedToScaledCodes) {
  BlockQ4_1 block{kHalf, kMinusTwo, {}};
  block.codes[0] = 0xF1;
  const auto y = values<BlockQ4_1>(GgmlType::q4_1, {block});
  EXPECT_EQ(y[0], -1.5f);
  EXPECT_EQ(y[1], -2.0f);
  EXPECT_EQ(y[16], 5.5f);
}

TEST(GgmlBlocks, FloatsAreTheirOwnBlocks) {
  EXPECT_EQ(values<float>(GgmlType::f32, {1.5f, -3.0f}), (std::vector<float>{1.5f, -3.0f}));
  EXPECT_EQ(values<std::uint16_t>(GgmlType::f16, {kHalf, kMinusTwo}),
            (std::vector<float>{0.5f, -2.0f}));
  EXPECT_EQ(values<std::uint16_t>(GgmlType::bf16, {0x3FC0, 0xC000}),
            (std::vector<float>{1.5f, -2.0f}));
}

TEST(GgmlBlocks, TheTableKnowsEveryTypeByItsId) {
  for (const GgmlTypeInfo& entry : kGgmlTypes) {
    EXPECT_EQ(find_ggml_type(static_cast<std::uint32_t>(entry.type)), &entry);
    EXPECT_EQ(&info(entry.type), &entry);
  }
  EXPECT_EQ(info(GgmlType::q4_1).block_bytes, 20u);
  EXPECT_EQ(find_ggml_type(12), nullptr);
  EXPECT_EQ(find_ggml_type(0xFFFFFFFFu), nullptr);
}

}  // namespace
}  // namespace qeff
