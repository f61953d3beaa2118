/// @file
/// AVX-512 F, BW, DQ, VNNI and BF16. Part of immintrin.h.
#pragma once



// --- 512 bits: floats
inline __m512 _mm512_loadu_ps(const void* p) { return emulation::load<__m512>(p); }
inline void _mm512_storeu_ps(void* p, __m512 a) { emulation::store(p, a); }
inline __m512 _mm512_set1_ps(float x) { return emulation::generate<__m512, float>([&](std::size_t) { return x; }); }
inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, emulation::Add{}); }
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, emulation::Sub{}); }
inline __m512 _mm512_max_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, emulation::Max{}); }
inline __m512 _mm512_min_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, emulation::Min{}); }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, [](float x, float y) { return x * y; }); }
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return emulation::map<float>(a, b, [](float x, float y) { return x / y; }); }
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  const auto x = emulation::elements<float>(a), y = emulation::elements<float>(b), z = emulation::elements<float>(c);
  return emulation::generate<__m512, float>([&](std::size_t i) { return std::fma(x[i], y[i], z[i]); });
}
inline __m512 _mm512_cvtepi32_ps(__m512i a) { const auto x = emulation::elements<std::int32_t>(a); return emulation::generate<__m512, float>([&](std::size_t i) { return x[i]; }); }
inline __m512i _mm512_cvtps_epi32(__m512 a) { const auto x = emulation::elements<float>(a); return emulation::generate<__m512i, std::int32_t>([&](std::size_t i) { return emulation::round(x[i]); }); }
inline __m512 _mm512_castsi512_ps(__m512i a) { return std::bit_cast<__m512>(a); }
inline __m512i _mm512_castps_si512(__m512 a) { return std::bit_cast<__m512i>(a); }

// --- 512 bits: integers
inline __m512i _mm512_set1_epi8(int x) { return emulation::generate<__m512i, std::int8_t>([&](std::size_t) { return x; }); }
inline __m512i _mm512_set1_epi16(int x) { return emulation::generate<__m512i, std::int16_t>([&](std::size_t) { return x; }); }
inline __m512i _mm512_set1_epi32(int x) { return emulation::generate<__m512i, std::int32_t>([&](std::size_t) { return x; }); }
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) { return emulation::map<std::int32_t>(a, b, emulation::Add{}); }
inline __m512i _mm512_sub_epi8(__m512i a, __m512i b) { return emulation::map<std::int8_t>(a, b, emulation::Sub{}); }
inline __m512i _mm512_sub_epi16(__m512i a, __m512i b) { return emulation::map<std::int16_t>(a, b, emulation::Sub{}); }
inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) { return emulation::map<std::int32_t>(a, b, emulation::Sub{}); }
inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x & y; }); }
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x | y; }); }
inline __m512i _mm512_xor_si512(__m512i a, __m512i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x ^ y; }); }
inline __m512i _mm512_slli_epi32(__m512i a, int n) { return emulation::map<std::uint32_t>(a, [&](auto x) { return x << n; }); }
inline __m512i _mm512_srli_epi32(__m512i a, int n) { return emulation::map<std::uint32_t>(a, [&](auto x) { return x >> n; }); }
inline __m512i _mm512_srai_epi32(__m512i a, int n) { return emulation::map<std::int32_t>(a, [&](auto x) { return x >> n; }); }
inline __m512i _mm512_srli_epi16(__m512i a, int n) { return emulation::map<std::uint16_t>(a, [&](auto x) { return x >> n; }); }
inline __m512i _mm512_cvtepu8_epi32(__m128i a) { return emulation::generate<__m512i, std::int32_t>([&](std::size_t i) { return a.bytes[i]; }); }
inline __m512i _mm512_cvtepu16_epi32(__m256i a) {
  const auto x = emulation::elements<std::uint16_t>(a);
  return emulation::generate<__m512i, std::int32_t>([&](std::size_t i) { return x[i]; });
}
/// @pre the mode is to nearest, and to integers
inline __m512 _mm512_roundscale_ps(__m512 a, int) {
  const auto x = emulation::elements<float>(a);
  return emulation::generate<__m512, float>([&](std::size_t i) { return std::nearbyint(x[i]); });
}
inline __m512 _mm512_scalef_ps(__m512 a, __m512 b) {
  const auto x = emulation::elements<float>(a), y = emulation::elements<float>(b);
  return emulation::generate<__m512, float>([&](std::size_t i) { return x[i] * std::exp2(std::floor(y[i])); });
}
template <class... Words>
inline __m512i _mm512_setr_epi32(Words... w) {
  static_assert(sizeof...(w) == 16);
  return emulation::pack<__m512i>(std::array{static_cast<std::int32_t>(w)...});
}
inline __m512i _mm512_loadu_si512(const void* p) { return emulation::load<__m512i>(p); }
inline void _mm512_storeu_si512(void* p, __m512i a) { emulation::store(p, a); }
inline __m512i _mm512_setzero_si512() { return {}; }
inline __m512i _mm512_mullo_epi32(__m512i a, __m512i b) {
  return emulation::map<std::uint32_t>(a, b, [](auto x, auto y) { return x * y; });
}
/// |-128| is the byte 128.
inline __m512i _mm512_abs_epi8(__m512i a) {
  return emulation::map<std::int8_t>(a, [](auto x) { return x < 0 ? -x : x; });
}
inline __m128i _mm512_cvtepi32_epi8(__m512i a) {
  const auto x = emulation::elements<std::int32_t>(a);
  return emulation::generate<__m128i, std::uint8_t>([&](std::size_t i) { return x[i]; });
}
inline __m256i _mm512_cvtepi32_epi16(__m512i a) {
  const auto x = emulation::elements<std::int32_t>(a);
  return emulation::generate<__m256i, std::uint16_t>([&](std::size_t i) { return x[i]; });
}

// --- 512 bits: moves
using _MM_PERM_ENUM = int;
/// Each quarter by itself: element order >> 2i & 3 of it.
inline __m512i _mm512_shuffle_epi32(__m512i a, int order) {
  const auto x = emulation::elements<std::int32_t>(a);
  return emulation::generate<__m512i, std::int32_t>(
      [&](std::size_t i) { return x[i / 4 * 4 + (static_cast<unsigned>(order) >> 2 * (i % 4) & 3)]; });
}
inline __m512d _mm512_castps_pd(__m512 a) { return std::bit_cast<__m512d>(a); }
inline __m256 _mm512_castps512_ps256(__m512 a) { return emulation::load<__m256>(&a); }
inline __m256d _mm512_extractf64x4_pd(__m512d a, int half) {
  return emulation::load<__m256d>(a.bytes.data() + 32 * half);
}
inline __m512i _mm512_broadcast_i32x4(__m128i a) {
  return emulation::generate<__m512i, std::uint8_t>([&](std::size_t i) { return a.bytes[i % 16]; });
}
/// Each quarter by itself: byte order[i] of it, zero where the top bit of order[i] is set.
inline __m512i _mm512_shuffle_epi8(__m512i a, __m512i order) {
  return emulation::generate<__m512i, std::uint8_t>([&](std::size_t i) {
    const unsigned at = order.bytes[i];
    return at & 0x80 ? std::uint8_t{0} : a.bytes[i / 16 * 16 + (at & 15)];
  });
}
/// Each quarter by itself: the low, or the high, halves of a and b in turns.
inline __m512i _mm512_unpacklo_epi8(__m512i a, __m512i b) {
  return emulation::generate<__m512i, std::uint8_t>(
      [&](std::size_t i) { return (i % 2 == 0 ? a : b).bytes[i / 16 * 16 + i % 16 / 2]; });
}
inline __m512i _mm512_unpackhi_epi8(__m512i a, __m512i b) {
  return emulation::generate<__m512i, std::uint8_t>(
      [&](std::size_t i) { return (i % 2 == 0 ? a : b).bytes[i / 16 * 16 + 8 + i % 16 / 2]; });
}
inline __m512i _mm512_broadcast_i64x4(__m256i a) {
  return emulation::generate<__m512i, std::uint8_t>([&](std::size_t i) { return a.bytes[i % 32]; });
}
/// Seven bits of each index: a byte of a, or beyond 63 of b.
inline __m512i _mm512_permutex2var_epi8(__m512i a, __m512i index, __m512i b) {
  return emulation::generate<__m512i, std::uint8_t>([&](std::size_t i) {
    const unsigned at = index.bytes[i] & 127;
    return at < 64 ? a.bytes[at] : b.bytes[at - 64];
  });
}
/// Five bits of each index: a dword of a, or beyond 15 of b.
inline __m512i _mm512_permutex2var_epi32(__m512i a, __m512i index, __m512i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  const auto at = emulation::elements<std::uint32_t>(index);
  return emulation::generate<__m512i, std::int32_t>([&](std::size_t i) { return (at[i] & 16 ? y : x)[at[i] & 15]; });
}
/// Five bits of each index.
inline __m512i _mm512_permutexvar_epi16(__m512i index, __m512i a) {
  const auto x = emulation::elements<std::uint16_t>(a), at = emulation::elements<std::uint16_t>(index);
  return emulation::generate<__m512i, std::uint16_t>([&](std::size_t i) { return x[at[i] & 31]; });
}
/// Bit 4 a + 2 b + c of the table.
inline __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
  return emulation::generate<__m512i, std::uint8_t>([&](std::size_t i) {
    unsigned byte = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
      const unsigned at = (a.bytes[i] >> bit & 1u) << 2 | (b.bytes[i] >> bit & 1u) << 1 | (c.bytes[i] >> bit & 1u);
      byte |= (static_cast<unsigned>(table) >> at & 1u) << bit;
    }
    return static_cast<std::uint8_t>(byte);
  });
}
inline __m512 _mm512_permutexvar_ps(__m512i index, __m512 a) {
  const auto x = emulation::elements<float>(a);
  const auto at = emulation::elements<std::uint32_t>(index);
  return emulation::generate<__m512, float>([&](std::size_t i) { return x[at[i] & 15]; });
}

// --- 512 bits: masks
/// Reads, or writes, only the elements whose bit is set.
inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const float* p) {
  return emulation::generate<__m512, float>([&](std::size_t i) { return mask >> i & 1 ? p[i] : 0.0f; });
}
inline void _mm512_mask_storeu_ps(float* p, __mmask16 mask, __m512 a) {
  const auto x = emulation::elements<float>(a);
  for (std::size_t i = 0; i < 16; ++i)
    if (mask >> i & 1) p[i] = x[i];
}
inline __m512i _mm512_maskz_set1_epi32(__mmask16 mask, int x) {
  return emulation::generate<__m512i, std::int32_t>([&](std::size_t i) { return mask >> i & 1 ? x : 0; });
}
inline __mmask16 _mm512_cmpeq_epi32_mask(__m512i a, __m512i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  unsigned mask = 0;
  for (std::size_t i = 0; i < 16; ++i) mask |= static_cast<unsigned>(x[i] == y[i]) << i;
  return static_cast<__mmask16>(mask);
}
inline __mmask64 _mm512_cmpeq_epi8_mask(__m512i a, __m512i b) {
  __mmask64 mask = 0;
  for (std::size_t i = 0; i < 64; ++i) mask |= static_cast<__mmask64>(a.bytes[i] == b.bytes[i]) << i;
  return mask;
}
inline __mmask64 _mm512_movepi8_mask(__m512i a) {
  __mmask64 mask = 0;
  for (std::size_t i = 0; i < 64; ++i) mask |= static_cast<__mmask64>(a.bytes[i] >> 7) << i;
  return mask;
}
inline __m512i _mm512_mask_sub_epi8(__m512i from, __mmask64 mask, __m512i a, __m512i b) {
  const auto kept = emulation::elements<std::int8_t>(from), d = emulation::elements<std::int8_t>(_mm512_sub_epi8(a, b));
  return emulation::generate<__m512i, std::int8_t>([&](std::size_t i) { return mask >> i & 1 ? d[i] : kept[i]; });
}

// --- 512 bits: dot products
inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b) { return emulation::dpbusd(sum, a, b); }
inline __m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b) { return emulation::dpwssd(sum, a, b); }
/// To nearest even; denormals become zeros.
inline __m256i _mm512_cvtneps_pbh(__m512 a) {
  const auto x = emulation::elements<std::uint32_t>(a);
  return emulation::generate<__m256i, std::uint16_t>([&](std::size_t i) {
    const std::uint32_t magnitude = x[i] & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (x[i] >> 16) | 0x40u;  // NaN stays NaN
    if (magnitude < 0x00800000u) return (x[i] & 0x80000000u) >> 16;
    return (x[i] + 0x7fffu + (x[i] >> 16 & 1u)) >> 16;
  });
}
/// The elements of b in the lower half.
inline __m512i _mm512_cvtne2ps_pbh(__m512 a, __m512 b) {
  const std::array halves{_mm512_cvtneps_pbh(b), _mm512_cvtneps_pbh(a)};
  return std::bit_cast<__m512i>(halves);
}
/// The odd product is added first; denormals are zero on the way in and out.
inline __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const auto s = emulation::elements<float>(sum);
  const auto x = emulation::elements<std::uint16_t>(a), y = emulation::elements<std::uint16_t>(b);
  return emulation::generate<__m512, float>([&](std::size_t i) {
    using emulation::flush, emulation::from_bf16;
    const float odd = flush(std::fma(from_bf16(x[2 * i + 1]), from_bf16(y[2 * i + 1]), flush(s[i])));
    return flush(std::fma(from_bf16(x[2 * i]), from_bf16(y[2 * i]), odd));
  });
}
