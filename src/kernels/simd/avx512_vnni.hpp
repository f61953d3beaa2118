/// @file
/// Simd policy for AVX-512 with VNNI (Cascade Lake 2019, Zen 4): a panel's 16 columns are one
/// register. portable.hpp says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels::simd {

struct Avx512Vnni {
  static constexpr Isa kIsa = Isa::avx512_vnni;
  static constexpr int kRows = 12;  // 24 sums + 2 weights + 1 activation + 1 constant of 32 registers
  static constexpr int kDotRows = 12;
  static constexpr int kPanels = 2;
  static constexpr bool kWide = false;

  struct F32 { __m512 v; };
  struct I32 { __m512i v; };

  QEFF_INLINE static __mmask16 lanes(std::size_t count) noexcept {
    return static_cast<__mmask16>((1u << count) - 1u);
  }

  QEFF_INLINE static F32 set1(float x) noexcept { return {_mm512_set1_ps(x)}; }
  QEFF_INLINE static F32 load(const float* p) noexcept { return {_mm512_loadu_ps(p)}; }
  QEFF_INLINE static void store(float* p, F32 v) noexcept { _mm512_storeu_ps(p, v.v); }
  QEFF_INLINE static F32 load_part(const float* p, std::size_t n) noexcept {
    return {_mm512_maskz_loadu_ps(lanes(n), p)};
  }
  QEFF_INLINE static void store_part(float* p, F32 v, std::size_t n) noexcept {
    _mm512_mask_storeu_ps(p, lanes(n), v.v);
  }
  QEFF_INLINE static F32 add(F32 a, F32 b) noexcept { return {_mm512_add_ps(a.v, b.v)}; }
  QEFF_INLINE static F32 sub(F32 a, F32 b) noexcept { return {_mm512_sub_ps(a.v, b.v)}; }
  QEFF_INLINE static F32 mul(F32 a, F32 b) noexcept { return {_mm512_mul_ps(a.v, b.v)}; }
  QEFF_INLINE static F32 div(F32 a, F32 b) noexcept { return {_mm512_div_ps(a.v, b.v)}; }
  QEFF_INLINE static F32 fma(F32 a, F32 b, F32 c) noexcept { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  QEFF_INLINE static F32 max(F32 a, F32 b) noexcept { return {_mm512_max_ps(a.v, b.v)}; }
  QEFF_INLINE static F32 min(F32 a, F32 b) noexcept { return {_mm512_min_ps(a.v, b.v)}; }
  QEFF_INLINE static __m256 high_half(__m512 v) noexcept {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  }
  QEFF_INLINE static float sum(F32 v) noexcept {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v.v), high_half(v.v));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  QEFF_INLINE static float max_lane(F32 v) noexcept {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v.v), high_half(v.v));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  QEFF_INLINE static I32 set1(std::int32_t x) noexcept { return {_mm512_set1_epi32(x)}; }
  QEFF_INLINE static I32 load(const std::int32_t* p) noexcept { return {_mm512_loadu_si512(p)}; }
  QEFF_INLINE static void store(std::int32_t* p, I32 v) noexcept { _mm512_storeu_si512(p, v.v); }
  QEFF_INLINE static I32 add(I32 a, I32 b) noexcept { return {_mm512_add_epi32(a.v, b.v)}; }
  QEFF_INLINE static I32 sub(I32 a, I32 b) noexcept { return {_mm512_sub_epi32(a.v, b.v)}; }
  QEFF_INLINE static I32 and_(I32 a, I32 b) noexcept { return {_mm512_and_si512(a.v, b.v)}; }
  QEFF_INLINE static I32 or_(I32 a, I32 b) noexcept { return {_mm512_or_si512(a.v, b.v)}; }
  template <int kBits>
  QEFF_INLINE static I32 shl(I32 a) noexcept { return {_mm512_slli_epi32(a.v, kBits)}; }
  template <int kBits>
  QEFF_INLINE static I32 shr(I32 a) noexcept { return {_mm512_srli_epi32(a.v, kBits)}; }
  template <int kBits>
  QEFF_INLINE static I32 sar(I32 a) noexcept { return {_mm512_srai_epi32(a.v, kBits)}; }
  QEFF_INLINE static I32 mul(I32 a, I32 b) noexcept { return {_mm512_mullo_epi32(a.v, b.v)}; }
  QEFF_INLINE static I32 equal(I32 a, I32 b) noexcept {
    return {_mm512_maskz_set1_epi32(_mm512_cmpeq_epi32_mask(a.v, b.v), -1)};
  }
  QEFF_INLINE static void interleave(I32 a, I32 b, I32& low, I32& high) noexcept {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    low = {_mm512_permutex2var_epi32(a.v, first, b.v)};
    high = {_mm512_permutex2var_epi32(a.v, second, b.v)};
  }
  QEFF_INLINE static F32 to_f32(I32 v) noexcept { return {_mm512_cvtepi32_ps(v.v)}; }
  QEFF_INLINE static I32 round(F32 v) noexcept { return {_mm512_cvtps_epi32(v.v)}; }
  QEFF_INLINE static F32 nearest(F32 v) noexcept {
    return {_mm512_roundscale_ps(v.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  QEFF_INLINE static F32 times_two_to(F32 v, F32 n) noexcept { return {_mm512_scalef_ps(v.v, n.v)}; }
  QEFF_INLINE static F32 as_f32(I32 v) noexcept { return {_mm512_castsi512_ps(v.v)}; }
  QEFF_INLINE static I32 as_i32(F32 v) noexcept { return {_mm512_castps_si512(v.v)}; }
  QEFF_INLINE static I32 load_u8(const std::uint8_t* p) noexcept {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  QEFF_INLINE static I32 load_u16(const std::uint16_t* p) noexcept {
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  QEFF_INLINE static F32 lookup16(const float* table, I32 index) noexcept {
    return {_mm512_permutexvar_ps(index.v, _mm512_loadu_ps(table))};
  }

  using ActI8 = std::int8_t;
  static constexpr bool kUnsignedCodes = true;

  using Act = __m512i;
  struct Bytes { __m512i v; };

  QEFF_INLINE static Act load_act(const void* p) noexcept {
    std::int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }
  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept {
    return {_mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128))};
  }
  /// In assembly because GCC 12 moves sums from register to register around the intrinsic.
  template <class V>
  QEFF_INLINE static V dpbusd(V sum, V unsigned_bytes, V signed_bytes) noexcept {
    if constexpr (std::is_class_v<V>)  // an emulated register
      sum = _mm512_dpbusd_epi32(sum, unsigned_bytes, signed_bytes);
    else
      asm("vpdpbusd %[s], %[u], %[sum]" : [sum] "+v"(sum) : [u] "v"(unsigned_bytes), [s] "v"(signed_bytes));
    return sum;
  }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept { return {dpbusd(sum.v, codes.v, a)}; }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(q.v));
  }

  using Part = I32;
  using NibbleAct = Act;
  QEFF_INLINE static Part no_part() noexcept { return set1(std::int32_t{0}); }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept { return add(sum, part); }
  QEFF_INLINE static NibbleAct load_nibble_act(const std::int8_t* p) noexcept { return load_act(p); }
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept {
    return {dpbusd(part.v, codes.v, a)};
  }
  QEFF_INLINE static void store_nibble_act(std::int8_t* p, I32 q) noexcept { store_act(p, q); }

  static constexpr bool kNibbleWords = true;
  static constexpr bool kDecodesNibbles = true;
  struct Words { __m512i v; };

  QEFF_INLINE static Words load_words(const std::byte* p) noexcept { return {_mm512_loadu_si512(p)}; }
  QEFF_INLINE static void store_words(std::byte* p, Words w) noexcept { _mm512_storeu_si512(p, w.v); }
  QEFF_INLINE static Words sub(Words a, Words b) noexcept { return {_mm512_sub_epi16(a.v, b.v)}; }
  template <bool kHigh>
  QEFF_INLINE static Words even_nibbles(Bytes b) noexcept {
    if constexpr (kHigh) b = {_mm512_srli_epi16(b.v, 4)};
    return {_mm512_and_si512(b.v, _mm512_set1_epi16(15))};
  }
  template <bool kHigh>
  QEFF_INLINE static Words odd_nibbles(Bytes b) noexcept {
    if constexpr (kHigh) return {_mm512_srli_epi16(b.v, 12)};
    return even_nibbles<false>({_mm512_srli_epi16(b.v, 8)});
  }
  using WordTable = __m512i;  ///< Twice the 16 words: vpermw takes five bits of an index, of which one is anything.
  QEFF_INLINE static WordTable load_word_table(const std::int16_t* words) noexcept {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  }
  template <bool kHigh>
  QEFF_INLINE static void look_up_words(WordTable table, Bytes b, Words& even, Words& odd) noexcept {
    if constexpr (kHigh) b = {_mm512_srli_epi16(b.v, 4)};
    even = {_mm512_permutexvar_epi16(b.v, table)};
    odd = {_mm512_permutexvar_epi16(_mm512_srli_epi16(b.v, 8), table)};
  }
  template <class V>
  QEFF_INLINE static V dpwssd(V sum, V a, V b) noexcept {  // in assembly: see dpbusd
    if constexpr (std::is_class_v<V>)
      sum = _mm512_dpwssd_epi32(sum, a, b);
    else
      asm("vpdpwssd %[a], %[b], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
    return sum;
  }
  QEFF_INLINE static I32 dot_words(I32 sum, const std::int16_t* a, Words w) noexcept {
    return {dpwssd(sum.v, load_act(a), w.v)};
  }
  QEFF_INLINE static void store_nibble_words(std::int16_t* p, I32 q) noexcept {
    const __m512i k = _mm512_shuffle_epi32(q.v, static_cast<_MM_PERM_ENUM>(0xD8));  // 0 2 1 3 of each four
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(k));
  }

  QEFF_INLINE static Bytes load_bytes(const std::byte* p) noexcept { return {_mm512_loadu_si512(p)}; }
  QEFF_INLINE static void store_bytes(std::byte* p, Bytes b) noexcept { _mm512_storeu_si512(p, b.v); }
  QEFF_INLINE static Bytes repeat4(const std::uint8_t* p) noexcept {
    const __m512i dwords = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm512_mullo_epi32(dwords, _mm512_set1_epi32(0x01010101))};
  }
  QEFF_INLINE static Bytes low_nibbles(Bytes b) noexcept {
    return {_mm512_and_si512(b.v, _mm512_set1_epi8(15))};
  }
  QEFF_INLINE static Bytes high_nibbles(Bytes b) noexcept {
    return low_nibbles({_mm512_srli_epi16(b.v, 4)});
  }
  QEFF_INLINE static Bytes sub(Bytes a, Bytes b) noexcept { return {_mm512_sub_epi8(a.v, b.v)}; }
  QEFF_INLINE static Bytes lookup_bytes(const std::int8_t* table, Bytes index) noexcept {
    const __m512i four_times = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm512_shuffle_epi8(four_times, index.v)};
  }
  QEFF_INLINE static bool any_has(Bytes b, std::uint8_t bits) noexcept {
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(bits));
    return _mm512_cmpeq_epi8_mask(_mm512_and_si512(b.v, mask), mask) != 0;
  }

  static constexpr bool kBf16 = false;
};

}  // namespace qeff::kernels::simd
