/// @file
/// Lines of the cache of keys and values: 64 bytes, 16 columns, kSteps reduction indices of each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

inline constexpr std::size_t kCacheLine = 64;  ///< Bytes.

/// Floats are multiplied as they are; load() turns a line of the others into floats.
template <class S>
struct FloatLines {
  static constexpr std::size_t kSteps = cache_steps(CachedAs::f32);
};
template <class S>
struct Bf16Lines {
  static constexpr std::size_t kSteps = cache_steps(CachedAs::bf16);
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[2]) noexcept {
    const auto pairs = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = S::as_f32(S::template shl<16>(pairs));
    v[1] = S::as_f32(S::and_(pairs, S::set1(static_cast<std::int32_t>(0xffff0000))));
  }
};
template <class S>
struct Int8Lines {
  static constexpr std::size_t kSteps = cache_steps(CachedAs::int8);
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[4]) noexcept {
    const auto codes = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = S::to_f32(S::template sar<24>(S::template shl<24>(codes)));
    v[1] = S::to_f32(S::template sar<24>(S::template shl<16>(codes)));
    v[2] = S::to_f32(S::template sar<24>(S::template shl<8>(codes)));
    v[3] = S::to_f32(S::template sar<24>(codes));
  }
};

template <class S>
struct Int4Lines {
  static constexpr std::size_t kSteps = cache_steps(CachedAs::int4);
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[8]) noexcept {
    const auto codes = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = code<28>(codes), v[1] = code<24>(codes), v[2] = code<20>(codes), v[3] = code<16>(codes);
    v[4] = code<12>(codes), v[5] = code<8>(codes), v[6] = code<4>(codes);
    v[7] = S::to_f32(S::template sar<28>(codes));
  }

 private:
  template <int kUp>
  QEFF_INLINE static typename S::F32 code(typename S::I32 codes) noexcept {
    return S::to_f32(S::template sar<28>(S::template shl<kUp>(codes)));
  }
};

}  // namespace qeff::kernels
