/// @file
/// SSE, AVX2, FMA and AVX-VNNI. Part of immintrin.h.
#pragma once



// --- 128 bits
inline __m128 _mm_add_ps(__m128 a, __m128 b) { return emulation::map<float>(a, b, emulation::Add{}); }
inline __m128 _mm_max_ps(__m128 a, __m128 b) { return emulation::map<float>(a, b, emulation::Max{}); }
/// The operation on the lowest element, the others from a.
inline __m128 emulated_lowest(__m128 a, __m128 result) {
  auto e = emulation::elements<float>(a);
  e[0] = emulation::elements<float>(result)[0];
  return emulation::pack<__m128>(e);
}
inline __m128 _mm_add_ss(__m128 a, __m128 b) { return emulated_lowest(a, _mm_add_ps(a, b)); }
inline __m128 _mm_max_ss(__m128 a, __m128 b) { return emulated_lowest(a, _mm_max_ps(a, b)); }
inline float _mm_cvtss_f32(__m128 a) { return emulation::elements<float>(a)[0]; }
inline __m128 _mm_movehl_ps(__m128 a, __m128 b) {
  const auto x = emulation::elements<float>(a), y = emulation::elements<float>(b);
  return emulation::pack<__m128>(std::array{y[2], y[3], x[2], x[3]});
}
inline __m128 _mm_movehdup_ps(__m128 a) {
  const auto x = emulation::elements<float>(a);
  return emulation::pack<__m128>(std::array{x[1], x[1], x[3], x[3]});
}
inline __m128i _mm_loadu_si128(const __m128i* p) { return emulation::load<__m128i>(p); }
inline void _mm_storeu_si128(__m128i* p, __m128i a) { emulation::store(p, a); }
inline __m128i _mm_srli_si128(__m128i a, std::size_t n) {
  return emulation::generate<__m128i, std::uint8_t>(
      [&](std::size_t i) { return i + n < 16 ? a.bytes[i + n] : std::uint8_t{0}; });
}
/// |-128| is the byte 128.
inline __m128i _mm_abs_epi8(__m128i a) {
  return emulation::map<std::int8_t>(a, [](auto x) { return x < 0 ? -x : x; });
}
inline __m128i _mm_packs_epi16(__m128i a, __m128i b) {
  const auto x = emulation::elements<std::int16_t>(a), y = emulation::elements<std::int16_t>(b);
  return emulation::generate<__m128i, std::int8_t>(
      [&](std::size_t i) { return emulation::saturate<std::int8_t>(i < 8 ? x[i] : y[i - 8]); });
}
inline __m128i _mm_unpacklo_epi32(__m128i a, __m128i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  return emulation::pack<__m128i>(std::array{x[0], y[0], x[1], y[1]});
}
inline __m128i _mm_unpackhi_epi32(__m128i a, __m128i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  return emulation::pack<__m128i>(std::array{x[2], y[2], x[3], y[3]});
}
template <class... Bytes>
inline __m128i _mm_setr_epi8(Bytes... b) {
  static_assert(sizeof...(b) == 16);
  return emulation::pack<__m128i>(std::array{static_cast<std::int8_t>(b)...});
}

// --- 256 bits: floats
inline __m256 _mm256_loadu_ps(const void* p) { return emulation::load<__m256>(p); }
inline void _mm256_storeu_ps(void* p, __m256 a) { emulation::store(p, a); }
inline __m256 _mm256_set1_ps(float x) { return emulation::generate<__m256, float>([&](std::size_t) { return x; }); }
inline __m256 _mm256_add_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, emulation::Add{}); }
inline __m256 _mm256_sub_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, emulation::Sub{}); }
inline __m256 _mm256_max_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, emulation::Max{}); }
inline __m256 _mm256_min_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, emulation::Min{}); }
inline __m256 _mm256_mul_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, [](float x, float y) { return x * y; }); }
inline __m256 _mm256_div_ps(__m256 a, __m256 b) { return emulation::map<float>(a, b, [](float x, float y) { return x / y; }); }
inline __m256 _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c) {
  const auto x = emulation::elements<float>(a), y = emulation::elements<float>(b), z = emulation::elements<float>(c);
  return emulation::generate<__m256, float>([&](std::size_t i) { return std::fma(x[i], y[i], z[i]); });
}
inline __m256 _mm256_cvtepi32_ps(__m256i a) { const auto x = emulation::elements<std::int32_t>(a); return emulation::generate<__m256, float>([&](std::size_t i) { return x[i]; }); }
inline __m256i _mm256_cvtps_epi32(__m256 a) { const auto x = emulation::elements<float>(a); return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) { return emulation::round(x[i]); }); }
#define _MM_FROUND_TO_NEAREST_INT 0
#define _MM_FROUND_NO_EXC 8
/// @pre the mode is to nearest
inline __m256 _mm256_round_ps(__m256 a, int) { const auto x = emulation::elements<float>(a); return emulation::generate<__m256, float>([&](std::size_t i) { return std::nearbyint(x[i]); }); }
inline __m256 _mm256_castsi256_ps(__m256i a) { return std::bit_cast<__m256>(a); }
inline __m256i _mm256_castps_si256(__m256 a) { return std::bit_cast<__m256i>(a); }

// --- 256 bits: integers
inline __m256i _mm256_set1_epi8(int x) { return emulation::generate<__m256i, std::int8_t>([&](std::size_t) { return x; }); }
inline __m256i _mm256_set1_epi16(int x) { return emulation::generate<__m256i, std::int16_t>([&](std::size_t) { return x; }); }
inline __m256i _mm256_set1_epi32(int x) { return emulation::generate<__m256i, std::int32_t>([&](std::size_t) { return x; }); }
inline __m256i _mm256_add_epi8(__m256i a, __m256i b) { return emulation::map<std::int8_t>(a, b, emulation::Add{}); }
inline __m256i _mm256_add_epi16(__m256i a, __m256i b) { return emulation::map<std::int16_t>(a, b, emulation::Add{}); }
inline __m256i _mm256_add_epi32(__m256i a, __m256i b) { return emulation::map<std::int32_t>(a, b, emulation::Add{}); }
inline __m256i _mm256_sub_epi8(__m256i a, __m256i b) { return emulation::map<std::int8_t>(a, b, emulation::Sub{}); }
inline __m256i _mm256_sub_epi32(__m256i a, __m256i b) { return emulation::map<std::int32_t>(a, b, emulation::Sub{}); }
inline __m256i _mm256_and_si256(__m256i a, __m256i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x & y; }); }
inline __m256i _mm256_andnot_si256(__m256i a, __m256i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return ~x & y; }); }
inline __m256i _mm256_or_si256(__m256i a, __m256i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x | y; }); }
inline __m256i _mm256_xor_si256(__m256i a, __m256i b) { return emulation::map<std::uint64_t>(a, b, [](auto x, auto y) { return x ^ y; }); }
inline __m256i _mm256_slli_epi32(__m256i a, int n) { return emulation::map<std::uint32_t>(a, [&](auto x) { return x << n; }); }
inline __m256i _mm256_srli_epi32(__m256i a, int n) { return emulation::map<std::uint32_t>(a, [&](auto x) { return x >> n; }); }
inline __m256i _mm256_srai_epi32(__m256i a, int n) { return emulation::map<std::int32_t>(a, [&](auto x) { return x >> n; }); }
inline __m256i _mm256_srli_epi16(__m256i a, int n) { return emulation::map<std::uint16_t>(a, [&](auto x) { return x >> n; }); }
inline __m256i _mm256_slli_epi16(__m256i a, int n) { return emulation::map<std::uint16_t>(a, [&](auto x) { return x << n; }); }
inline __m256i _mm256_cvtepu8_epi32(__m128i a) { return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) { return a.bytes[i]; }); }
inline __m256i _mm256_cvtepu16_epi32(__m128i a) {
  const auto x = emulation::elements<std::uint16_t>(a);
  return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) { return x[i]; });
}
inline __m256i _mm256_loadu_si256(const __m256i* p) { return emulation::load<__m256i>(p); }
inline void _mm256_storeu_si256(__m256i* p, __m256i a) { emulation::store(p, a); }
inline __m256i _mm256_srai_epi16(__m256i a, int n) {
  return emulation::map<std::int16_t>(a, [&](auto x) { return x >> n; });
}
inline __m256i _mm256_setzero_si256() { return {}; }
inline __m256i _mm256_mullo_epi32(__m256i a, __m256i b) {
  return emulation::map<std::uint32_t>(a, b, [](auto x, auto y) { return x * y; });
}
/// b's sign on a: a, 0 or -a.
inline __m256i _mm256_sign_epi8(__m256i a, __m256i b) {
  return emulation::map<std::int8_t>(a, b, [](auto x, auto y) { return y < 0 ? -x : y > 0 ? x : 0; });
}
/// Pairs of unsigned bytes of a times signed bytes of b, added with saturation.
inline __m256i _mm256_maddubs_epi16(__m256i a, __m256i b) {
  const auto y = emulation::elements<std::int8_t>(b);
  return emulation::generate<__m256i, std::int16_t>([&](std::size_t i) {
    return emulation::saturate<std::int16_t>(a.bytes[2 * i] * y[2 * i] + a.bytes[2 * i + 1] * y[2 * i + 1]);
  });
}
inline __m256i _mm256_cmpeq_epi8(__m256i a, __m256i b) {
  return emulation::map<std::int8_t>(a, b, [](auto x, auto y) { return x == y ? -1 : 0; });
}
inline int _mm256_movemask_epi8(__m256i a) {
  unsigned mask = 0;
  for (std::size_t i = 0; i < 32; ++i) mask |= static_cast<unsigned>(a.bytes[i] >> 7) << i;
  return static_cast<int>(mask);
}
inline __m256i _mm256_cmpeq_epi32(__m256i a, __m256i b) {
  return emulation::map<std::int32_t>(a, b, [](auto x, auto y) { return x == y ? -1 : 0; });
}
inline __m256i _mm256_cmpgt_epi32(__m256i a, __m256i b) {
  return emulation::map<std::int32_t>(a, b, [](auto x, auto y) { return x > y ? -1 : 0; });
}
template <class... Words>
inline __m256i _mm256_setr_epi32(Words... w) {
  static_assert(sizeof...(w) == 8);
  return emulation::pack<__m256i>(std::array{static_cast<std::int32_t>(w)...});
}
template <class... Bytes>
inline __m256i _mm256_setr_epi8(Bytes... b) {
  static_assert(sizeof...(b) == 32);
  return emulation::pack<__m256i>(std::array{static_cast<std::int8_t>(b)...});
}
inline __m256i _mm256_madd_epi16(__m256i a, __m256i b) {
  const auto x = emulation::elements<std::int16_t>(a), y = emulation::elements<std::int16_t>(b);
  return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) {
    return emulation::Add{}(std::int32_t{x[2 * i] * y[2 * i]}, std::int32_t{x[2 * i + 1] * y[2 * i + 1]});
  });
}
inline __m256i _mm256_dpbusd_avx_epi32(__m256i sum, __m256i a, __m256i b) {
  return emulation::dpbusd(sum, a, b);
}
inline __m256i _mm256_dpwssd_avx_epi32(__m256i sum, __m256i a, __m256i b) {
  return emulation::dpwssd(sum, a, b);
}

// --- 256 bits: moves
inline __m256 _mm256_setzero_ps() { return {}; }
inline __m256 _mm256_castpd_ps(__m256d a) { return std::bit_cast<__m256>(a); }
inline __m128 _mm256_castps256_ps128(__m256 a) { return emulation::load<__m128>(&a); }
inline __m128i _mm256_castsi256_si128(__m256i a) { return emulation::load<__m128i>(&a); }
inline __m128i _mm256_extracti128_si256(__m256i a, int half) {
  return emulation::load<__m128i>(a.bytes.data() + 16 * half);
}
inline __m128 _mm256_extractf128_ps(__m256 a, int half) {
  return emulation::load<__m128>(a.bytes.data() + 16 * half);
}
inline __m256i _mm256_broadcastsi128_si256(__m128i a) {
  return emulation::generate<__m256i, std::uint8_t>([&](std::size_t i) { return a.bytes[i % 16]; });
}
/// Reads, or writes, only the elements whose mask is negative.
inline __m256 _mm256_maskload_ps(const float* p, __m256i mask) {
  const auto m = emulation::elements<std::int32_t>(mask);
  return emulation::generate<__m256, float>([&](std::size_t i) { return m[i] < 0 ? p[i] : 0.0f; });
}
inline void _mm256_maskstore_ps(float* p, __m256i mask, __m256 a) {
  const auto m = emulation::elements<std::int32_t>(mask);
  const auto x = emulation::elements<float>(a);
  for (std::size_t i = 0; i < 8; ++i)
    if (m[i] < 0) p[i] = x[i];
}
inline __m256 _mm256_blendv_ps(__m256 a, __m256 b, __m256 mask) {
  const auto x = emulation::elements<float>(a), y = emulation::elements<float>(b);
  const auto m = emulation::elements<std::int32_t>(mask);
  return emulation::generate<__m256, float>([&](std::size_t i) { return m[i] < 0 ? y[i] : x[i]; });
}
inline __m256 _mm256_permutevar8x32_ps(__m256 a, __m256i index) {
  const auto x = emulation::elements<float>(a);
  const auto at = emulation::elements<std::uint32_t>(index);
  return emulation::generate<__m256, float>([&](std::size_t i) { return x[at[i] & 7]; });
}
/// Each half by itself: the low, or the high, halves of a and b in turns.
inline __m256i _mm256_unpacklo_epi32(__m256i a, __m256i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) { return (i % 2 == 0 ? x : y)[i / 4 * 4 + i % 4 / 2]; });
}
inline __m256i _mm256_unpackhi_epi32(__m256i a, __m256i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  return emulation::generate<__m256i, std::int32_t>([&](std::size_t i) { return (i % 2 == 0 ? x : y)[i / 4 * 4 + 2 + i % 4 / 2]; });
}
/// Halves of a and b, two bits of the order each. @pre its bits 3 and 7 are 0
inline __m256i _mm256_permute2x128_si256(__m256i a, __m256i b, unsigned order) {
  return emulation::generate<__m256i, std::uint8_t>([&](std::size_t i) {
    const unsigned half = order >> i / 16 * 4 & 3;
    return (half < 2 ? a : b).bytes[half % 2 * 16 + i % 16];
  });
}
inline __m256i _mm256_permute4x64_epi64(__m256i a, unsigned order) {
  const auto x = emulation::elements<std::uint64_t>(a);
  return emulation::generate<__m256i, std::uint64_t>([&](std::size_t i) { return x[order >> 2 * i & 3]; });
}
/// Each half by itself: byte order[i] of it, zero where the top bit of order[i] is set.
inline __m256i _mm256_shuffle_epi8(__m256i a, __m256i order) {
  return emulation::generate<__m256i, std::uint8_t>([&](std::size_t i) {
    const unsigned at = order.bytes[i];
    return at & 0x80 ? std::uint8_t{0} : a.bytes[i / 16 * 16 + (at & 15)];
  });
}
/// Each half by itself: the elements of a, then those of b, narrowed with saturation.
inline __m256i _mm256_packs_epi32(__m256i a, __m256i b) {
  const auto x = emulation::elements<std::int32_t>(a), y = emulation::elements<std::int32_t>(b);
  return emulation::generate<__m256i, std::int16_t>([&](std::size_t i) {
    const std::size_t from = i / 8 * 4 + i % 4;
    return emulation::saturate<std::int16_t>(i % 8 < 4 ? x[from] : y[from]);
  });
}
