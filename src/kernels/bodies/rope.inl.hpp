/// @file
/// Rotary position embedding of some heads of one token. See KernelTable::rope.
#pragma once

#include <cstddef>

#include "kernels/bodies/lanes.inl.hpp"
#include "qeff/core/macros.hpp"

namespace qeff::kernels {

template <class S>
class Rope {
  using F32 = typename S::F32;

 public:
  static void run(float* x, std::size_t heads, std::size_t head_dim, const float* cos, const float* sin,
                  std::size_t half) noexcept {
    for (std::size_t h = 0; h < heads; ++h, x += head_dim)
      for (std::size_t i = 0; i < half; i += 16) {
        const std::size_t left = half - i;
        const F32 c = load_lanes<S>(cos + i, left), s = load_lanes<S>(sin + i, left);
        const F32 a = load_lanes<S>(x + i, left), b = load_lanes<S>(x + half + i, left);
        store_lanes<S>(x + i, S::sub(S::mul(a, c), S::mul(b, s)), left);
        store_lanes<S>(x + half + i, S::fma(b, c, S::mul(a, s)), left);
      }
  }
};

}  // namespace qeff::kernels
