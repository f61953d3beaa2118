/// @file
/// Simd policy for Armv8.6 int8 matrix multiply (Neoverse V1 2020, Apple M2): NeonDot, but blocks of
/// rows go through SMMLA, which multiplies 2 rows by 2 columns over 8 reduction indices.
///
/// Two columns over 8 indices are the interleaved dwords of two neighbouring packed lines. A sum
/// register holds {row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1}.
#pragma once

#include "kernels/bodies/tile.inl.hpp"
#include "kernels/simd/forget.hpp"
#include "kernels/simd/neon_dot.hpp"

namespace qeff::kernels::simd {

struct NeonI8mm : NeonDot {
  static constexpr Isa kIsa = Isa::neon_i8mm;

  struct Tile {
    static constexpr std::size_t kRows = 6, kDotRows = 6, kPanels = 1, kLineBytes = 64;
    using Act = std::int8_t;  // 24 sums + 3 row pairs + 4 of 32 registers

    /// See VectorTile::int8. One row alone would leave half of each product unused: the dot product does it.
    template <class Take>
    QEFF_INLINE static void int8(const std::int8_t* a, std::size_t a_stride, const std::byte* b,
                                 std::size_t b_pitch, std::size_t panels, std::size_t lines, std::size_t rows,
                                 const Take& take) noexcept {
      if (rows == 1)
        return VectorTile<NeonI8mm, true>::int8(a, a_stride, b, b_pitch, panels, lines, rows, take);
      std::int32_t c[kRows * 16];
      if (rows <= 2) pairs<1>(a, a_stride, b, lines, rows, c);
      else if (rows <= 4) pairs<2>(a, a_stride, b, lines, rows, c);
      else pairs<3>(a, a_stride, b, lines, rows, c);
      for (std::size_t r = 0; r < rows; ++r) take(0, r, load(c + r * 16));
    }

    /// For the roof: the operations of a round of int8 products of registers.
    static constexpr double kRegisterOperations = 16 * 2.0 * 2 * 2 * 8;

    /// out: 16 sums, the first 4 of them set.
    template <bool kInt8>
    QEFF_INLINE static void registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
      int32x4_t sums[16] = {};
      int8x16_t x = vld1q_s8(reinterpret_cast<const std::int8_t*>(operands));
      const int8x16_t w = x;
      for (std::size_t n = 0; n < rounds; ++n)
#pragma GCC unroll 16
        for (auto& sum : sums) {
          forget(x);
          sum = vmmlaq_s32(sum, x, w);
        }
      for (const auto& sum : sums) {
        vst1q_s32(reinterpret_cast<std::int32_t*>(out), sum);
        asm volatile("" : : "r"(out) : "memory");
      }
    }

   private:
    template <int kPairs>
    struct Sums { int32x4_t at[kPairs][4][2]; };  ///< [pair of rows][4 columns][2 columns of them]

    /// Up to 2 * kPairs rows; an odd last row is multiplied twice and stored once.
    template <int kPairs>
    static void pairs(const std::int8_t* a, std::size_t a_stride, const std::byte* b, std::size_t lines,
                      std::size_t rows, std::int32_t* c) noexcept {
      const std::int8_t* row[2 * kPairs];
      for (std::size_t r = 0; r < 2 * kPairs; ++r) row[r] = a + (r < rows ? r : rows - 1) * a_stride;
      Sums<kPairs> sums = {};
      std::size_t line = 0;
      for (; line + 2 <= lines; line += 2)
        accumulate<kPairs>(sums, b + line * 64, b + line * 64 + 64,
                           [&](int r) QEFF_INLINE_LAMBDA { return vld1_s8(row[r] + line * 4); });
      if (line < lines) {  // the second half of an odd line's operands is zero times anything
        accumulate<kPairs>(sums, b + line * 64, b + line * 64, [&](int r) QEFF_INLINE_LAMBDA {
          std::uint32_t four;
          __builtin_memcpy(&four, row[r] + line * 4, sizeof four);
          return vcreate_s8(four);
        });
      }
      store(sums, rows, c);
    }

    /// sums += the rows load8(r) gives times two lines of weights.
    template <int kPairs, class Load8>
    QEFF_INLINE static void accumulate(Sums<kPairs>& sums, const std::byte* first, const std::byte* second,
                                       Load8&& load8) noexcept {
      int8x16_t x[kPairs];
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) x[p] = vcombine_s8(load8(2 * p), load8(2 * p + 1));
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int32x4_t w0 = vld1q_s32(reinterpret_cast<const std::int32_t*>(first) + 4 * q);
        const int32x4_t w1 = vld1q_s32(reinterpret_cast<const std::int32_t*>(second) + 4 * q);
        const int8x16_t left = vreinterpretq_s8_s32(vzip1q_s32(w0, w1));
        const int8x16_t right = vreinterpretq_s8_s32(vzip2q_s32(w0, w1));
#pragma GCC unroll 4
        for (int p = 0; p < kPairs; ++p) {
          sums.at[p][q][0] = vmmlaq_s32(sums.at[p][q][0], x[p], left);
          sums.at[p][q][1] = vmmlaq_s32(sums.at[p][q][1], x[p], right);
        }
      }
    }

    template <int kPairs>
    QEFF_INLINE static void store(const Sums<kPairs>& sums, std::size_t rows, std::int32_t* c) noexcept {
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int64x2_t left = vreinterpretq_s64_s32(sums.at[p][q][0]);
          const int64x2_t right = vreinterpretq_s64_s32(sums.at[p][q][1]);
          std::int32_t* out = c + p * 32 + q * 4;
          vst1q_s32(out, vreinterpretq_s32_s64(vzip1q_s64(left, right)));
          if (2 * static_cast<std::size_t>(p) + 1 < rows)
            vst1q_s32(out + 16, vreinterpretq_s32_s64(vzip2q_s64(left, right)));
        }
    }
  };
};

}  // namespace qeff::kernels::simd
