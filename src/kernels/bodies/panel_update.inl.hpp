/// @file
/// Columns of 16 rows, each less a sum of products: the inner loop of GPTQ. See KernelTable::subtract_products.
#pragma once

#include <cstddef>

#include "kernels/bodies/tile.inl.hpp"

namespace qeff::kernels {

template <class S>
struct PanelUpdate {
  /// Columns of `source` whose factors stay in the nearest cache while all of `target` takes them.
  static constexpr std::size_t kChunk = 64;

  static void run(const float* source, std::size_t sources, const float* factors, std::size_t stride, float* target,
                  std::size_t targets) noexcept {
    for (std::size_t j = 0; j < sources; j += kChunk, source += kChunk * kPanel, factors += kChunk * stride) {
      const std::size_t part = sources - j < kChunk ? sources - j : kChunk;
      for (std::size_t t = 0; t < targets; t += S::kRows)
        by_rows<S::kRows>(targets - t < S::kRows ? targets - t : S::kRows, [&]<int kT>() QEFF_INLINE_LAMBDA {
          columns<kT>(source, part, factors + t, stride, target + t * kPanel);
        });
    }
  }

 private:
  template <int kT>
  static void columns(const float* source, std::size_t sources, const float* factors, std::size_t stride,
                      float* target) noexcept {
    typename S::F32 sums[kT];
    for (auto& s : sums) s = S::set1(0.0f);
    for (std::size_t j = 0; j < sources; ++j, factors += stride) {
      const auto column = S::load(source + j * kPanel);
#pragma GCC unroll 16
      for (int t = 0; t < kT; ++t) sums[t] = S::fma(S::set1(factors[t]), column, sums[t]);
    }
    for (int t = 0; t < kT; ++t) S::store(target + t * kPanel, S::sub(S::load(target + t * kPanel), sums[t]));
  }
};

}  // namespace qeff::kernels
