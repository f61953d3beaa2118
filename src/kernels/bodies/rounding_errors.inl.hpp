/// @file
/// What rounding a panel of weights to each of several grids would cost: the inner loop of range searches. See
/// KernelTable::rounding_errors.
#pragma once

#include <cstddef>

#include "kernels/bodies/tile.inl.hpp"

namespace qeff::kernels {

template <class S>
struct RoundingErrors {
  static constexpr int kGrids = 4;  ///< Tried side by side: their sums do not wait for each other.

  static void run(const float* values, const float* weights, std::size_t columns, const RoundingGrid* grids,
                  std::size_t count, float* errors) noexcept {
    for (std::size_t c = 0; c < count; c += kGrids)
      by_rows<kGrids>(count - c < kGrids ? count - c : kGrids, [&]<int kC>() QEFF_INLINE_LAMBDA {
        side_by_side<kC>(values, weights, columns, grids + c, errors + c * kPanel);
      });
  }

 private:
  template <int kC>
  static void side_by_side(const float* values, const float* weights, std::size_t columns, const RoundingGrid* grids,
                           float* errors) noexcept {
    typename S::F32 scale[kC], inverse[kC], first[kC], last[kC], sums[kC];
    for (int c = 0; c < kC; ++c) {
      scale[c] = S::load(grids[c].scale);
      inverse[c] = S::div(S::set1(1.0f), scale[c]);
      first[c] = S::load(grids[c].first);
      last[c] = S::load(grids[c].last);
      sums[c] = S::set1(0.0f);
    }
    for (std::size_t j = 0; j < columns; ++j) {
      const auto x = S::load(values + j * kPanel), weight = S::set1(weights[j]);
#pragma GCC unroll 4
      for (int c = 0; c < kC; ++c) {
        const auto steps = S::min(S::max(S::mul(x, inverse[c]), first[c]), last[c]);
        const auto error = S::sub(S::mul(S::to_f32(S::round(steps)), scale[c]), x);
        sums[c] = S::fma(S::mul(error, error), weight, sums[c]);
      }
    }
    for (int c = 0; c < kC; ++c) S::store(errors + c * kPanel, sums[c]);
  }
};

}  // namespace qeff::kernels
