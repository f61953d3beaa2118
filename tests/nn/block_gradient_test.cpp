#include "nn/block_gradient.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <random>
#include <string>
#include <vector>

namespace qeff::nn {
namespace {

/// config.json of a small model of each kind of block.
std::string config_of(const std::string& family) {
  const std::string sizes = R"("vocab_size": 64, "max_position_embeddings": 32, "num_hidden_layers": 2,
      "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 3)";
  if (family == "llama") return R"({"model_type": "llama", )" + sizes + "}";
  if (family == "qwen3") return R"({"model_type": "qwen3", "head_dim": 16, )" + sizes + "}";
  if (family == "gemma2")
    return R"({"model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5,
      "attn_logit_softcapping": 2.0, "final_logit_softcapping": 30.0, "hidden_activation": "gelu_pytorch_tanh",
      "layer_types": ["full_attention", "sliding_attention"], )" + sizes + "}";
  if (family == "gpt2")
    return R"({"model_type": "gpt2", "vocab_size": 64, "n_positions": 32, "n_layer": 2, "n_embd": 48, "n_head": 6,
      "n_inner": 80})";
  return R"({"model_type": "gpt_neox", "vocab_size": 64, "max_position_embeddings": 32, "num_hidden_layers": 2,
      "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "rotary_pct": 0.5,
      "use_parallel_residual": true})";
}

/// The second block of a random model, and two sequences of inputs.
class RandomBlock {
 public:
  RandomBlock(const std::string& family, Executor& executor)
      : executor_(executor), qkv(1, 1), attn_out(1, 1), up(1, 1), down(1, 1) {
    model_.shape = decoder_shape(config_of(family), family);
    const DecoderShape& s = model_.shape;
    const auto& a = s.architecture();
    model_.layers.resize(2);
    DecoderLayer& layer = model_.layers[1];
    const bool layer_norm = a.norm == NormKind::layer;
    layer.attn_norm = norm(s.hidden, layer_norm);
    layer.ffn_norm = norm(s.hidden, layer_norm);
    if (!a.post_attn_norm.empty()) layer.post_attn_norm = norm(s.hidden, false);
    if (!a.post_ffn_norm.empty()) layer.post_ffn_norm = norm(s.hidden, false);
    if (!a.q_norm.empty()) layer.q_norm = norm(s.head_dim, false);
    if (!a.k_norm.empty()) layer.k_norm = norm(s.head_dim, false);
    qkv = matrix(s.qkv_size(), s.hidden);
    attn_out = matrix(s.hidden, s.q_size());
    up = matrix(s.intermediate * (s.gated() ? 2 : 1), s.hidden);
    down = matrix(s.hidden, s.intermediate);
    ropes_ = RopeTables(s, 32);
    x_ = normal(kRows * s.hidden, 1.0f);
    cotangent_ = normal(kRows * s.hidden, 1.0f);
    weights_ = {{&qkv, keep(normal(qkv.rows(), 0.1f))},
                {&attn_out, nullptr},
                {&up, keep(normal(up.rows(), 0.1f))},
                {&down, nullptr}};
  }

  [[nodiscard]] BlockGradient gradient() { return {model_, ropes_, weights_, {&executor_, executor_.threads()}}; }
  /// sum of cotangent * output.
  double loss(BlockGradient& block) {
    const float* out = block.forward(kRuns, x_.data(), kRows);
    double sum = 0;
    for (std::size_t i = 0; i < cotangent_.size(); ++i)
      sum += static_cast<double>(out[i]) * static_cast<double>(cotangent_[i]);
    return sum;
  }
  void backward(BlockGradient& block) {
    std::vector<float> d = cotangent_;
    block.backward(kRuns, d.data(), kRows);
  }
  std::vector<float> normal(std::size_t n, float size) {
    std::normal_distribution<float> distribution;
    std::vector<float> values(n);
    for (float& v : values) v = size * distribution(rng_);
    return values;
  }

 private:
  static constexpr std::size_t kRows = 20;
  inline static const std::vector<TokenRun> kRuns{{0, 0, 0, 13}, {1, 0, 13, 7}};

  const float* keep(std::vector<float> values) { return kept_.emplace_back(std::move(values)).data(); }
  Norm norm(std::size_t n, bool layer_norm) {
    std::vector<float> gamma = normal(n, 0.3f);
    for (float& g : gamma) g += 1.0f;
    return {keep(std::move(gamma)), layer_norm ? keep(normal(n, 0.1f)) : nullptr};
  }
  calib::FloatMatrix matrix(std::size_t n, std::size_t k) {
    calib::FloatMatrix m(n, k);
    const std::vector<float> values = normal(n * k, 1.5f / std::sqrt(static_cast<float>(k)));
    m.set({values.data(), n, k});
    return m;
  }

  std::mt19937 rng_{7};
  std::deque<std::vector<float>> kept_;
  DecoderModel model_;
  RopeTables ropes_;
  std::vector<float> x_, cotangent_;
  BlockWeights weights_;
  Executor& executor_;

 public:
  calib::FloatMatrix qkv, attn_out, up, down;
};

/// w += amount * direction, (k, n) as the gradient.
void move(calib::FloatMatrix& w, const std::vector<float>& direction, float amount) {
  for (std::size_t c = 0; c < w.cols(); ++c)
    for (std::size_t r = 0; r < w.rows(); ++r) w.panel(r / 16)[c * 16 + r % 16] += amount * direction[c * w.rows() + r];
  w.changed();
}

class BlockGradientTest : public ::testing::TestWithParam<const char*> {};

TEST_P(BlockGradientTest, EqualsTheSlopeOfTheLossAlongRandomDirections) {
  Executor executor(2);
  RandomBlock block(GetParam(), executor);
  BlockGradient gradient = block.gradient();
  (void)block.loss(gradient);
  block.backward(gradient);
  constexpr float kStep = 0.004f;
  for (calib::FloatMatrix* w : {&block.qkv, &block.attn_out, &block.up, &block.down}) {
    const std::size_t size = w->rows() * w->cols();
    const std::vector<float> random = block.normal(size, 0.3f);
    std::vector<float> direction(size);
    double norm = 0;
    for (std::size_t i = 0; i < size; ++i) norm += static_cast<double>(w->gradient()[i]) * static_cast<double>(w->gradient()[i]);
    ASSERT_GT(norm, 0);
    const auto inverse = static_cast<float>(std::sqrt(static_cast<double>(size)) / std::sqrt(norm));
    double slope = 0;
    for (std::size_t i = 0; i < size; ++i) {
      direction[i] = (w->gradient()[i] * inverse + random[i]) * 0.1f;
      slope += static_cast<double>(direction[i]) * static_cast<double>(w->gradient()[i]);
    }
    move(*w, direction, kStep);
    const double above = block.loss(gradient);
    move(*w, direction, -2 * kStep);
    const double below = block.loss(gradient);
    move(*w, direction, kStep);
    const double measured = (above - below) / (2 * static_cast<double>(kStep));
    EXPECT_NEAR(measured / slope, 1.0, 5e-3) << w - &block.qkv;
  }
}

TEST_P(BlockGradientTest, IsTheSameBytesForAnyNumberOfThreads) {
  std::vector<std::vector<float>> results;
  for (const std::size_t threads : {1, 2}) {
    Executor executor(threads);
    RandomBlock block(GetParam(), executor);
    BlockGradient gradient = block.gradient();
    (void)block.loss(gradient);
    block.backward(gradient);
    std::vector<float>& all = results.emplace_back();
    for (calib::FloatMatrix* w : {&block.qkv, &block.attn_out, &block.up, &block.down})
      all.insert(all.end(), w->gradient(), w->gradient() + w->rows() * w->cols());
  }
  EXPECT_EQ(results[0], results[1]);
}

INSTANTIATE_TEST_SUITE_P(Families, BlockGradientTest, ::testing::Values("llama", "qwen3", "gemma2", "gpt2", "gpt_neox"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace qeff::nn
