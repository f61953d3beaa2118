/// @file
/// Rotary position embedding of some heads of one token. See KernelTable::rope.
#pragma once

#include <cstddef>

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

template <class S>
class Rope {
  using F32 = typename S::F32;

  QEFF_INLINE static F32 load(const float* p, std::size_t left) noexcept {
    return left >= 16 ? S::load(p) : S::load_part(p, left);
  }
  QEFF_INLINE static void store(float* p, F32 v, std::size_t left) noexcept {
    if (left >= 16)
      S::store(p, v);
    else
      S::store_part(p, v, left);
  }

 public:
  static void run(float* x, std::size_t heads, std::size_t head_dim, const float* cos, const float* sin,
                  std::size_t half) noexcept {
    for (std::size_t h = 0; h < heads; ++h, x += head_dim)
      for (std::size_t i = 0; i < half; i += 16) {
        const std::size_t left = half - i;
        const F32 c = load(cos + i, left), s = load(sin + i, left);
        const F32 a = load(x + i, left), b = load(x + half + i, left);
        store(x + i, S::sub(S::mul(a, c), S::mul(b, s)), left);
        store(x + half + i, S::fma(b, c, S::mul(a, s)), left);
      }
  }
};

}  // namespace qeff::kernels
