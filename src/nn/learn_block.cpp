#include "nn/learn_block.hpp"

#include <algorithm>
#include <array>

#include "calib/learned_rounding.hpp"
#include "nn/block_gradient.hpp"

namespace qeff::nn {
namespace {

/// Twice the share of a step that an offset can move in all. GPTQ's rounding is good already: what lies
/// far from the border of its cell is to stay.
constexpr double kReach = 0.4;
constexpr int kChecks = 4;                  // measurements of the loss, evenly spread over the steps
constexpr std::size_t kCheckSequences = 8;  // that they are taken on

std::vector<float> stacked(std::span<const NamedWeight> weights) {
  std::vector<float> all;
  for (const NamedWeight& w : weights) all.insert(all.end(), w.values.begin(), w.values.end());
  return all;
}

/// `count` of `all` sequences, evenly spread, another choice each step.
std::vector<std::size_t> choose(std::size_t all, std::size_t count, std::size_t step) {
  count = std::min(all, count);
  std::vector<std::size_t> chosen(count);
  for (std::size_t i = 0; i < count; ++i) chosen[i] = (i * all / count + step) % all;
  return chosen;
}

/// What the config leaves open, and how far step `i` goes.
calib::RoundingStep rates(const AutoRoundConfig& c, int i) {
  const double lr = c.lr > 0 ? c.lr : kReach / c.iters, range = c.minmax_lr > 0 ? c.minmax_lr : lr / 10;
  const double left = 1.0 - static_cast<double>(i) / c.iters;
  return {static_cast<float>(lr * left), static_cast<float>(range * left), static_cast<float>(c.momentum)};
}

}  // namespace

/// One block while it learns.
class BlockLearner::Training {
 public:
  Training(BlockLearner& learner, const BlockOf<LinearParts>& block, const BlockOf<InputStatistics>& inputs,
           const BlockOf<const QuantizedMatrix*>& start)
      : learner_(learner),
        qkv_(rounding(block.qkv, inputs.qkv, *start.qkv)),
        attn_out_(rounding(block.attn_out, inputs.attn_out, *start.attn_out)),
        up_(rounding(block.up, inputs.up, *start.up)),
        down_(rounding(block.down, inputs.down, *start.down)),
        gradient_(learner.model_, learner.floats_.ropes(),
                  {one(qkv_, block.qkv), one(attn_out_, block.attn_out), one(up_, block.up), one(down_, block.down)},
                  {&learner.executor_, learner.executor_.threads()}) {}

  /// Mean squared error on the sequences; leaves the gradient of the output in error_.
  double forward(const std::vector<std::size_t>& sequences);
  void step(const calib::RoundingStep& how) {
    gradient_.backward(runs_, error_.data(), rows_);
    for (calib::LearnedRounding* linear : all()) linear->step(how, learner_.executor_);
  }
  void keep() {
    for (calib::LearnedRounding* linear : all()) linear->keep();
  }
  [[nodiscard]] BlockOf<QuantizedMatrix> result() const {
    return {qkv_.result(), attn_out_.result(), up_.result(), down_.result()};
  }

 private:
  calib::LearnedRounding rounding(const LinearParts& parts, const InputStatistics& inputs, const QuantizedMatrix& start) {
    const auto targets = corrected(parts.weights, inputs, learner_.config_, learner_.executor_);
    std::vector<float> values = stacked(targets.empty() ? parts.weights : targets);
    const MatrixView<float> w{values.data(), start.rows, start.cols};
    calib::move_to_minima(w, start, inputs.view(), learner_.executor_);
    return {w, start, learner_.executor_};
  }
  static BlockWeights::One one(calib::LearnedRounding& linear, const LinearParts& parts) {
    return {&linear.weights(), parts.bias.empty() ? nullptr : parts.bias.data()};
  }
  [[nodiscard]] std::array<calib::LearnedRounding*, 4> all() { return {&qkv_, &attn_out_, &up_, &down_}; }

  BlockLearner& learner_;
  calib::LearnedRounding qkv_, attn_out_, up_, down_;
  BlockGradient gradient_;
  std::vector<TokenRun> runs_;
  std::size_t rows_ = 0;
  std::vector<float> x_, error_;
};

double BlockLearner::Training::forward(const std::vector<std::size_t>& sequences) {
  const std::size_t hidden = learner_.model_.shape.hidden;
  runs_.clear();
  x_.clear();
  error_.clear();
  rows_ = 0;
  for (const std::size_t s : sequences) {
    const std::size_t begin = learner_.offsets_[s], count = learner_.offsets_[s + 1] - begin;
    runs_.push_back({runs_.size(), 0, rows_, count});
    rows_ += count;
    const auto take = [&](std::span<const float> from, std::vector<float>& to) {
      const auto part = from.subspan(begin * hidden, count * hidden);
      to.insert(to.end(), part.begin(), part.end());
    };
    take(learner_.inputs_, x_);
    take(learner_.floats_.states(), error_);  // the target
  }
  const float* out = gradient_.forward(runs_, x_.data(), rows_);
  double sum = 0;
  for (std::size_t i = 0; i < error_.size(); ++i) {
    error_[i] = out[i] - error_[i];
    sum += static_cast<double>(error_[i]) * static_cast<double>(error_[i]);
  }
  return sum / static_cast<double>(error_.size());
}

BlockLearner::BlockLearner(const DecoderModel& model, const DecoderCalibration& floats, const TokenBatch& batch,
                           const QuantizationConfig& config, Executor& executor)
    : model_(model), floats_(floats), config_(config), executor_(executor), offsets_(batch.offsets) {}

void BlockLearner::begin(std::span<const float> quantized_states) {
  inputs_.assign(quantized_states.begin(), quantized_states.end());
}

LearnedBlock BlockLearner::learn(const BlockOf<LinearParts>& block, const BlockOf<InputStatistics>& inputs,
                                 const BlockOf<const QuantizedMatrix*>& start, const OnStep& on_step) {
  Training training(*this, block, inputs, start);
  const AutoRoundConfig& config = config_.autoround;
  const std::size_t sequences = offsets_.size() - 1;
  const auto measured = choose(sequences, kCheckSequences, 0);
  LearnedBlock best;
  best.loss = best.loss_before = training.forward(measured);
  for (int i = 0; i < config.iters; ++i) {
    on_step(i, config.iters);
    (void)training.forward(choose(sequences, static_cast<std::size_t>(config.batch_size), static_cast<std::size_t>(i)));
    training.step(rates(config, i));
    if ((i + 1) * kChecks / config.iters == i * kChecks / config.iters) continue;
    const double loss = training.forward(measured);
    if (!(loss < best.loss)) continue;
    best.loss = loss;
    best.best_step = i + 1;
    training.keep();
  }
  best.matrices = training.result();
  return best;
}

}  // namespace qeff::nn
