#include "nn/block_gradient.hpp"

#include <algorithm>

#include "nn/gradients.hpp"

namespace qeff::nn {

BlockGradient::BlockGradient(const DecoderModel& model, const RopeTables& ropes, const BlockWeights& weights, Team team)
    : model_(model), ropes_(ropes), weights_(weights), team_(team) {}

void BlockGradient::reserve(std::span<const TokenRun> runs, std::size_t m) {
  const DecoderShape& s = model_.shape;
  work_.reserve(s, m, team_.threads);
  const auto floats = [&](AlignedBuffer& buffer, std::size_t n) { buffer.reserve(m * n * sizeof(float)); };
  for (AlignedBuffer* buffer : {&h2_, &out_, &raw_attn_, &raw_ffn_, &d_hidden_}) floats(*buffer, s.hidden);
  for (AlignedBuffer* buffer : {&raw_qkv_, &d_qkv_}) floats(*buffer, s.qkv_size());
  floats(d_context_, s.q_size());
  floats(d_up_, weights_.up.weights->rows());
  floats(d_inner_, s.intermediate);
  std::size_t longest = 0;
  for (const TokenRun& run : runs) longest = std::max(longest, run.count);
  if (runs.size() <= cache_runs_ && longest <= cache_tokens_) return;
  cache_runs_ = std::max(cache_runs_, runs.size());
  cache_tokens_ = std::max(cache_tokens_, longest);
  cache_.clear();
  cache_.emplace_back(1, cache_runs_, s.kv_heads, s.head_dim, cache_tokens_, kernels::CachedAs::f32);
}

void BlockGradient::add_output(const BlockWeights::One& linear, const Norm& post_norm, const float* input,
                               const float* base, std::size_t m, float* raw, float* out) {
  const DecoderShape& s = model_.shape;
  if (!post_norm.gamma) return apply(linear.linear(), input, m, out, Activation::none, base, team_);
  apply(linear.linear(), input, m, raw, Activation::none, nullptr, team_);
  normalize(post_norm, s.eps, raw, m, s.hidden, out, team_);
  for (std::size_t i = 0; i < m * s.hidden; ++i) out[i] += base[i];
}

const float* BlockGradient::forward(std::span<const TokenRun> runs, const float* x, std::size_t m) {
  const DecoderShape& s = model_.shape;
  reserve(runs, m);
  float *h = work_.h.as<float>(), *qkv = work_.qkv.as<float>(), *context = work_.context.as<float>();
  float *x1 = work_.x.as<float>(), *h2 = h2_.as<float>(), *up = work_.up.as<float>(), *inner = work_.inner.as<float>();
  normalize(layer().attn_norm, s.eps, x, m, s.hidden, h, team_);
  apply(weights_.qkv.linear(), h, m, qkv, Activation::none, nullptr, team_);
  std::copy_n(qkv, m * s.qkv_size(), raw_qkv_.as<float>());
  const std::size_t i = model_.layers.size() - 1;
  place_keys(model_, i, ropes_, runs, qkv, cache_.front(), 0, team_);
  attend_cache(model_, i, runs, qkv, cache_.front(), 0, context, work_, team_);
  add_output(weights_.attn_out, layer().post_attn_norm, context, x, m, raw_attn_.as<float>(), x1);
  normalize(layer().ffn_norm, s.eps, s.parallel ? x : x1, m, s.hidden, h2, team_);
  apply(weights_.up.linear(), h2, m, up, Activation::none, nullptr, team_);
  if (s.gated())
    activate_inner(s, up, m, inner, team_);
  else
    activate_plain(s, up, m, inner, team_);
  add_output(weights_.down, layer().post_ffn_norm, inner, x1, m, raw_ffn_.as<float>(), out_.as<float>());
  return out_.as<float>();
}

void BlockGradient::undo_output(const BlockWeights::One& linear, const Norm& post_norm, const float* input,
                                const float* raw, const float* d_out, std::size_t m, float* d_input) {
  const DecoderShape& s = model_.shape;
  const auto [weights, bias] = linear;
  if (post_norm.gamma) {
    norm_gradient(post_norm, s.eps, raw, d_out, m, s.hidden, d_hidden_.as<float>(), team_);
    d_out = d_hidden_.as<float>();
  }
  const MatrixView<const float> dy{d_out, m, weights->rows()};
  weights->add_gradient(dy, {input, m, weights->cols()}, *team_.executor);
  weights->multiply_transposed(dy, {d_input, m, weights->cols()}, *team_.executor);
}

void BlockGradient::backward(std::span<const TokenRun> runs, float* g, std::size_t m) {
  const DecoderShape& s = model_.shape;
  float *d_inner = d_inner_.as<float>(), *d_up = d_up_.as<float>(), *d_hidden = d_hidden_.as<float>();
  undo_output(weights_.down, layer().post_ffn_norm, work_.inner.as<float>(), raw_ffn_.as<float>(), g, m, d_inner);
  activation_gradient(s, work_.up.as<float>(), d_inner, m, d_up, team_);
  const MatrixView<const float> dy{d_up, m, weights_.up.weights->rows()};
  weights_.up.weights->add_gradient(dy, {h2_.as<float>(), m, s.hidden}, *team_.executor);
  if (!s.parallel) {  // else the feed-forward part reads the input of the block
    weights_.up.weights->multiply_transposed(dy, {d_hidden, m, s.hidden}, *team_.executor);
    norm_gradient(layer().ffn_norm, s.eps, work_.x.as<float>(), d_hidden, m, s.hidden, d_hidden, team_);
    for (std::size_t i = 0; i < m * s.hidden; ++i) g[i] += d_hidden[i];
  }
  float *d_context = d_context_.as<float>(), *d_qkv = d_qkv_.as<float>();
  undo_output(weights_.attn_out, layer().post_attn_norm, work_.context.as<float>(), raw_attn_.as<float>(), g, m,
              d_context);
  const std::size_t i = model_.layers.size() - 1;
  attention_gradient(s, s.layer[i], runs, work_.qkv.as<float>(), d_context, d_qkv, team_);
  undo_place_keys(model_, i, ropes_, runs, raw_qkv_.as<float>(), d_qkv, team_);
  weights_.qkv.weights->add_gradient({d_qkv, m, s.qkv_size()}, {work_.h.as<float>(), m, s.hidden}, *team_.executor);
}

}  // namespace qeff::nn
