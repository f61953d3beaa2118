#include "qeff/calib/gptq.hpp"

#include <cmath>
#include <numeric>

#include "calib/column_order.hpp"
#include "calib/damped_hessian.hpp"
#include "calib/range_search.hpp"
#include "calib/refine.hpp"
#include "calib/result.hpp"
#include "calib/validate.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace calib {
namespace {

constexpr std::size_t kBlock = 128;  // columns whose errors reach the later columns together

/// What all panels of one matrix share; read-only while they run.
struct Plan {
  const GptqConfig& config;
  std::size_t k;
  std::size_t group_size;
  RangeSearch range;
  DampedHessian hessian;
  ColumnOrder order;
  std::vector<std::size_t> natural;   ///< 0, 1, .. k-1
  std::vector<float> column_weights;  ///< (k) by column: what its squared error costs

  [[nodiscard]] bool early_scales() const {
    return config.static_groups || order.group_begins.empty() || !hessian.failure.empty();
  }
};

std::vector<double> diagonal(const DampedHessian& h) {
  std::vector<double> out(h.k);
  for (std::size_t i = 0; i < h.k; ++i) out[i] = static_cast<double>(h.values[i * h.k + i]);
  return out;
}

Plan make_plan(MatrixView<const float> w, MatrixView<const float> hessian, const GptqConfig& config,
               Executor& executor) {
  Plan plan{config,
            w.cols,
            config.group_size,
            {config.bits, config.symmetric, config.range_grid},
            normalize_hessian(hessian),
            {},
            std::vector<std::size_t>(w.cols),
            std::vector<float>(w.cols, 1.0F)};
  if (plan.group_size == 0 || plan.group_size > w.cols) plan.group_size = w.cols;
  std::iota(plan.natural.begin(), plan.natural.end(), std::size_t{0});
  if (!plan.hessian.failure.empty()) return plan;

  plan.order =
      column_order(diagonal(plan.hessian), plan.group_size, config.desc_act, config.group_aware);
  damp_and_factor(plan.hessian, plan.order.columns, config.damp_percent, executor);
  if (!plan.hessian.failure.empty()) return plan;
  for (std::size_t p = 0; p < plan.k; ++p) {
    const float u = plan.hessian.factor[p * plan.k + p];
    plan.column_weights[plan.order.columns[p]] = 1.0F / (u * u);
  }
  return plan;
}

/// The grids of all groups from the weights as they came, columns in natural order.
std::vector<PanelGrid> static_grids(std::span<const Lanes> weights, const Plan& plan) {
  std::vector<PanelGrid> grids;
  for (std::size_t c = 0; c < plan.k; c += plan.group_size) {
    const std::size_t n = std::min(plan.group_size, plan.k - c);
    grids.push_back(search_range(weights.subspan(c, n),
                                 std::span(plan.column_weights).subspan(c, n), plan.range));
  }
  return grids;
}

/// GPTQ on one panel. A block ends where a group would begin that does not end in it, so that a
/// group that begins always sees weights that every earlier column has corrected.
class PanelRounder {
 public:
  PanelRounder(const Plan& plan, PanelState& state) : plan_(plan), state_(state) {
    work_.reserve(plan.k);
    for (const std::size_t column : plan.order.columns) work_.push_back(state.weights[column]);
  }

  void run() {
    for (std::size_t begin = 0; begin < plan_.k;) {
      const std::size_t end = block_end(begin);
      round_block(begin, end);
      subtract_products(error_, plan_.hessian.factor.data() + begin * plan_.k + end, plan_.k,
                        std::span(work_).subspan(end));
      begin = end;
    }
  }

 private:
  [[nodiscard]] std::size_t block_end(std::size_t begin) const {
    const std::size_t limit = begin + kBlock;
    if (limit >= plan_.k) return plan_.k;
    if (plan_.early_scales()) return limit;
    const auto& begins = plan_.order.group_begins;
    const std::size_t last = *(std::upper_bound(begins.begin(), begins.end(), limit) - 1);
    return last > begin ? last : limit;
  }

  void round_block(std::size_t begin, std::size_t end) {
    error_.clear();
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t column = plan_.order.columns[p];
      const std::size_t group = column / plan_.group_size;
      if (!plan_.early_scales() && is_group_begin(p)) fit_group(p, group);
      const float* u = plan_.hessian.factor.data() + p * plan_.k;
      const Lanes rounded = round_column(work_[p], state_.grids[group], state_.codes[column]);
      error_.push_back((work_[p] - rounded) / u[p]);
      subtract_products(std::span(error_).last(1), u + p + 1, plan_.k,
                        std::span(work_).subspan(p + 1, end - p - 1));
    }
  }

  [[nodiscard]] bool is_group_begin(std::size_t p) const {
    const auto& begins = plan_.order.group_begins;
    return std::binary_search(begins.begin(), begins.end(), p);
  }

  void fit_group(std::size_t p, std::size_t group) {
    const std::size_t n = std::min(plan_.group_size, plan_.k - group * plan_.group_size);
    std::vector<float> weights(n);
    for (std::size_t j = 0; j < n; ++j)
      weights[j] = plan_.column_weights[plan_.order.columns[p + j]];
    state_.grids[group] = search_range(std::span(work_).subspan(p, n), weights, plan_.range);
  }

  const Plan& plan_;
  PanelState& state_;
  std::vector<Lanes> work_;   // weights in processing order, corrected as rounding goes on
  std::vector<Lanes> error_;  // of the current block, divided by the diagonal of U
};

void round_to_nearest(PanelState& state) {
  for (std::size_t c = 0; c < state.weights.size(); ++c)
    round_column(state.weights[c], state.grids[c / state.group_size], state.codes[c]);
}

struct PanelLoss {
  double error = 0;
  double signal = 0;
};

/// The loss of the result and of an all-zero matrix.
PanelLoss relative_loss(const PanelState& state, const Plan& plan) {
  const Lanes error = panel_loss(state, plan.hessian.values, plan.hessian.added);
  PanelState zero{state.weights, {}, state.grids, state.group_size};
  zero.codes.resize(plan.k);
  for (std::size_t c = 0; c < plan.k; ++c)
    for (std::size_t i = 0; i < kLanes; ++i)
      zero.codes[c][i] = state.grids[c / state.group_size][i].zero_point;
  const Lanes signal = panel_loss(zero, plan.hessian.values, plan.hessian.added);
  return {static_cast<double>(error.sum()), static_cast<double>(signal.sum())};
}

PanelLoss quantize_panel(MatrixView<const float> w, std::size_t panel, const Plan& plan,
                         QuantizedMatrix& out) {
  const std::vector<Lanes> weights = load_panel(w, panel, plan.natural);
  PanelState state{weights, {}, {}, plan.group_size};
  state.codes.resize(plan.k);
  state.grids =
      plan.early_scales() ? static_grids(weights, plan) : std::vector<PanelGrid>(out.groups());
  const bool nearest = !plan.hessian.failure.empty();
  if (nearest) {
    round_to_nearest(state);
  } else {
    PanelRounder(plan, state).run();
    refine_panel(state, plan.hessian.values, plan.config.refine_sweeps);
  }
  store_panel(panel, state.grids, state.codes, out);
  return nearest || !plan.config.measure_loss ? PanelLoss{} : relative_loss(state, plan);
}

}  // namespace
}  // namespace calib

GptqOutcome gptq(MatrixView<const float> w, MatrixView<const float> hessian,
                 const GptqConfig& config, Executor& executor) {
  calib::check_inputs("GPTQ", w, hessian, config.bits);
  require(config.damp_percent >= 0 && config.damp_percent <= 1, "GPTQ: damp_percent is ",
          config.damp_percent, ", expected 0..1 (a share of the mean diagonal)");
  require(config.range_grid >= 0, "GPTQ: range_grid is ", config.range_grid, ", expected >= 0");

  const calib::Plan plan = calib::make_plan(w, hessian, config, executor);
  GptqOutcome outcome;
  outcome.matrix =
      calib::empty_result(w.rows, w.cols, config.bits, config.group_size, config.symmetric);
  std::vector<calib::PanelLoss> losses(calib::panel_count(w.rows));
  executor.run(losses.size(), [&](std::size_t panel) {
    losses[panel] = calib::quantize_panel(w, panel, plan, outcome.matrix);
  });

  calib::PanelLoss total;
  for (const calib::PanelLoss& loss : losses) {
    total.error += loss.error;
    total.signal += loss.signal;
  }
  outcome.loss = total.signal > 0 ? total.error / total.signal : 0;
  outcome.damp_percent = plan.hessian.damp_percent;
  outcome.dead_columns = plan.hessian.dead_columns;
  if (!plan.hessian.failure.empty())
    outcome.fallback = plan.hessian.failure + "; rounded to nearest";
  return outcome;
}

}  // namespace qeff
