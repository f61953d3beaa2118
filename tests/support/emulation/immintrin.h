/// @file
/// The x86 intrinsics of src/kernels/simd in plain C++, so that every x86 policy is executed by
/// tests on every x86 machine. Found in place of the compiler's <immintrin.h> by emulated_tables.cpp
/// only, whose include path begins with this folder.
///
/// Each function does what Intel's manual says for the instruction of that name, NaN and rounding
/// included (round to nearest, denormals kept unless the manual says otherwise).
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>


namespace emulation {

/// A register of kBytes bytes; Kind only tells types apart.
template <std::size_t kBytes, class Kind>
struct alignas(kBytes) Register {
  std::array<unsigned char, kBytes> bytes;
};

/// The elements of a register, and a register of elements.
template <class T, class R>
inline std::array<T, sizeof(R) / sizeof(T)> elements(const R& r) {
  return std::bit_cast<std::array<T, sizeof(R) / sizeof(T)>>(r);
}
template <class R, class T, std::size_t kCount>
inline R pack(const std::array<T, kCount>& e) {
  return std::bit_cast<R>(e);
}

/// R{f(0), f(1), ...} of elements T.
template <class R, class T, class F>
inline R generate(F&& f) {
  std::array<T, sizeof(R) / sizeof(T)> e;
  for (std::size_t i = 0; i < e.size(); ++i) e[i] = static_cast<T>(f(i));
  return pack<R>(e);
}

/// f of the elements of a, or of a and b.
template <class T, class R, class F>
inline R map(const R& a, F&& f) {
  const auto x = elements<T>(a);
  return generate<R, T>([&](std::size_t i) { return f(x[i]); });
}
template <class T, class R, class F>
inline R map(const R& a, const R& b, F&& f) {
  const auto x = elements<T>(a), y = elements<T>(b);
  return generate<R, T>([&](std::size_t i) { return f(x[i], y[i]); });
}

template <class R>
inline R load(const void* p) {
  R r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
template <class R>
inline void store(void* p, const R& r) {
  std::memcpy(p, &r, sizeof r);
}

/// Operations on one element.
struct Add { template <class T> T operator()(T a, T b) const {
  if constexpr (std::is_floating_point_v<T>) return a + b;
  else return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
} };
struct Sub { template <class T> T operator()(T a, T b) const {
  if constexpr (std::is_floating_point_v<T>) return a - b;
  else return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) - static_cast<std::make_unsigned_t<T>>(b));
} };
struct Max { float operator()(float a, float b) const { return a > b ? a : b; } };
struct Min { float operator()(float a, float b) const { return a < b ? a : b; } };

/// To nearest even; what does not fit becomes the smallest integer.
inline std::int32_t round(float x) {
  if (!(x >= -0x1p31f && x < 0x1p31f)) return INT32_MIN;
  return static_cast<std::int32_t>(std::nearbyint(x));
}
template <class To>
inline To saturate(std::int32_t x) {
  constexpr std::int32_t kLow = std::numeric_limits<To>::min(), kHigh = std::numeric_limits<To>::max();
  return static_cast<To>(x < kLow ? kLow : x > kHigh ? kHigh : x);
}
/// sum + the four products of unsigned bytes of a and signed bytes of b, wrapping.
template <class R>
inline R dpbusd(const R& sum, const R& a, const R& b) {
  const auto s = elements<std::int32_t>(sum);
  const auto u = elements<std::uint8_t>(a);
  const auto v = elements<std::int8_t>(b);
  return generate<R, std::int32_t>([&](std::size_t i) {
    std::int32_t dot = 0;
    for (std::size_t j = 4 * i; j < 4 * i + 4; ++j) dot += u[j] * v[j];
    return Add{}(s[i], dot);
  });
}
/// sum + the two products of words of a and b, wrapping.
template <class R>
inline R dpwssd(const R& sum, const R& a, const R& b) {
  const auto s = elements<std::int32_t>(sum);
  const auto x = elements<std::int16_t>(a), y = elements<std::int16_t>(b);
  return generate<R, std::int32_t>([&](std::size_t i) {
    return Add{}(s[i], Add{}(std::int32_t{x[2 * i] * y[2 * i]}, std::int32_t{x[2 * i + 1] * y[2 * i + 1]}));
  });
}
/// A float with denormals flushed to zero.
inline float flush(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
inline float from_bf16(std::uint16_t bits) {
  return flush(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
}

}  // namespace emulation

using __m128 = emulation::Register<16, float>;
using __m256 = emulation::Register<32, float>;
using __m512 = emulation::Register<64, float>;
using __m256d = emulation::Register<32, double>;
using __m512d = emulation::Register<64, double>;
using __m128i = emulation::Register<16, int>;
using __m256i = emulation::Register<32, int>;
using __m512i = emulation::Register<64, int>;
using __mmask16 = std::uint16_t;
using __mmask64 = std::uint64_t;
struct __m512bh : __m512i {
  explicit __m512bh(const __m512i& r) : __m512i(r) {}
};

#include "emulated_avx2.hpp"
#include "emulated_avx512.hpp"
#include "emulated_tiles.hpp"
