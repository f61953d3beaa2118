/// @file
/// Loops that do nothing but multiply, or nothing but read: what they reach is the roof of every other
/// kernel of the ISA (qeff/kernels/roof.hpp).
///
/// Three of them. Products of registers: independent sums, operands that never move. Fed products: the
/// register tile of the matmuls over operands in memory. Reading: every byte once, in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/tile.inl.hpp"
#include "kernels/simd/forget.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class RoofLoops {
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  using Tile = typename TileOf<S>::type;
  using Vector = VectorTile<S>;

  /// Independent sums, enough to hide the latency of a product: with 16 lanes a
  /// register a sum takes one of 32, else it takes several.
  static constexpr bool kOneRegister = sizeof(I32) == 64 && requires(I32 v) { v.v; };
  static constexpr int kIntSums = kOneRegister ? 12 : 4;
  static constexpr int kFloatSums = kOneRegister ? 12 : 6;
  static constexpr bool kTileRegisters = requires { Tile::kRegisterOperations; };
  static_assert(S::kIsa != Isa::amx || kTileRegisters, "the roof of AMX is that of its tiles");

 public:
  /// See KernelTable::roof_registers.
  static double registers(Product product, const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    switch (product) {
      case Product::int8:
        if constexpr (kTileRegisters) {
          Tile::template registers<true>(operands, rounds, out);
          return Tile::kRegisterOperations * static_cast<double>(rounds);
        }
        return int8_registers(operands, rounds, out);
      case Product::u4: return u4_registers(operands, rounds, out);
      case Product::i16: return i16_registers(operands, rounds, out);
      case Product::bf16:
        if constexpr (kTileRegisters && S::kBf16) {
          Tile::template registers<false>(operands, rounds, out);
          return Tile::kRegisterOperations / 2 * static_cast<double>(rounds);
        }
        return bf16_registers(operands, rounds, out);
      case Product::f32: return f32_registers(operands, rounds, out);
    }
    return 0;
  }

  /// See KernelTable::roof_fed.
  static double fed(Product product, const std::byte* a, const std::byte* b, std::size_t b_bytes,
                    std::byte* out) noexcept {
    constexpr std::size_t kPitch = kRoofDepth * kPanel, kStride = kRoofDepth;
    switch (product) {
      case Product::int8:
        return each_unit<Tile::kPanels, Tile::kDotRows, std::int32_t>(
            b, b_bytes, out, kRoofDepth, [&](const std::byte* w, std::int32_t* c) QEFF_INLINE_LAMBDA {
              Tile::int8(reinterpret_cast<const typename S::ActI8*>(a), kStride, w, kPitch, Tile::kPanels,
                         kRoofDepth / 4, Tile::kDotRows, StoreSums<S, std::int32_t>{c, Tile::kDotRows});
            });
      case Product::bf16:
        if constexpr (S::kBf16)
          return each_unit<Tile::kPanels, Tile::kRows, float>(
              b, b_bytes, out, kRoofDepth / 2, [&](const std::byte* w, float* c) QEFF_INLINE_LAMBDA {
                Tile::bf16(reinterpret_cast<const std::uint16_t*>(a), kStride / 2, w, kPitch, Tile::kPanels,
                           kRoofDepth / 2, Tile::kRows, StoreSums<S, float>{c, Tile::kRows});
              });
        return 0;
      case Product::f32:
        return each_unit<Vector::kPanels, Vector::kRows, float>(
            b, b_bytes, out, kRoofDepth / 4, [&](const std::byte* w, float* c) QEFF_INLINE_LAMBDA {
              Vector::f32(reinterpret_cast<const float*>(a), kStride / 4, reinterpret_cast<const float*>(w), kPanel,
                          kPitch / 4, Vector::kPanels, kRoofDepth / 4, Vector::kRows, StoreSums<S, float>{c, Vector::kRows});
            });
      case Product::u4:
      case Product::i16: break;  // no tile of their own
    }
    return 0;
  }

  /// See KernelTable::roof_read.
  static void read(const std::byte* from, std::size_t bytes, std::size_t ahead, std::byte* out) noexcept {
    constexpr int kSums = 4;
    const auto* p = reinterpret_cast<const std::int32_t*>(from);
    I32 sums[kSums];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    for (std::size_t i = 0; i < bytes / 4; i += kSums * 16) {
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) {
        const std::int32_t* line = p + i + static_cast<std::size_t>(j) * 16;
        if (ahead != 0) __builtin_prefetch(reinterpret_cast<const std::byte*>(line) + ahead);
        sums[j] = S::or_(sums[j], S::load(line));
      }
    }
    S::store(reinterpret_cast<std::int32_t*>(out), S::or_(S::or_(sums[0], sums[1]), S::or_(sums[2], sums[3])));
  }

 private:
  /// tile(panels, sums) for all panels of b; returns the operations.
  template <std::size_t kPanels, std::size_t kRows, class Sum, class F>
  QEFF_INLINE static double each_unit(const std::byte* b, std::size_t b_bytes, std::byte* out, std::size_t depth,
                                      F&& tile) noexcept {
    constexpr std::size_t kUnit = kPanels * kPanel * kRoofDepth;
    alignas(64) Sum c[kPanels * kRows * kPanel];
    const std::size_t units = b_bytes / kUnit;
    for (std::size_t u = 0; u < units; ++u) {
      tile(b + u * kUnit, c);
      asm volatile("" : : "r"(c) : "memory");  // somebody may read the sums
    }
    __builtin_memcpy(out, c, 64);
    return 2.0 * static_cast<double>(units * kPanels * kPanel * kRows * depth);
  }

  QEFF_INLINE static void store(std::byte* out, I32 v) noexcept { S::store(reinterpret_cast<std::int32_t*>(out), v); }
  QEFF_INLINE static void store(std::byte* out, F32 v) noexcept { S::store(reinterpret_cast<float*>(out), v); }

  /// out = one sum; the others are stored too, where somebody may read them.
  template <class Sum, int kSums>
  QEFF_INLINE static void keep(const Sum (&sums)[kSums], std::byte* out) noexcept {
    for (const Sum& sum : sums) {
      store(out, sum);
      asm volatile("" : : "r"(out) : "memory");
    }
  }

  static double int8_registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    auto a = S::load_act(reinterpret_cast<const typename S::ActI8*>(operands));
    const auto w = S::load_bytes(operands);
    I32 sums[kIntSums];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    for (std::size_t n = 0; n < rounds; ++n)
#pragma GCC unroll 16
      for (int i = 0; i < kIntSums; ++i) {
        simd::forget(a);
        sums[i] = S::dot(sums[i], a, w);
      }
    keep(sums, out);
    return 2.0 * 4 * kPanel * kIntSums * static_cast<double>(rounds);
  }

  static double u4_registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    constexpr int kLines = 8;  // whose products a policy adds before it widens their sum
    auto a = S::load_nibble_act(reinterpret_cast<const std::int8_t*>(operands));
    const auto w = S::low_nibbles(S::load_bytes(operands));
    I32 sums[kIntSums];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    for (std::size_t n = 0; n < rounds; ++n) {
      typename S::Part parts[kIntSums];
      for (auto& p : parts) p = S::no_part();
#pragma GCC unroll 8
      for (int l = 0; l < kLines; ++l)
#pragma GCC unroll 16
        for (int i = 0; i < kIntSums; ++i) {
          simd::forget(a);
          parts[i] = S::nibble_dot(parts[i], a, w);
        }
#pragma GCC unroll 16
      for (int i = 0; i < kIntSums; ++i) sums[i] = S::add_part(sums[i], parts[i]);
    }
    keep(sums, out);
    return 2.0 * 4 * kLines * kPanel * kIntSums * static_cast<double>(rounds);
  }

  static double i16_registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    if constexpr (S::kNibbleWords) {
      auto w = S::template even_nibbles<false>(S::load_bytes(operands));
      I32 sums[kIntSums];
      for (auto& s : sums) s = S::set1(std::int32_t{0});
      for (std::size_t n = 0; n < rounds; ++n)
#pragma GCC unroll 16
        for (int i = 0; i < kIntSums; ++i) {
          simd::forget(w);
          sums[i] = S::dot_words(sums[i], reinterpret_cast<const std::int16_t*>(operands), w);
        }
      keep(sums, out);
      return 2.0 * 2 * kPanel * kIntSums * static_cast<double>(rounds);
    }
    return 0;
  }

  static double bf16_registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    if constexpr (S::kBf16) {
      auto a = S::broadcast_pair(reinterpret_cast<const std::uint16_t*>(operands));
      const auto w = S::load_pair(operands);
      F32 sums[kFloatSums];
      for (auto& s : sums) s = S::set1(0.0f);
      for (std::size_t n = 0; n < rounds; ++n)
#pragma GCC unroll 16
        for (int i = 0; i < kFloatSums; ++i) {
          simd::forget(a);
          sums[i] = S::dot_bf16(sums[i], a, w);
        }
      keep(sums, out);
      return 2.0 * 2 * kPanel * kFloatSums * static_cast<double>(rounds);
    }
    return 0;
  }

  static double f32_registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
    F32 a = S::set1(*reinterpret_cast<const float*>(operands));
    const F32 w = S::load(reinterpret_cast<const float*>(operands));
    F32 sums[kFloatSums];
    for (auto& s : sums) s = S::set1(0.0f);
    for (std::size_t n = 0; n < rounds; ++n)
#pragma GCC unroll 16
      for (int i = 0; i < kFloatSums; ++i) {
        simd::forget(a);
        sums[i] = S::fma(a, w, sums[i]);
      }
    keep(sums, out);
    return 2.0 * kPanel * kFloatSums * static_cast<double>(rounds);
  }
};

}  // namespace qeff::kernels
