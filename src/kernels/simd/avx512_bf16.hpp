/// @file
/// Simd policy for AVX-512 BF16 (Zen 4, Sapphire Rapids): AVX-512 VNNI with VBMI, and one instruction sums
/// two bf16 products in float32.
#pragma once

#include "kernels/simd/avx512_vnni.hpp"

namespace qeff::kernels::simd {

struct Avx512Bf16 : Avx512Vnni {
  static constexpr Isa kIsa = Isa::avx512_bf16;

  static constexpr bool kBf16 = true;
  struct Pair { __m512i v; };  ///< Two neighbouring reduction indices of 16 columns, or of one row.

  QEFF_INLINE static Pair as_pair(I32 v) noexcept { return {v.v}; }
  QEFF_INLINE static I32 as_i32(Pair v) noexcept { return {v.v}; }
  using Avx512Vnni::as_i32;
  QEFF_INLINE static Pair load_pair(const std::byte* p) noexcept { return {_mm512_loadu_si512(p)}; }
  QEFF_INLINE static void store_pair(std::byte* p, Pair v) noexcept { _mm512_storeu_si512(p, v.v); }

  /// The low and the high bytes of 128 bf16 values.
  struct PairTable { __m512i low[2], high[2]; };

  QEFF_INLINE static PairTable load_pair_table(const std::uint8_t* low, const std::uint8_t* high) noexcept {
    return {{_mm512_loadu_si512(low), _mm512_loadu_si512(low + 64)},
            {_mm512_loadu_si512(high), _mm512_loadu_si512(high + 64)}};
  }
  /// A line of codes (bit 7 the sign, bits 0..6 the index) to pairs of k, k + 1 and of k + 2, k + 3.
  QEFF_INLINE static void look_up_pairs(const PairTable& t, Bytes codes, Pair& first, Pair& second) noexcept {
    const __m512i pairs_first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    const __m512i code = _mm512_shuffle_epi8(codes.v, pairs_first);
    const __m512i low = _mm512_permutex2var_epi8(t.low[0], code, t.low[1]);
    const __m512i magnitude = _mm512_permutex2var_epi8(t.high[0], code, t.high[1]);
    const __m512i high = _mm512_ternarylogic_epi32(magnitude, code, _mm512_set1_epi8(-128), 0xF8);  // a | (b & c)
    first = {_mm512_unpacklo_epi8(low, high)};
    second = {_mm512_unpackhi_epi8(low, high)};
  }
  /// 16 values rounded to nearest even; denormals become zeros.
  QEFF_INLINE static void store_bf16(std::uint16_t* p, F32 v) noexcept {
    const auto rounded = _mm512_cvtneps_pbh(v.v);
    __builtin_memcpy(p, &rounded, sizeof rounded);
  }
  /// 32 values rounded likewise, in order.
  QEFF_INLINE static Pair round_bf16(F32 first, F32 second) noexcept {
    const auto both = _mm512_cvtne2ps_pbh(second.v, first.v);
    return {(__m512i)both};
  }
  /// Lane i of the one, rounded, beside lane i of the other.
  QEFF_INLINE static Pair round_pairs(F32 even, F32 odd) noexcept {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i turns = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(0x10001)), _mm512_set1_epi32(16 << 16));
    return {_mm512_permutexvar_epi16(turns, round_bf16(even, odd).v)};
  }
  QEFF_INLINE static Pair broadcast_pair(const std::uint16_t* p) noexcept {
    std::int32_t two;
    __builtin_memcpy(&two, p, sizeof two);
    return {_mm512_set1_epi32(two)};
  }
  QEFF_INLINE static F32 dot_bf16(F32 sum, Pair a, Pair b) noexcept {
    return {_mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v)};
  }
};

}  // namespace qeff::kernels::simd
