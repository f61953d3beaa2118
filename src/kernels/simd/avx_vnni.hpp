/// @file
/// Simd policy for AVX-VNNI (Alder Lake 2021, Zen 5): AVX2, but one instruction sums four products.
/// Its first operand is unsigned, so activations are stored plus 128; bodies/gemm.inl.hpp takes
/// 128 times the column sums off again.
#pragma once

#include "kernels/simd/avx2.hpp"

namespace qeff::kernels::simd {

struct AvxVnni : Avx2 {
  static constexpr Isa kIsa = Isa::avx_vnni;

  static constexpr int kDotRows = 6;
  static constexpr bool kWide = false;

  using ActI8 = std::uint8_t;
  static constexpr int kActOffset = 128;
  using Act = __m256i;

  QEFF_INLINE static Act load_act(const ActI8* p) noexcept { return four(p); }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    return {_mm256_dpbusd_avx_epi32(sum.lo, a, codes.lo), _mm256_dpbusd_avx_epi32(sum.hi, a, codes.hi)};
  }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept {
    const __m256i w = _mm256_add_epi16(words(q), _mm256_set1_epi16(128));
    const __m256i b = _mm256_permute4x64_epi64(_mm256_packus_epi16(w, w), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(b));
  }

  QEFF_INLINE static I32 dot_words(I32 sum, const std::int16_t* a, Words w) noexcept {
    const __m256i pair = four(a);
    return {_mm256_dpwssd_avx_epi32(sum.lo, pair, w.lo), _mm256_dpwssd_avx_epi32(sum.hi, pair, w.hi)};
  }

  using Part = I32;
  QEFF_INLINE static Part no_part() noexcept { return Avx2::set1(std::int32_t{0}); }
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept {
    return {_mm256_dpbusd_avx_epi32(part.lo, codes.lo, a), _mm256_dpbusd_avx_epi32(part.hi, codes.hi, a)};
  }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept { return add(sum, part); }
};

}  // namespace qeff::kernels::simd
