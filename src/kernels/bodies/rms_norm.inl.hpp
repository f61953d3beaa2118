/// @file
/// Root mean square normalization of rows. See KernelTable::rms_norm.
#pragma once

#include <cstddef>

#include "kernels/bodies/lanes.inl.hpp"
#include "qeff/core/macros.hpp"

namespace qeff::kernels {

template <class S>
class RmsNorm {
  using F32 = typename S::F32;

 public:
  static void run(const float* x, std::size_t x_stride, const float* gamma, float eps, float* out,
                  std::size_t out_stride, std::size_t m, std::size_t n) noexcept {
    for (std::size_t r = 0; r < m; ++r) row(x + r * x_stride, gamma, eps, out + r * out_stride, n);
  }

 private:
  QEFF_INLINE static F32 load(const float* p, std::size_t i, std::size_t n) noexcept {
    return load_lanes<S>(p + i, n - i);
  }

  static void row(const float* x, const float* gamma, float eps, float* out, std::size_t n) noexcept {
    F32 squares = S::set1(0.0f);
    for (std::size_t i = 0; i < n; i += 16) {
      const F32 v = load(x, i, n);
      squares = S::fma(v, v, squares);
    }
    const F32 scale = S::set1(1.0f / __builtin_sqrtf(S::sum(squares) / static_cast<float>(n) + eps));
    for (std::size_t i = 0; i < n; i += 16) {
      const F32 v = S::mul(S::mul(load(x, i, n), scale), load(gamma, i, n));
      if (i + 16 <= n)
        S::store(out + i, v);
      else
        S::store_part(out + i, v, n - i);
    }
  }
};

}  // namespace qeff::kernels
