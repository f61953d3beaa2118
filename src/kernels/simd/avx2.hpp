/// @file
/// Simd policy for AVX2 + FMA (Haswell 2013, Zen 2017). portable.hpp says what each operation means.
///
/// Without a four-byte dot product the fastest exact int8 product is vpmaddwd on codes widened to 16
/// bits: one multiply and one add for 16 products, no saturation, no sign trick. Panels are
/// widened once into scratch when several rows share them.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels::simd {

struct Avx2 {
  static constexpr Isa kIsa = Isa::avx2;
  static constexpr int kRows = 6;  // 12 sums + 2 weights + 1 activation of 16 registers

  struct F32 { __m256 lo, hi; };
  struct I32 { __m256i lo, hi; };

  QEFF_INLINE static __m256i lanes(std::size_t count) noexcept {  // masks lanes below count
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), index);
  }

  QEFF_INLINE static F32 set1(float x) noexcept { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  QEFF_INLINE static F32 load(const float* p) noexcept {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
  }
  QEFF_INLINE static void store(float* p, F32 v) noexcept {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
  }
  QEFF_INLINE static F32 load_part(const float* p, std::size_t n) noexcept {
    if (n <= 8) return {_mm256_maskload_ps(p, lanes(n)), _mm256_setzero_ps()};
    return {_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, lanes(n - 8))};
  }
  QEFF_INLINE static void store_part(float* p, F32 v, std::size_t n) noexcept {
    if (n <= 8) return _mm256_maskstore_ps(p, lanes(n), v.lo);
    _mm256_storeu_ps(p, v.lo);
    _mm256_maskstore_ps(p + 8, lanes(n - 8), v.hi);
  }
  QEFF_INLINE static F32 add(F32 a, F32 b) noexcept {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 sub(F32 a, F32 b) noexcept {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 mul(F32 a, F32 b) noexcept {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 div(F32 a, F32 b) noexcept {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 fma(F32 a, F32 b, F32 c) noexcept {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  QEFF_INLINE static F32 max(F32 a, F32 b) noexcept {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 min(F32 a, F32 b) noexcept {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
  }
  QEFF_INLINE static float sum(F32 v) noexcept {
    const __m256 eight = _mm256_add_ps(v.lo, v.hi);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  QEFF_INLINE static float max_lane(F32 v) noexcept {
    const __m256 eight = _mm256_max_ps(v.lo, v.hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  QEFF_INLINE static I32 set1(std::int32_t x) noexcept {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
  }
  QEFF_INLINE static __m256i load256(const void* p) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  QEFF_INLINE static void store256(void* p, __m256i v) noexcept {
    _mm256_storeu_si256(static_cast<__m256i*>(p), v);
  }
  QEFF_INLINE static I32 load(const std::int32_t* p) noexcept { return {load256(p), load256(p + 8)}; }
  QEFF_INLINE static void store(std::int32_t* p, I32 v) noexcept {
    store256(p, v.lo);
    store256(p + 8, v.hi);
  }
  QEFF_INLINE static I32 add(I32 a, I32 b) noexcept {
    return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
  }
  QEFF_INLINE static I32 sub(I32 a, I32 b) noexcept {
    return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
  }
  QEFF_INLINE static I32 and_(I32 a, I32 b) noexcept {
    return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
  }
  QEFF_INLINE static I32 or_(I32 a, I32 b) noexcept {
    return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
  }
  template <int kBits>
  QEFF_INLINE static I32 shl(I32 a) noexcept {
    return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
  }
  template <int kBits>
  QEFF_INLINE static I32 shr(I32 a) noexcept {
    return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
  }
  template <int kBits>
  QEFF_INLINE static I32 sar(I32 a) noexcept {
    return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
  }
  QEFF_INLINE static I32 equal(I32 a, I32 b) noexcept {
    return {_mm256_cmpeq_epi32(a.lo, b.lo), _mm256_cmpeq_epi32(a.hi, b.hi)};
  }
  QEFF_INLINE static F32 to_f32(I32 v) noexcept {
    return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)};
  }
  QEFF_INLINE static I32 round(F32 v) noexcept {
    return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)};
  }
  QEFF_INLINE static F32 as_f32(I32 v) noexcept {
    return {_mm256_castsi256_ps(v.lo), _mm256_castsi256_ps(v.hi)};
  }
  QEFF_INLINE static I32 as_i32(F32 v) noexcept {
    return {_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi)};
  }
  QEFF_INLINE static I32 load_u8(const std::uint8_t* p) noexcept {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepu8_epi32(b), _mm256_cvtepu8_epi32(_mm_srli_si128(b, 8))};
  }
  QEFF_INLINE static F32 lookup16(const float* table, I32 index) noexcept {
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
    const auto pick = [&](__m256i i) QEFF_INLINE_LAMBDA {
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));  // bit 3 to the sign
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, i), _mm256_permutevar8x32_ps(high, i), upper);
    };
    return {pick(index.lo), pick(index.hi)};
  }

  using ActI8 = std::int16_t;
  static constexpr int kActOffset = 0;
  static constexpr int kSteps = 2;  // reduction indices 0, 1 then 2, 3 of a line
  static constexpr std::size_t kStepBytes = 64;
  static constexpr bool kExpand = true;

  struct Act { __m256i v; };
  struct Step { __m256i lo, hi; };
  struct Bytes { __m256i lo, hi; };

  QEFF_INLINE static Act load_act(const ActI8* p) noexcept {
    std::int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return {_mm256_set1_epi32(pair)};
  }
  QEFF_INLINE static Step load_step(const std::byte* p) noexcept { return {load256(p), load256(p + 32)}; }
  template <int kIndex>
  QEFF_INLINE static Step step_of_line(const std::byte* line) noexcept {
    const char z = -128, a = kIndex * 2, b = a + 1;  // bytes 2j, 2j+1 to the tops of two words
    const __m128i spread = _mm_setr_epi8(z, a, z, b, z, a + 4, z, b + 4, z, a + 8, z, b + 8, z, a + 12, z, b + 12);
    const __m256i order = _mm256_broadcastsi128_si256(spread);
    return {_mm256_srai_epi16(_mm256_shuffle_epi8(load256(line), order), 8),
            _mm256_srai_epi16(_mm256_shuffle_epi8(load256(line + 32), order), 8)};
  }
  QEFF_INLINE static void store_step(std::byte* p, Step s) noexcept {
    store256(p, s.lo);
    store256(p + 32, s.hi);
  }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Step s) noexcept {
    return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.v, s.lo)),
            _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.v, s.hi))};
  }
  QEFF_INLINE static __m256i words(I32 q) noexcept {  // 16 integers to 16 words, in order
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(q.lo, q.hi), 0xD8);
  }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept { store256(p, words(q)); }

  QEFF_INLINE static Bytes load_bytes(const std::byte* p) noexcept { return {load256(p), load256(p + 32)}; }
  QEFF_INLINE static void store_bytes(std::byte* p, Bytes b) noexcept {
    store256(p, b.lo);
    store256(p + 32, b.hi);
  }
  QEFF_INLINE static Bytes repeat4(const std::uint8_t* p) noexcept {
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i first = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,  //
                                           4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    return {_mm256_shuffle_epi8(both, first),
            _mm256_shuffle_epi8(both, _mm256_add_epi8(first, _mm256_set1_epi8(8)))};
  }
  QEFF_INLINE static Bytes low_nibbles(Bytes b) noexcept {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(b.lo, mask), _mm256_and_si256(b.hi, mask)};
  }
  QEFF_INLINE static Bytes high_nibbles(Bytes b) noexcept {
    return low_nibbles({_mm256_srli_epi16(b.lo, 4), _mm256_srli_epi16(b.hi, 4)});
  }
  QEFF_INLINE static Bytes sub(Bytes a, Bytes b) noexcept {
    return {_mm256_sub_epi8(a.lo, b.lo), _mm256_sub_epi8(a.hi, b.hi)};
  }

  static constexpr bool kBf16 = false;
};

}  // namespace qeff::kernels::simd
