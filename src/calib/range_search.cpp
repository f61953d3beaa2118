#include "calib/range_search.hpp"

namespace qeff::calib {
namespace {

constexpr float kRounder = 12582912.0F;  // as round_half_even() does, on 16 lanes

Lanes scales_of(const PanelGrid& grid) {
  Lanes out;
  for (std::size_t i = 0; i < kLanes; ++i) lane(out, i) = grid[i].scale;
  return out;
}

/// Weighted squared error of each row. The search multiplies by 1 / scale where encode() divides;
/// that may pick a neighbour of the best candidate, never a wrong code.
Lanes weighted_error(std::span<const Lanes> values, std::span<const float> weights,
                     const PanelGrid& grid) {
  const Lanes scale = scales_of(grid);
  const Lanes inverse = 1.0F / scale;
  Lanes lowest, highest;
  for (std::size_t i = 0; i < kLanes; ++i) {
    lane(lowest, i) = static_cast<float>(grid[i].qmin - grid[i].zero_point);
    lane(highest, i) = static_cast<float>(grid[i].qmax - grid[i].zero_point);
  }
  Lanes sum = Lanes::Zero();
  for (std::size_t j = 0; j < values.size(); ++j) {
    const Lanes shifted = (values[j] * inverse).max(lowest).min(highest) + kRounder;
    const Lanes error = (shifted - kRounder) * scale - values[j];
    sum += error * error * weights[j];
  }
  return sum;
}

/// Takes over, lane by lane, what is better than the best so far.
void keep_better(const PanelGrid& grid, const Lanes& error, PanelGrid& best, Lanes& best_error) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    if (!(lane(error, i) < lane(best_error, i))) continue;
    lane(best_error, i) = lane(error, i);
    best[i] = grid[i];
  }
}

PanelGrid shifted_zero(PanelGrid grid, int shift) {
  for (AffineGrid& g : grid) g.zero_point = std::clamp(g.zero_point + shift, g.qmin, g.qmax);
  return grid;
}

}  // namespace

PanelGrid search_range(std::span<const Lanes> values, std::span<const float> weights,
                       const RangeSearch& options) {
  Lanes low = Lanes::Zero(), high = Lanes::Zero();
  for (const Lanes& column : values) {
    low = low.min(column);
    high = high.max(column);
  }
  const auto fit = [&](float factor) {
    PanelGrid grid;
    for (std::size_t i = 0; i < kLanes; ++i)
      grid[i] = fit_affine(lane(low, i) * factor, lane(high, i) * factor, options.bits,
                           options.symmetric, options.symmetric);
    return grid;
  };
  PanelGrid best = fit(1.0F);
  if (options.candidates <= 0) return best;

  Lanes best_error = weighted_error(values, weights, best);
  for (int c = 0; c <= options.candidates; ++c) {
    const float step = static_cast<float>(c) / static_cast<float>(options.candidates);
    const PanelGrid grid = fit(1.0F - options.max_shrink * step);
    for (int shift = options.symmetric ? 0 : -1; shift <= (options.symmetric ? 0 : 1); ++shift) {
      const PanelGrid candidate = shifted_zero(grid, shift);
      keep_better(candidate, weighted_error(values, weights, candidate), best, best_error);
    }
  }
  return best;
}

}  // namespace qeff::calib
