#include "calib/range_search.hpp"

#include <limits>

namespace qeff::calib {
namespace {

/// Every grid of the search, tried a few at a time.
class Search {
 public:
  Search(std::span<const Lanes> values, std::span<const float> weights, const PanelGrid& widest)
      : values_(values), weights_(weights), best_(widest) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lane(scale_, i) = widest[i].scale;
      lane(zero_, i) = static_cast<float>(widest[i].zero_point);
    }
    qmin_ = static_cast<float>(widest[0].qmin);
    qmax_ = static_cast<float>(widest[0].qmax);
  }

  /// The grid of `factor` times the widest range, its zero point `shift` codes off.
  void consider(float factor, int shift) {
    const Lanes zero = (zero_ + static_cast<float>(shift)).max(qmin_).min(qmax_);
    kernels::RoundingGrid& grid = tried_[count_];
    Lanes::Map(grid.scale) = (scale_ * factor).max(std::numeric_limits<float>::min());
    Lanes::Map(grid.first) = qmin_ - zero;
    Lanes::Map(grid.last) = qmax_ - zero;
    if (++count_ == kBatch) flush();
  }

  [[nodiscard]] PanelGrid best() {
    flush();
    return best_;
  }

 private:
  static constexpr std::size_t kBatch = 12;

  void flush() {
    std::array<Lanes, kBatch> errors;
    kernels::active().rounding_errors(values_.front().data(), weights_.data(), values_.size(), tried_.data(), count_,
                                      errors.front().data());
    for (std::size_t c = 0; c < count_; ++c) keep_better(tried_[c], errors[c]);
    count_ = 0;
  }

  /// Takes over, lane by lane, what is better than the best so far.
  void keep_better(const kernels::RoundingGrid& grid, const Lanes& error) {
    if (!(error < least_).any()) return;
    for (std::size_t i = 0; i < kLanes; ++i) {
      if (!(lane(error, i) < lane(least_, i))) continue;
      best_[i].scale = grid.scale[i];
      best_[i].zero_point = best_[i].qmin - static_cast<std::int32_t>(grid.first[i]);
    }
    least_ = least_.min(error);
  }

  std::span<const Lanes> values_;
  std::span<const float> weights_;
  PanelGrid best_;
  Lanes scale_, zero_;  // of the widest range
  float qmin_, qmax_;
  Lanes least_ = Lanes::Constant(std::numeric_limits<float>::infinity());
  std::array<kernels::RoundingGrid, kBatch> tried_;
  std::size_t count_ = 0;
};

/// The grids of the ranges from the least to the greatest value.
PanelGrid widest(std::span<const Lanes> values, const RangeSearch& options) {
  Lanes low = Lanes::Zero(), high = Lanes::Zero();
  for (const Lanes& column : values) {
    low = low.min(column);
    high = high.max(column);
  }
  PanelGrid grids;
  for (std::size_t i = 0; i < kLanes; ++i)
    grids[i] = fit_affine(lane(low, i), lane(high, i), options.bits, options.symmetric, options.symmetric);
  return grids;
}

}  // namespace

PanelGrid search_range(std::span<const Lanes> values, std::span<const float> weights,
                       const RangeSearch& options) {
  const PanelGrid from_all = widest(values, options);
  if (options.candidates <= 0) return from_all;

  Search search(values, weights, from_all);
  search.consider(1.0F, 0);
  for (int c = 0; c <= options.candidates; ++c) {
    const float step = static_cast<float>(c) / static_cast<float>(options.candidates);
    for (const int shift : {0, -1, 1})
      if ((c != 0 || shift != 0) && (shift == 0 || !options.symmetric))
        search.consider(1.0F - options.max_shrink * step, shift);
  }
  return search.best();
}

}  // namespace qeff::calib
