/// @file
/// Simd policy for AVX-512 BF16 (Zen 4, Sapphire Rapids): AVX-512 VNNI, and one instruction sums two
/// bf16 products in float32.
#pragma once

#include "kernels/simd/avx512_vnni.hpp"

namespace qeff::kernels::simd {

struct Avx512Bf16 : Avx512Vnni {
  static constexpr Isa kIsa = Isa::avx512_bf16;

  static constexpr bool kBf16 = true;
  static constexpr bool kNibbleWords = false;
  struct Pair { __m512i v; };  ///< Two neighbouring reduction indices of 16 columns, or of one row.

  QEFF_INLINE static Pair as_pair(I32 v) noexcept { return {v.v}; }
  QEFF_INLINE static Pair load_pair(const std::byte* p) noexcept { return {_mm512_loadu_si512(p)}; }
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
