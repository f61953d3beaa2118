#include "calib/learned_rounding.hpp"

#include <algorithm>
#include <cmath>

#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/pack.hpp"
#include "qeff/quant/affine_grid.hpp"
#include "qeff/quant/dequantize.hpp"

namespace qeff::calib {
namespace {

using kernels::kPanel;

constexpr float kInsideCell = 0.49F;  // of a step: how far from its code a weight may start
constexpr float kLeastRange = 0.5F, kMostRange = 1.5F;

float sign(float x) { return x > 0 ? 1.0F : x < 0 ? -1.0F : 0.0F; }

}  // namespace

void move_to_minima(MatrixView<float> w, const QuantizedMatrix& start, MatrixView<const float> hessian,
                    Executor& executor) {
  const std::size_t n = w.rows, k = w.cols;
  std::vector<float> values(n * k), error(n * k), slope(n * k);
  dequantize(start, MatrixView<float>{values.data(), n, k});
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < k; ++c) error[r * k + c] = w(r, c) - values[r * k + c];
  const kernels::PackedMatrix packed = pack_float(hessian);
  matmul(MatrixView<const float>{error.data(), n, k}, packed.view, MatrixView<float>{slope.data(), n, k}, {}, executor);
  for (std::size_t c = 0; c < k; ++c) {
    if (!(hessian(c, c) > 0)) continue;
    for (std::size_t r = 0; r < n; ++r) {
      const float best = values[r * k + c] + slope[r * k + c] / hessian(c, c);
      if (std::isfinite(best)) w(r, c) = best;
    }
  }
}

/// The grids of 16 rows of a group.
struct LearnedRounding::Grid {
  float scale[kPanel], inverse[kPanel];
  float lowest[kPanel], highest[kPanel];  ///< Codes minus zero point.
};

LearnedRounding::LearnedRounding(MatrixView<const float> w, const QuantizedMatrix& start, Executor& executor)
    : start_(start),
      groups_(start.groups()),
      steps_(static_cast<float>(start.is_signed ? (1 << (start.bits - 1)) - 1 : (1 << start.bits) - 1)),
      weights_(start.rows, start.cols) {
  const std::size_t panels = weights_.view().panels();
  w_.resize(panels * start.cols * kPanel);
  low_high_.resize(panels * groups_);
  now_.v.resize(w_.size());
  Group ones;
  std::fill_n(ones.a, kPanel, 1.0F);
  std::fill_n(ones.b, kPanel, 1.0F);
  now_.groups.assign(low_high_.size(), ones);
  executor.run(panels, [&](std::size_t p) {
    start_panel(w, p);
    write_panel(p);
  });
  keep();
}

void LearnedRounding::start_panel(MatrixView<const float> w, std::size_t panel) {
  const std::size_t rows = std::min(kPanel, start_.rows - panel * kPanel);
  for (std::size_t g = 0; g < groups_; ++g) {
    Group& range = low_high_[panel * groups_ + g];
    for (std::size_t i = 0; i < kPanel; ++i) {
      const std::size_t at = (panel * kPanel + i) * groups_ + g;
      const float scale = i < rows ? start_.scales[at] : 1.0F;
      const auto zero = static_cast<float>(i < rows && !start_.zero_points.empty() ? start_.zero_points[at] : 0);
      range.a[i] = start_.is_signed ? -steps_ * scale : -zero * scale;
      range.b[i] = (steps_ - zero) * scale;
    }
  }
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t c = 0; c < start_.cols; ++c) {
      const std::size_t row = panel * kPanel + i, at = start_.group_index(row, c);
      const auto zero = static_cast<float>(start_.zero_points.empty() ? 0 : start_.zero_points[at]);
      const float code = static_cast<float>(start_.code(row, c)) - zero;
      const float scale = start_.scales[at];
      // A weight outside the range stays where it is: a wider range may reach it.
      const bool lowest = code <= (start_.is_signed ? -steps_ : -zero), highest = code >= steps_ - zero;
      float place = w(row, c) / scale;
      if (!lowest) place = std::max(place, code - kInsideCell);
      if (!highest) place = std::min(place, code + kInsideCell);
      w_[(panel * start_.cols + c) * kPanel + i] = place * scale;
    }
}

LearnedRounding::Grid LearnedRounding::grid(const Group& group, std::size_t index) const {
  const Group& range = low_high_[index];
  Grid out;
  for (std::size_t i = 0; i < kPanel; ++i) {
    const float low = group.a[i] * range.a[i], high = group.b[i] * range.b[i];
    out.scale[i] = start_.is_signed ? high / steps_ : (high - low) / steps_;
    out.inverse[i] = 1.0F / out.scale[i];
    const float zero = std::clamp(round_half_even(-low * out.inverse[i]), 0.0F, steps_);
    out.lowest[i] = start_.is_signed ? -steps_ : -zero;
    out.highest[i] = start_.is_signed ? steps_ : steps_ - zero;
  }
  return out;
}

void LearnedRounding::write_panel(std::size_t panel) {
  float* out = weights_.panel(panel);
  const float* w = w_.data() + panel * start_.cols * kPanel;
  const float* v = now_.v.data() + panel * start_.cols * kPanel;
  for (std::size_t c = 0; c < start_.cols;) {
    const std::size_t index = panel * groups_ + c / start_.group_size;
    const Grid g = grid(now_.groups[index], index);
    for (const std::size_t end = std::min(start_.cols, c + start_.group_size); c < end;
         ++c, w += kPanel, v += kPanel, out += kPanel)
      for (std::size_t i = 0; i < kPanel; ++i) {
        const float place = w[i] * g.inverse[i] + v[i];
        out[i] = round_half_even(std::min(std::max(place, g.lowest[i]), g.highest[i])) * g.scale[i];
      }
  }
}

void LearnedRounding::step(const RoundingStep& how, Executor& executor) {
  executor.run(weights_.view().panels(), [&](std::size_t p) {
    step_panel(how, p);
    write_panel(p);
  });
  weights_.changed();
}

void LearnedRounding::step_panel(const RoundingStep& how, std::size_t panel) {
  const std::size_t n = start_.rows, rows = std::min(kPanel, n - panel * kPanel);
  const float* w = w_.data() + panel * start_.cols * kPanel;
  float* v = now_.v.data() + panel * start_.cols * kPanel;
  float* gradient = weights_.gradient() + panel * kPanel;
  for (std::size_t c = 0; c < start_.cols;) {
    const std::size_t index = panel * groups_ + c / start_.group_size;
    Group& group = now_.groups[index];
    const Grid g = grid(group, index);
    float by_scale[kPanel] = {}, by_zero[kPanel] = {};
    for (const std::size_t end = std::min(start_.cols, c + start_.group_size); c < end;
         ++c, w += kPanel, v += kPanel, gradient += n)
      for (std::size_t i = 0; i < rows; ++i) {
        const float free = w[i] * g.inverse[i];
        const float code = round_half_even(std::min(std::max(free + v[i], g.lowest[i]), g.highest[i]));
        const bool inside = std::fabs(free + v[i] - code) <= 0.5F;
        by_scale[i] += gradient[i] * (code - (inside ? free : 0.0F));
        by_zero[i] -= inside ? 0.0F : gradient[i] * g.scale[i];
        const float moved = v[i] - (inside ? how.rounding * sign(gradient[i]) : 0.0F);
        v[i] = std::min(std::max(moved, -0.5F), 0.5F);
        gradient[i] *= how.momentum;
      }
    const Group& range = low_high_[index];
    for (std::size_t i = 0; i < rows; ++i) {
      const float low = start_.is_signed ? 0.0F : range.a[i], high = range.b[i];
      const float zero_by_scale = group.a[i] * low * g.inverse[i] * g.inverse[i];
      const float total = by_scale[i] + by_zero[i] * zero_by_scale;
      const float by_a = -low * (total / steps_ + by_zero[i] * g.inverse[i]), by_b = high / steps_ * total;
      group.a[i] = std::clamp(group.a[i] - how.range * sign(by_a), kLeastRange, kMostRange);
      group.b[i] = std::clamp(group.b[i] - how.range * sign(by_b), kLeastRange, kMostRange);
    }
  }
}

QuantizedMatrix LearnedRounding::result() const {
  QuantizedMatrix out = start_;
  for (std::size_t row = 0; row < out.rows; ++row) {
    const std::size_t panel = row / kPanel, i = row % kPanel;
    for (std::size_t g = 0; g < groups_; ++g) {
      const std::size_t index = panel * groups_ + g;
      const Grid at = grid(kept_.groups[index], index);
      out.scales[row * groups_ + g] = at.scale[i];
      if (!out.zero_points.empty()) out.zero_points[row * groups_ + g] = static_cast<std::int32_t>(-at.lowest[i]);
      const auto zero = out.zero_points.empty() ? 0 : out.zero_points[row * groups_ + g];
      for (std::size_t c = g * out.group_size; c < std::min(out.cols, (g + 1) * out.group_size); ++c) {
        const std::size_t element = (panel * out.cols + c) * kPanel + i;
        const float place = w_[element] * at.inverse[i] + kept_.v[element];
        const float steps = round_half_even(std::clamp(place, at.lowest[i], at.highest[i]));
        out.codes[row * out.cols + c] = static_cast<std::uint8_t>(static_cast<std::int32_t>(steps) + zero);
      }
    }
  }
  return out;
}

}  // namespace qeff::calib
