#include "qeff/calib/awq.hpp"

#include <cmath>
#include <numeric>

#include "calib/range_search.hpp"
#include "calib/result.hpp"
#include "calib/validate.hpp"

namespace qeff {
namespace calib {
namespace {

constexpr double kSmallest = 1e-8;  // floor of every denominator (N3)

void check_config(const AwqConfig& config) {
  require(config.scale_grid >= 0, "AWQ: scale_grid is ", config.scale_grid, ", expected >= 0");
  require(config.clip_grid >= 0, "AWQ: clip_grid is ", config.clip_grid, ", expected >= 0");
  require(config.max_shrink >= 0 && config.max_shrink < 1, "AWQ: max_shrink is ", config.max_shrink,
          ", expected 0 <= max_shrink < 1");
}

std::size_t clamped_group(const AwqConfig& config, std::size_t k) {
  return config.group_size == 0 ? k : std::min(config.group_size, k);
}

/// What the range search of AWQ looks at: nothing without clip.
RangeSearch range_of(const AwqConfig& config) {
  return {config.bits, !config.zero_point, config.clip ? config.clip_grid : 0,
          static_cast<float>(config.max_shrink)};
}

/// Cost of a squared error of the scaled weights: H_jj / s_j^2; 1 where the Hessian says nothing.
std::vector<float> column_costs(MatrixView<const float> hessian, std::span<const float> scales) {
  std::vector<float> out(scales.size());
  double sum = 0;
  for (std::size_t c = 0; c < out.size(); ++c) {
    const float h = hessian(c, c);
    out[c] = std::isfinite(h) && h > 0 ? h / (scales[c] * scales[c]) : 0.0F;
    sum += static_cast<double>(out[c]);
  }
  const double mean = sum / static_cast<double>(out.size());
  for (float& cost : out)
    cost = mean > 0 && std::isfinite(mean)
               ? std::max(static_cast<float>(static_cast<double>(cost) / mean), 1e-4F)
               : 1.0F;
  return out;
}

/// One panel of w * diag(scales), rounded to nearest in the ranges found.
struct RoundedPanel {
  std::vector<Lanes> weights;  ///< Scaled.
  std::vector<Lanes> rounded;
  std::vector<PanelGrid> grids;
  std::vector<std::array<std::int32_t, kLanes>> codes;
};

RoundedPanel round_panel(MatrixView<const float> w, std::size_t panel,
                         std::span<const float> scales, std::span<const float> costs,
                         std::size_t group_size, const RangeSearch& range) {
  std::vector<std::size_t> columns(w.cols);
  std::iota(columns.begin(), columns.end(), std::size_t{0});
  RoundedPanel out;
  out.weights = load_panel(w, panel, columns);
  for (std::size_t c = 0; c < w.cols; ++c) out.weights[c] *= scales[c];
  out.rounded.resize(w.cols);
  out.codes.resize(w.cols);
  for (std::size_t c = 0; c < w.cols; ++c) {
    if (c % group_size == 0) {
      const std::size_t n = std::min(group_size, w.cols - c);
      out.grids.push_back(
          search_range(std::span(out.weights).subspan(c, n), costs.subspan(c, n), range));
    }
    out.rounded[c] = round_column(out.weights[c], out.grids.back(), out.codes[c]);
  }
  return out;
}

/// sum over the rows of a panel of e H e^T; blocks of H above the diagonal count twice.
double quadratic_form(std::span<const Lanes> error, std::span<const float> hessian) {
  constexpr std::size_t kBlock = 64;
  const std::size_t k = error.size();
  std::vector<Lanes> above(k, Lanes::Zero()), diagonal(k, Lanes::Zero());  // -(e H)
  for (std::size_t begin = 0; begin < k; begin += kBlock) {
    const std::size_t n = std::min(kBlock, k - begin), end = begin + n;
    const auto block = error.subspan(begin, n);
    subtract_products(block, hessian.data() + begin * k + begin, k,
                      std::span(diagonal).subspan(begin, n));
    subtract_products(block, hessian.data() + begin * k + end, k, std::span(above).subspan(end));
  }
  Lanes sum = Lanes::Zero();
  for (std::size_t c = 0; c < k; ++c) sum -= error[c] * (diagonal[c] + 2.0F * above[c]);
  return static_cast<double>(sum.max(0.0F).sum());
}

/// The search for the exponent of the scales of one group of linears.
class ScaleSearch {
 public:
  ScaleSearch(std::span<const MatrixView<const float>> weights, MatrixView<const float> hessian,
              std::span<const float> mean_abs, const AwqConfig& config, Executor& executor)
      : weights_(weights),
        view_(hessian),
        config_(config),
        executor_(executor),
        k_(hessian.rows),
        group_size_(clamped_group(config, k_)) {
    find_channels(mean_abs);
    copy_hessian();
  }

  /// Whether there is anything the search could learn from.
  [[nodiscard]] bool usable() const { return dead_ < k_ && finite_; }
  [[nodiscard]] std::size_t dead_channels() const { return dead_; }

  /// s = x^a or x^a / w^(1-a), geometric mean 1 over the live channels, 1 at the dead ones.
  [[nodiscard]] std::vector<float> scales_at(double a) const {
    std::vector<double> logs(k_, 0.0);
    double sum = 0;
    for (std::size_t c = 0; c < k_; ++c) {
      if (!live_[c]) continue;
      logs[c] = a * std::log(x_[c]) - (config_.duo_scaling ? (1 - a) * std::log(w_[c]) : 0.0);
      sum += logs[c];
    }
    const double mean = sum / static_cast<double>(k_ - dead_);
    std::vector<float> out(k_, 1.0F);
    for (std::size_t c = 0; c < k_; ++c)
      if (live_[c]) out[c] = static_cast<float>(std::exp(std::clamp(logs[c] - mean, -9.0, 9.0)));
    return out;
  }

  /// tr(D H D^T), D = round(W diag(s)) diag(1/s) - W, over all matrices.
  [[nodiscard]] double loss_at(std::span<const float> scales) const {
    const std::vector<float> costs = column_costs(view_, scales);
    return sum_over_panels([&](MatrixView<const float> w, std::size_t panel) {
      RoundedPanel p = round_panel(w, panel, scales, costs, group_size_, range_of(config_));
      for (std::size_t c = 0; c < k_; ++c) p.rounded[c] = (p.rounded[c] - p.weights[c]) / scales[c];
      return quadratic_form(p.rounded, hessian_);
    });
  }

  /// tr(W H W^T) over all matrices.
  [[nodiscard]] double signal() const {
    std::vector<std::size_t> columns(k_);
    std::iota(columns.begin(), columns.end(), std::size_t{0});
    return sum_over_panels([&](MatrixView<const float> w, std::size_t panel) {
      return quadratic_form(load_panel(w, panel, columns), hessian_);
    });
  }

 private:
  /// Mean |x| and the mean over rows of |w| / (largest |w| of its group); dead where either is 0.
  void find_channels(std::span<const float> mean_abs) {
    x_.assign(k_, 0.0);
    w_.assign(k_, 0.0);
    std::size_t rows = 0;
    for (const auto& w : weights_) {
      rows += w.rows;
      for (std::size_t r = 0; r < w.rows; ++r) add_row_magnitudes(w, r);
    }
    live_.resize(k_);
    for (std::size_t c = 0; c < k_; ++c) {
      x_[c] = static_cast<double>(mean_abs[c]);
      w_[c] /= static_cast<double>(rows);
      live_[c] = std::isfinite(x_[c]) && x_[c] > 0 && w_[c] > 0;
      x_[c] = std::max(x_[c], kSmallest);
      w_[c] = std::max(w_[c], kSmallest);
      if (!live_[c]) ++dead_;
    }
  }

  void add_row_magnitudes(MatrixView<const float> w, std::size_t r) {
    for (std::size_t begin = 0; begin < k_; begin += group_size_) {
      const std::size_t end = std::min(k_, begin + group_size_);
      double largest = kSmallest;
      for (std::size_t c = begin; c < end; ++c)
        largest = std::max(largest, std::fabs(static_cast<double>(w(r, c))));
      for (std::size_t c = begin; c < end; ++c)
        w_[c] += std::fabs(static_cast<double>(w(r, c))) / largest;
    }
  }

  void copy_hessian() {
    hessian_.resize(k_ * k_);
    for (std::size_t i = 0; i < k_; ++i)
      for (std::size_t j = 0; j < k_; ++j) {
        hessian_[i * k_ + j] = view_(i, j);
        finite_ = finite_ && std::isfinite(view_(i, j));
      }
  }

  /// The sum of f(matrix, panel), in the order of the panels.
  template <class F>
  double sum_over_panels(const F& f) const {
    std::vector<std::pair<std::size_t, std::size_t>> jobs;
    for (std::size_t m = 0; m < weights_.size(); ++m)
      for (std::size_t p = 0; p < panel_count(weights_[m].rows); ++p) jobs.emplace_back(m, p);
    std::vector<double> parts(jobs.size());
    executor_.run(jobs.size(),
                  [&](std::size_t i) { parts[i] = f(weights_[jobs[i].first], jobs[i].second); });
    return std::accumulate(parts.begin(), parts.end(), 0.0);
  }

  std::span<const MatrixView<const float>> weights_;
  MatrixView<const float> view_;
  const AwqConfig& config_;
  Executor& executor_;
  std::size_t k_;
  std::size_t group_size_;
  std::vector<double> x_, w_;
  std::vector<bool> live_;
  std::vector<float> hessian_;  // contiguous copy
  std::size_t dead_ = 0;
  bool finite_ = true;
};

}  // namespace
}  // namespace calib

AwqScales awq_scales(std::span<const MatrixView<const float>> weights,
                     MatrixView<const float> hessian, std::span<const float> mean_abs,
                     const AwqConfig& config, Executor& executor) {
  require(!weights.empty(), "AWQ: no weights");
  for (const auto& w : weights) calib::check_inputs("AWQ", w, hessian, config.bits);
  require(mean_abs.size() == hessian.rows, "AWQ: mean_abs has ", mean_abs.size(),
          " elements, expected ", hessian.rows);
  calib::check_config(config);

  const calib::ScaleSearch search(weights, hessian, mean_abs, config, executor);
  AwqScales best;
  best.scales.assign(hessian.rows, 1.0F);
  best.dead_channels = search.dead_channels();
  const double signal = search.usable() ? search.signal() : 0;
  if (!(signal > 0) || !std::isfinite(signal)) return best;

  best.loss = best.loss_unscaled = search.loss_at(best.scales) / signal;
  int winner = -1;
  const auto consider = [&](int i) {
    if (i < 0 || i >= config.scale_grid) return;
    const double ratio = static_cast<double>(i) / config.scale_grid;
    std::vector<float> scales = search.scales_at(ratio);
    const double loss = search.loss_at(scales) / signal;
    if (!(loss < best.loss)) return;
    winner = i;
    best.loss = loss;
    best.ratio = ratio;
    best.scales = std::move(scales);
  };
  for (int i = 0; i < config.scale_grid; i += 2) consider(i);
  if (const int middle = winner; middle >= 0)
    for (const int side : {-1, 1}) consider(middle + side);
  return best;
}

QuantizedMatrix awq_quantize(MatrixView<const float> w, std::span<const float> scales,
                             MatrixView<const float> hessian, const AwqConfig& config,
                             Executor& executor) {
  calib::check_inputs("AWQ", w, hessian, config.bits);
  calib::check_config(config);
  require(scales.size() == w.cols, "AWQ: ", scales.size(), " scales, expected ", w.cols);
  for (std::size_t c = 0; c < scales.size(); ++c)
    require(std::isfinite(scales[c]) && scales[c] > 0, "AWQ: scale ", c, " is ", scales[c],
            ", expected a finite number > 0");

  const std::vector<float> costs = calib::column_costs(hessian, scales);
  QuantizedMatrix out =
      calib::empty_result(w.rows, w.cols, config.bits, config.group_size, !config.zero_point);
  executor.run(calib::panel_count(w.rows), [&](std::size_t panel) {
    const calib::RoundedPanel p =
        calib::round_panel(w, panel, scales, costs, out.group_size, calib::range_of(config));
    calib::store_panel(panel, p.grids, p.codes, out);
  });
  return out;
}

}  // namespace qeff
