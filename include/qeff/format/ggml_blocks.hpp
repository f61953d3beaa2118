/// @file
/// The tensor types of GGUF files: blocks of 32 codes with their scale, and plain floats.
///
///     Q8_0: y[j] = d q[j]                         Q4_0: y[j] = d (c[j] - 8)     Q4_1: y[j] = d
///     c[j] + m
///
/// d and m are float16. Code j < 16 of a 4-bit block is the low half of byte j, code j + 16 its
/// high half. Source: ggml-common.h and the reference dequantization of ggml.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "qeff/core/minifloat.hpp"

namespace qeff {

/// The types qeff reads; the values are ids in files.
enum class GgmlType : std::uint32_t { f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q8_0 = 8, bf16 = 30 };

inline constexpr std::size_t kGgmlBlock = 32;  ///< Codes of a block.

struct BlockQ4_0 {
  std::uint16_t d;
  std::array<std::uint8_t, kGgmlBlock / 2> codes;
};
struct BlockQ4_1 {
  std::uint16_t d, m;
  std::array<std::uint8_t, kGgmlBlock / 2> codes;
};
struct BlockQ8_0 {
  std::uint16_t d;
  std::array<std::int8_t, kGgmlBlock> codes;
};
static_assert(sizeof(BlockQ4_0) == 18 && std::is_trivially_copyable_v<BlockQ4_0>);
static_assert(sizeof(BlockQ4_1) == 20 && std::is_trivially_copyable_v<BlockQ4_1>);
static_assert(sizeof(BlockQ8_0) == 34 && std::is_trivially_copyable_v<BlockQ8_0>);

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;
  std::size_t block_elements, block_bytes;
};

inline constexpr std::array<GgmlTypeInfo, 6> kGgmlTypes{{
    {GgmlType::f32, "F32", 1, 4},
    {GgmlType::f16, "F16", 1, 2},
    {GgmlType::bf16, "BF16", 1, 2},
    {GgmlType::q8_0, "Q8_0", kGgmlBlock, sizeof(BlockQ8_0)},
    {GgmlType::q4_0, "Q4_0", kGgmlBlock, sizeof(BlockQ4_0)},
    {GgmlType::q4_1, "Q4_1", kGgmlBlock, sizeof(BlockQ4_1)},
}};

/// The type with this id, or nullptr.
[[nodiscard]] constexpr const GgmlTypeInfo* find_ggml_type(std::uint32_t id) noexcept {
  for (const GgmlTypeInfo& entry : kGgmlTypes)
    if (static_cast<std::uint32_t>(entry.type) == id) return &entry;
  return nullptr;
}

[[nodiscard]] constexpr const GgmlTypeInfo& info(GgmlType type) noexcept {
  return *find_ggml_type(static_cast<std::uint32_t>(type));
}

inline void dequantize(const BlockQ8_0& block, std::span<float, kGgmlBlock> y) noexcept {
  const float d = to_float<F16>(block.d);
  for (std::size_t j = 0; j < kGgmlBlock; ++j) y[j] = d * static_cast<float>(block.codes[j]);
}

inline void dequantize(const BlockQ4_0& block, std::span<float, kGgmlBlock> y) noexcept {
  const float d = to_float<F16>(block.d);
  for (std::size_t j = 0; j < kGgmlBlock / 2; ++j) {
    y[j] = d * static_cast<float>((block.codes[j] & 0xF) - 8);
    y[j + kGgmlBlock / 2] = d * static_cast<float>((block.codes[j] >> 4) - 8);
  }
}

inline void dequantize(const BlockQ4_1& block, std::span<float, kGgmlBlock> y) noexcept {
  const float d = to_float<F16>(block.d), m = to_float<F16>(block.m);
  for (std::size_t j = 0; j < kGgmlBlock / 2; ++j) {
    y[j] = d * static_cast<float>(block.codes[j] & 0xF) + m;
    y[j + kGgmlBlock / 2] = d * static_cast<float>(block.codes[j] >> 4) + m;
  }
}

namespace detail {

/// Elements of `T` one after the other, not necessarily aligned; `decode(element, first of y)`.
template <class T, class Decode>
void for_each_block(std::span<const std::byte> bytes, std::size_t step, std::span<float> y,
                    Decode decode) noexcept {
  for (std::size_t i = 0; i * step < y.size(); ++i) {
    T element;
    std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
    decode(element, y.data() + i * step);
  }
}

template <class Block>
void dequantize_blocks(std::span<const std::byte> bytes, std::span<float> y) noexcept {
  for_each_block<Block>(bytes, kGgmlBlock, y, [](const Block& block, float* first) {
    dequantize(block, std::span<float, kGgmlBlock>(first, kGgmlBlock));
  });
}

}  // namespace detail

/// The values of a tensor.
/// @pre y.size() is a multiple of the block and `bytes` holds exactly that many elements
inline void dequantize_ggml(GgmlType type, std::span<const std::byte> bytes,
                            std::span<float> y) noexcept {
  switch (type) {
    case GgmlType::f32:
      return detail::for_each_block<float>(bytes, 1, y, [](float x, float* to) { *to = x; });
    case GgmlType::f16:
      return detail::for_each_block<std::uint16_t>(
          bytes, 1, y, [](std::uint16_t x, float* to) { *to = to_float<F16>(x); });
    case GgmlType::bf16:
      return detail::for_each_block<std::uint16_t>(
          bytes, 1, y, [](std::uint16_t x, float* to) { *to = to_float<BF16>(x); });
    case GgmlType::q8_0:
      return detail::dequantize_blocks<BlockQ8_0>(bytes, y);
    case GgmlType::q4_0:
      return detail::dequantize_blocks<BlockQ4_0>(bytes, y);
    case GgmlType::q4_1:
      return detail::dequantize_blocks<BlockQ4_1>(bytes, y);
  }
}

}  // namespace qeff
