/// @file
/// Residual add and layer normalization in one pass over a row. See KernelTable::layer_norm.
#pragma once

#include <cstddef>

#include "kernels/bodies/lanes.inl.hpp"
#include "qeff/core/macros.hpp"

namespace qeff::kernels {

template <class S>
class LayerNorm {
  using F32 = typename S::F32;

 public:
  static void run(const float* x, const float* residual, const float* gamma, const float* beta, float eps,
                  float* out, std::size_t m, std::size_t n) noexcept {
    for (std::size_t r = 0; r < m; ++r)
      row(x + r * n, residual != nullptr ? residual + r * n : nullptr, gamma, beta, eps, out + r * n, n);
  }

 private:
  QEFF_INLINE static F32 load(const float* p, std::size_t i, std::size_t n) noexcept {
    return load_lanes<S>(p + i, n - i);
  }
  QEFF_INLINE static void store(float* p, std::size_t i, std::size_t n, F32 v) noexcept {
    store_lanes<S>(p + i, v, n - i);
  }

  static void row(const float* x, const float* residual, const float* gamma, const float* beta, float eps,
                  float* out, std::size_t n) noexcept {
    const float count = static_cast<float>(n);
    F32 sum = S::set1(0.0f);
    for (std::size_t i = 0; i < n; i += 16) {
      F32 v = load(x, i, n);
      if (residual != nullptr) v = S::add(v, load(residual, i, n));
      sum = S::add(sum, v);
      store(out, i, n, v);
    }
    const F32 mean = S::set1(S::sum(sum) / count);
    F32 squares = S::set1(0.0f);
    for (std::size_t i = 0; i < n; i += 16) {
      const F32 d = i + 16 <= n ? S::sub(S::load(out + i), mean) : last_difference(out, i, n, mean);
      squares = S::fma(d, d, squares);
    }
    const float variance = S::sum(squares) / count;
    const F32 scale = S::set1(1.0f / __builtin_sqrtf(variance + eps));
    for (std::size_t i = 0; i < n; i += 16) {
      const F32 d = S::mul(S::sub(load(out, i, n), mean), scale);
      store(out, i, n, S::fma(d, load(gamma, i, n), load(beta, i, n)));
    }
  }

  /// v - mean with zeros beyond n.
  QEFF_INLINE static F32 last_difference(const float* p, std::size_t i, std::size_t n, F32 mean) noexcept {
    alignas(64) float d[16];
    S::store(d, S::sub(load(p, i, n), mean));
    for (std::size_t j = n - i; j < 16; ++j) d[j] = 0.0f;
    return S::load(d);
  }
};

}  // namespace qeff::kernels
