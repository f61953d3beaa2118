#include "calib/refine.hpp"

namespace qeff::calib {
namespace {

constexpr std::size_t kBlock = 64;  // columns whose changes reach the other columns together

Lanes value_of(const PanelState& state, std::size_t column) {
  const PanelGrid& grid = state.grids[column / state.group_size];
  Lanes out;
  for (std::size_t i = 0; i < kLanes; ++i) lane(out, i) = decode(state.codes[column][i], grid[i]);
  return out;
}

/// -(e H): half the gradient of the loss in the quantized values.
std::vector<Lanes> negative_gradient(std::span<const Lanes> error, std::span<const float> hessian) {
  std::vector<Lanes> out(error.size(), Lanes::Zero());
  subtract_products(error, hessian.data(), error.size(), out);
  return out;
}

std::vector<Lanes> errors_of(const PanelState& state) {
  std::vector<Lanes> out(state.weights.size());
  for (std::size_t c = 0; c < out.size(); ++c) out[c] = state.weights[c] - value_of(state, c);
  return out;
}

/// Steps in the code (q - z) units of a group's columns.
std::vector<Lanes> steps_of(const PanelState& state, std::size_t begin, std::size_t end) {
  std::vector<Lanes> out(end - begin);
  for (std::size_t c = begin; c < end; ++c)
    for (std::size_t i = 0; i < kLanes; ++i)
      lane(out[c - begin], i) = static_cast<float>(
          state.codes[c][i] - state.grids[begin / state.group_size][i].zero_point);
  return out;
}

/// The minimum of the loss over the scales of one group; `gradient` = -(e H) follows.
void refit_scales(PanelState& state, std::span<const float> hessian, std::size_t begin,
                  std::span<Lanes> gradient) {
  const std::size_t k = gradient.size();
  const std::size_t end = std::min(k, begin + state.group_size);
  const std::vector<Lanes> steps = steps_of(state, begin, end);
  std::vector<Lanes> product(end - begin, Lanes::Zero());  // -(c H) within the group
  subtract_products(steps, hessian.data() + begin * k + begin, k, product);
  Lanes slope = Lanes::Zero(), curvature = Lanes::Zero();
  for (std::size_t j = 0; j < steps.size(); ++j) {
    slope -= steps[j] * gradient[begin + j];
    curvature -= steps[j] * product[j];
  }
  Lanes change = Lanes::Zero();
  PanelGrid& grid = state.grids[begin / state.group_size];
  for (std::size_t i = 0; i < kLanes; ++i) {
    const float best = grid[i].scale + lane(slope, i) / lane(curvature, i);
    if (!(lane(curvature, i) > 0) || !(best > grid[i].scale / 2) || !(best < grid[i].scale * 2))
      continue;
    lane(change, i) = best - grid[i].scale;
    grid[i].scale = best;
  }
  std::vector<Lanes> moved(steps.size());
  for (std::size_t j = 0; j < steps.size(); ++j) moved[j] = -(steps[j] * change);
  subtract_products(moved, hessian.data() + begin * k, k, gradient);
}

/// Each code of columns [begin, end) to its best value given the others.
void descend_codes(PanelState& state, std::span<const float> hessian, std::size_t begin,
                   std::span<Lanes> gradient) {
  const std::size_t k = gradient.size();
  const std::size_t end = std::min(k, begin + kBlock);
  std::vector<Lanes> moved(end - begin);
  for (std::size_t c = begin; c < end; ++c) {
    const Lanes before = value_of(state, c);
    const Lanes target = before - gradient[c] / hessian[c * k + c];
    const Lanes after = round_column(target, state.grids[c / state.group_size], state.codes[c]);
    moved[c - begin] = before - after;
    subtract_products(std::span(moved).subspan(c - begin, 1), hessian.data() + c * k + begin, k,
                      gradient.subspan(begin, end - begin));
  }
  subtract_products(moved, hessian.data() + begin * k, k, gradient.first(begin));
  subtract_products(moved, hessian.data() + begin * k + end, k, gradient.subspan(end));
}

}  // namespace

Lanes panel_loss(const PanelState& state, std::span<const float> hessian,
                 std::span<const float> added) {
  const std::vector<Lanes> error = errors_of(state);
  const std::vector<Lanes> gradient = negative_gradient(error, hessian);
  Lanes sum = Lanes::Zero();
  for (std::size_t c = 0; c < error.size(); ++c)
    sum -= error[c] * (gradient[c] + added[c] * error[c]);
  return sum.max(0.0F);
}

void refine_panel(PanelState& state, std::span<const float> hessian, int sweeps) {
  const std::size_t k = state.weights.size();
  if (sweeps <= 0) return;
  std::vector<Lanes> gradient = negative_gradient(errors_of(state), hessian);  // and follows every change
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (std::size_t c = 0; c < k; c += state.group_size) refit_scales(state, hessian, c, gradient);
    for (std::size_t c = 0; c < k; c += kBlock) descend_codes(state, hessian, c, gradient);
  }
}

}  // namespace qeff::calib
