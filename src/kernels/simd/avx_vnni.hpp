/// @file
/// Simd policy for AVX-VNNI (Alder Lake 2021, Zen 5): AVX2, but one instruction sums four products.
/// Its first operand is unsigned, so codes are taken plus 128: kUnsignedCodes in portable.hpp.
#pragma once

#include "kernels/simd/avx2.hpp"

namespace qeff::kernels::simd {

struct AvxVnni : Avx2 {
  static constexpr Isa kIsa = Isa::avx_vnni;

  static constexpr int kDotRows = 6;
  static constexpr bool kWide = false;

  using ActI8 = std::int8_t;
  static constexpr bool kUnsignedCodes = true;
  using Act = __m256i;

  QEFF_INLINE static Act load_act(const ActI8* p) noexcept { return four(p); }
  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept {
    const __m256i top = _mm256_set1_epi8(-128);
    return {_mm256_xor_si256(load256(p), top), _mm256_xor_si256(load256(p + 32), top)};
  }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    return {_mm256_dpbusd_avx_epi32(sum.lo, codes.lo, a), _mm256_dpbusd_avx_epi32(sum.hi, codes.hi, a)};
  }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept { store_nibble_act(p, q); }

  QEFF_INLINE static I32 dot_words(I32 sum, const std::int16_t* a, Words w) noexcept {
    const __m256i pair = four(a);
    return {_mm256_dpwssd_avx_epi32(sum.lo, pair, w.lo), _mm256_dpwssd_avx_epi32(sum.hi, pair, w.hi)};
  }

  using Part = I32;
  QEFF_INLINE static Part no_part() noexcept { return Avx2::set1(std::int32_t{0}); }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept { return add(sum, part); }
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept { return dot(part, a, codes); }
};

}  // namespace qeff::kernels::simd
