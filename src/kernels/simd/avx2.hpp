/// @file
/// Simd policy for AVX2 + FMA (Haswell 2013, Zen 2017). portable.hpp says what each operation means.
///
/// Without a four-byte dot product, the exact product of signed bytes is vpmaddubsw on magnitudes of
/// activations and weights with the activations' signs: four instructions for 32 products. Codes of
/// 4 bits need no sign and leave room for sums in 16 bits: two instructions for 32 products.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels::simd {

struct Avx2 {
  static constexpr Isa kIsa = Isa::avx2;
  static constexpr int kRows = 6;  // 12 sums + 2 weights + 1 activation of 16 registers
  static constexpr int kDotRows = 4;  // 8 sums + 2 weights + 2 of an activation + 1 constant + 1
  static constexpr int kPanels = 1;

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
  QEFF_INLINE static I32 mul(I32 a, I32 b) noexcept {
    return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
  }
  QEFF_INLINE static I32 equal(I32 a, I32 b) noexcept {
    return {_mm256_cmpeq_epi32(a.lo, b.lo), _mm256_cmpeq_epi32(a.hi, b.hi)};
  }
  QEFF_INLINE static I32 interleave(__m256i a, __m256i b) noexcept {
    const __m256i first = _mm256_unpacklo_epi32(a, b), second = _mm256_unpackhi_epi32(a, b);  // of each half
    return {_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31)};
  }
  QEFF_INLINE static void interleave(I32 a, I32 b, I32& low, I32& high) noexcept {
    low = interleave(a.lo, b.lo);
    high = interleave(a.hi, b.hi);
  }
  QEFF_INLINE static F32 to_f32(I32 v) noexcept {
    return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)};
  }
  QEFF_INLINE static I32 round(F32 v) noexcept {
    return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)};
  }
  QEFF_INLINE static F32 nearest(F32 v) noexcept {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(v.lo, kNearest), _mm256_round_ps(v.hi, kNearest)};
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
  QEFF_INLINE static I32 load_u16(const std::uint16_t* p) noexcept {
    const auto* from = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), _mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1))};
  }
  QEFF_INLINE static F32 lookup16(const float* table, I32 index) noexcept {
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
    const auto pick = [&](__m256i i) QEFF_INLINE_LAMBDA {
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));  // bit 3 to the sign
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, i), _mm256_permutevar8x32_ps(high, i), upper);
    };
    return {pick(index.lo), pick(index.hi)};
  }

  /// Four codes, then their magnitudes: the unsigned operand of vpmaddubsw.
  struct ActI8 { std::int8_t code; std::uint8_t magnitude; };
  static constexpr bool kUnsignedCodes = false;

  struct Act { __m256i code, magnitude; };
  struct Bytes { __m256i lo, hi; };

  QEFF_INLINE static __m256i four(const void* p) noexcept {
    std::int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return _mm256_set1_epi32(bytes);
  }
  QEFF_INLINE static Act load_act(const ActI8* p) noexcept { return {four(p), four(p + 2)}; }
  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept { return load_bytes(p); }
  /// |a| * (w with the sign of a): pairs stay within 2 * 127 * 127 < 2^15.
  /// In assembly because GCC 12, left alone, multiplies for all rows first and runs out of registers.
  template <class V>
  QEFF_INLINE static V dot(V sum, Act a, V w) noexcept {
    const V ones = _mm256_set1_epi16(1);
    V t;
    if constexpr (std::is_class_v<V>) {  // an emulated register
      t = _mm256_madd_epi16(_mm256_maddubs_epi16(a.magnitude, _mm256_sign_epi8(w, a.code)), ones);
      sum = _mm256_add_epi32(sum, t);
    } else {
      asm("vpsignb %[a], %[w], %[t]\n\tvpmaddubsw %[t], %[m], %[t]\n\tvpmaddwd %[t], %[ones], %[t]\n\t"
          "vpaddd %[t], %[sum], %[sum]"
          : [sum] "+x"(sum), [t] "=&x"(t)
          : [a] "x"(a.code), [w] "x"(w), [m] "x"(a.magnitude), [ones] "x"(ones));
    }
    return sum;
  }
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    return {dot(sum.lo, a, codes.lo), dot(sum.hi, a, codes.hi)};
  }
  QEFF_INLINE static __m256i words(I32 q) noexcept {  // 16 integers to 16 words, in order
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(q.lo, q.hi), 0xD8);
  }
  QEFF_INLINE static __m128i bytes(I32 q) noexcept {
    const __m256i w = words(q);
    return _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
  }
  QEFF_INLINE static void store_act(ActI8* p, I32 q) noexcept {
    const __m128i codes = bytes(q), magnitudes = _mm_abs_epi8(codes);
    auto* out = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(out, _mm_unpacklo_epi32(codes, magnitudes));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi32(codes, magnitudes));
  }

  static constexpr bool kWide = true;
  struct Words { __m256i lo, hi; };  ///< Two reduction indices of 16 columns.

  /// Reduction indices 2 kPair, 2 kPair + 1 of a line.
  template <int kPair>
  QEFF_INLINE static Words widen(const std::byte* line) noexcept {
    const char z = -128, a = kPair * 2, b = a + 1;  // bytes 2j, 2j+1 to the tops of two words
    const __m128i spread = _mm_setr_epi8(z, a, z, b, z, a + 4, z, b + 4, z, a + 8, z, b + 8, z, a + 12, z, b + 12);
    const __m256i order = _mm256_broadcastsi128_si256(spread);
    return {_mm256_srai_epi16(_mm256_shuffle_epi8(load256(line), order), 8),
            _mm256_srai_epi16(_mm256_shuffle_epi8(load256(line + 32), order), 8)};
  }
  /// 16 activations as words.
  QEFF_INLINE static void store_words(std::int16_t* p, I32 q) noexcept { store256(p, words(q)); }
  QEFF_INLINE static Words load_words(const std::byte* p) noexcept { return {load256(p), load256(p + 32)}; }
  QEFF_INLINE static void store_words(std::byte* p, Words v) noexcept {
    store256(p, v.lo);
    store256(p + 32, v.hi);
  }
  template <class V>
  QEFF_INLINE static void dot_words(V& sum_lo, V& sum_hi, const std::int16_t* a, V lo, V hi) noexcept {
    if constexpr (std::is_class_v<V>) {
      sum_lo = _mm256_add_epi32(sum_lo, _mm256_madd_epi16(four(a), lo));
      sum_hi = _mm256_add_epi32(sum_hi, _mm256_madd_epi16(four(a), hi));
    } else {  // in assembly: see dot
      V pair, t;
      asm("vpbroadcastd %[a], %[pair]\n\tvpmaddwd %[pair], %[lo], %[t]\n\tvpmaddwd %[pair], %[hi], %[pair]\n\t"
          "vpaddd %[t], %[sum_lo], %[sum_lo]\n\tvpaddd %[pair], %[sum_hi], %[sum_hi]"
          : [sum_lo] "+x"(sum_lo), [sum_hi] "+x"(sum_hi), [pair] "=&x"(pair), [t] "=&x"(t)
          : [a] "m"(*reinterpret_cast<const std::int32_t*>(a)), [lo] "x"(lo), [hi] "x"(hi));
    }
  }
  /// sum[c] += two activations times the words of column c.
  QEFF_INLINE static I32 dot_words(I32 sum, const std::int16_t* a, Words w) noexcept {
    dot_words(sum.lo, sum.hi, a, w.lo, w.hi);
    return sum;
  }

  static constexpr bool kNibbleWords = true;
  static constexpr bool kDecodesNibbles = false;

  /// Of each column of a line of 4-bit codes, k and k + 2 (even) or k + 1 and k + 3 (odd).
  template <bool kHigh>
  QEFF_INLINE static Words even_nibbles(Bytes b) noexcept {
    const __m256i mask = _mm256_set1_epi16(15);
    if constexpr (kHigh) b = {_mm256_srli_epi16(b.lo, 4), _mm256_srli_epi16(b.hi, 4)};
    return {_mm256_and_si256(b.lo, mask), _mm256_and_si256(b.hi, mask)};
  }
  template <bool kHigh>
  QEFF_INLINE static Words odd_nibbles(Bytes b) noexcept {
    if constexpr (kHigh) return {_mm256_srli_epi16(b.lo, 12), _mm256_srli_epi16(b.hi, 12)};
    return even_nibbles<false>({_mm256_srli_epi16(b.lo, 8), _mm256_srli_epi16(b.hi, 8)});
  }
  /// 16 activations as words, each four in the order 0 2 1 3.
  QEFF_INLINE static void store_nibble_words(std::int16_t* p, I32 q) noexcept {
    const __m256i spread = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                            0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    store256(p, _mm256_shuffle_epi8(words(q), spread));
  }

  /// The low and the high bytes of 16 words.
  struct WordTable { Bytes low, high; };
  QEFF_INLINE static WordTable load_word_table(const std::int16_t* words) noexcept {
    std::int8_t low[16], high[16];
    for (int i = 0; i < 16; ++i) {
      low[i] = static_cast<std::int8_t>(words[i]);
      high[i] = static_cast<std::int8_t>(words[i] >> 8);
    }
    return {load_table(low), load_table(high)};
  }
  /// The words of the nibbles of a line, in the order of even_nibbles and odd_nibbles.
  template <bool kHigh>
  QEFF_INLINE static void look_up_words(const WordTable& table, Bytes b, Words& even, Words& odd) noexcept {
    const Bytes index = kHigh ? high_nibbles(b) : low_nibbles(b);
    join_bytes(lookup(table.low, index), lookup(table.high, index), even, odd);
  }
  /// Words of their low and high bytes.
  QEFF_INLINE static void join_bytes(Bytes low, Bytes high, Words& even, Words& odd) noexcept {
    const __m256i mask = _mm256_set1_epi16(255);
    const auto one = [&](__m256i l, __m256i h, __m256i& e, __m256i& o) QEFF_INLINE_LAMBDA {
      e = _mm256_or_si256(_mm256_and_si256(l, mask), _mm256_slli_epi16(h, 8));
      o = _mm256_or_si256(_mm256_srli_epi16(l, 8), _mm256_andnot_si256(mask, h));
    };
    one(low.lo, high.lo, even.lo, odd.lo);
    one(low.hi, high.hi, even.hi, odd.hi);
  }

  struct Part { __m256i lo, hi; };  // 16-bit sums of pairs: at most 8 * 2 * 15 * 127 < 2^15
  using NibbleAct = __m256i;

  QEFF_INLINE static Part no_part() noexcept { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  QEFF_INLINE static NibbleAct load_nibble_act(const std::int8_t* p) noexcept { return four(p); }
  template <class V>
  QEFF_INLINE static V add_pairs(V sum, V unsigned_bytes, V signed_bytes) noexcept {  // in assembly: see dot
    if constexpr (std::is_class_v<V>) {
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(unsigned_bytes, signed_bytes));
    } else {
      V t;
      asm("vpmaddubsw %[s], %[u], %[t]\n\tvpaddw %[t], %[sum], %[sum]"
          : [sum] "+x"(sum), [t] "=&x"(t)
          : [u] "x"(unsigned_bytes), [s] "x"(signed_bytes));
    }
    return sum;
  }
  QEFF_INLINE static Part nibble_dot(Part part, NibbleAct a, Bytes codes) noexcept {
    return {add_pairs(part.lo, codes.lo, a), add_pairs(part.hi, codes.hi, a)};
  }
  QEFF_INLINE static I32 add_part(I32 sum, Part part) noexcept {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(part.lo, ones)),
            _mm256_add_epi32(sum.hi, _mm256_madd_epi16(part.hi, ones))};
  }
  QEFF_INLINE static void store_nibble_act(std::int8_t* p, I32 q) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes(q));
  }

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
  /// 16 bytes as lookup takes them.
  QEFF_INLINE static Bytes load_table(const std::int8_t* table) noexcept {
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {both, both};
  }
  QEFF_INLINE static Bytes lookup(Bytes table, Bytes index) noexcept {
    return {_mm256_shuffle_epi8(table.lo, index.lo), _mm256_shuffle_epi8(table.hi, index.hi)};
  }
  QEFF_INLINE static Bytes lookup_bytes(const std::int8_t* table, Bytes index) noexcept {
    return lookup(load_table(table), index);
  }
  QEFF_INLINE static bool any_has(Bytes b, std::uint8_t bits) noexcept {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(bits));
    const auto has = [&](__m256i v) QEFF_INLINE_LAMBDA { return _mm256_cmpeq_epi8(_mm256_and_si256(v, mask), mask); };
    return _mm256_movemask_epi8(_mm256_or_si256(has(b.lo), has(b.hi))) != 0;
  }

  static constexpr bool kBf16 = false;
};

}  // namespace qeff::kernels::simd
