#include "nn/decoder_calibration.hpp"

#include <algorithm>

namespace qeff::nn {
namespace {

constexpr std::size_t kPartTokens = 2048;
constexpr std::size_t kMostInnerBytes = std::size_t{256} << 20;

}  // namespace

DecoderCalibration::DecoderCalibration(const DecoderModel& model, const TokenBatch& batch, Executor& executor,
                                       std::size_t most_tokens)
    : model_(model), team_{&executor, executor.threads()} {
  const DecoderShape& s = model.shape;
  std::size_t longest = 0, most_rows = 0, most_runs = 0;
  for (std::size_t i = 0; i < batch.sequences(); ++i) {
    const std::size_t begin = batch.offsets[i], count = batch.offsets[i + 1] - begin;
    if (parts_.empty() || parts_.back().rows + count > kPartTokens) {
      if (most_tokens != 0 && begin >= most_tokens) break;
      parts_.push_back({begin, 0, {}});
    }
    Part& part = parts_.back();
    part.runs.push_back({part.runs.size(), 0, part.rows, count});
    part.rows += count;
    longest = std::max(longest, count);
    most_rows = std::max(most_rows, part.rows);
    most_runs = std::max(most_runs, part.runs.size());
  }
  tokens_ = parts_.empty() ? 0 : parts_.back().begin + parts_.back().rows;
  ropes_ = RopeTables(s, longest);
  cache_.emplace_back(1, most_runs, s.kv_heads, s.head_dim, longest, kernels::CachedAs::f32);
  x_.reserve(tokens_ * s.hidden * sizeof(float));
  context_.reserve(tokens_ * s.q_size() * sizeof(float));
  const std::size_t inner_bytes = tokens_ * s.intermediate * sizeof(float);
  if (inner_bytes <= kMostInnerBytes) inner_.reserve(inner_bytes);
  work_.reserve(s, most_rows, team_.threads);
  for (const Part& part : parts_)
    for (const TokenRun& run : part.runs)
      embed_run(model, std::span(batch.ids).subspan(part.begin + run.row, run.count), 0,
                states(part) + run.row * s.hidden);
}

std::vector<std::span<float>> DecoderCalibration::carried() {
  return {{x_.as<float>(), x_.size() / sizeof(float)}};
}

float* DecoderCalibration::states(const Part& part) const { return x_.as<float>() + part.begin * model_.shape.hidden; }
float* DecoderCalibration::context(const Part& part) const {
  return context_.as<float>() + part.begin * model_.shape.q_size();
}

float* DecoderCalibration::normalized(const Part& part, const Norm& norm) {
  const DecoderShape& s = model_.shape;
  normalize(norm, s.eps, states(part), part.rows, s.hidden, work_.h.as<float>(), team_);
  return work_.h.as<float>();
}

float* DecoderCalibration::inner(const Part& part, const Linear& up) {
  const DecoderShape& s = model_.shape;
  const float* h = normalized(part, layer().ffn_norm);
  float* const out = inner_.size() ? inner_.as<float>() + part.begin * s.intermediate : work_.inner.as<float>();
  if (s.gated()) {
    apply(up, h, part.rows, work_.up.as<float>(), Activation::none, nullptr, team_);
    activate_inner(s, work_.up.as<float>(), part.rows, out, team_);
  } else {
    apply(up, h, part.rows, out, s.activation, nullptr, team_);
  }
  return out;
}

/// inputs(calibration, part): (part.rows, n), of this calibration or that of the float model.
template <class Inputs>
InputStatistics DecoderCalibration::collect(std::size_t n, const FloatStream& floats, Inputs&& inputs) {
  HessianAccumulator seen(n);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    const MatrixView<const float> mine{inputs(*this, part), part.rows, n};
    if (floats.calibration && i < floats.calibration->parts_.size())
      seen.add(mine, {inputs(*floats.calibration, part), part.rows, n}, *team_.executor);
    else
      seen.add(mine, *team_.executor);
  }
  return {seen.hessian(), seen.mean_abs(), seen.drift()};
}

InputStatistics DecoderCalibration::qkv_inputs(const FloatStream& floats) {
  return collect(model_.shape.hidden, floats, [&](DecoderCalibration& of, const Part& part) {
    return of.normalized(part, of.layer().attn_norm);
  });
}

float* DecoderCalibration::attend(const Part& part, const Linear& qkv) {
  const std::size_t i = model_.layers.size() - 1;
  float* const rows = work_.qkv.as<float>();
  apply(qkv, normalized(part, layer().attn_norm), part.rows, rows, Activation::none, nullptr, team_);
  place_keys(model_, i, ropes_, part.runs, rows, cache_.front(), 0, team_);
  attend_cache(model_, i, part.runs, rows, cache_.front(), 0, context(part), work_, team_);
  return context(part);
}

InputStatistics DecoderCalibration::attn_out_inputs(const Linear& qkv, const FloatStream& floats) {
  return collect(model_.shape.q_size(), floats, [&](DecoderCalibration& of, const Part& part) {
    return of.attend(part, &of == this ? qkv : floats.linears.qkv);
  });
}

float* DecoderCalibration::behind_attention(const Part& part, const Linear& attn_out) {
  const DecoderShape& s = model_.shape;
  if (!s.parallel)
    add_output(attn_out, layer().post_attn_norm, s, context(part), part.rows, states(part), work_.h.as<float>(), team_);
  return normalized(part, layer().ffn_norm);
}

InputStatistics DecoderCalibration::up_inputs(const Linear& attn_out, const FloatStream& floats) {
  return collect(model_.shape.hidden, floats, [&](DecoderCalibration& of, const Part& part) {
    return of.behind_attention(part, &of == this ? attn_out : floats.linears.attn_out);
  });
}

InputStatistics DecoderCalibration::down_inputs(const Linear& up, const FloatStream& floats) {
  return collect(model_.shape.intermediate, floats, [&](DecoderCalibration& of, const Part& part) {
    return of.inner(part, &of == this ? up : floats.linears.up);
  });
}

void DecoderCalibration::finish(const Part& part, const float* inner, const Linear& attn_out, const Linear& down) {
  const DecoderShape& s = model_.shape;
  float *const h = work_.h.as<float>(), *const x = states(part);
  if (s.parallel) add_output(attn_out, layer().post_attn_norm, s, context(part), part.rows, x, h, team_);
  add_output(down, layer().post_ffn_norm, s, inner, part.rows, x, h, team_);
}

void DecoderCalibration::finish(const Linear& attn_out, const Linear& up, const Linear& down) {
  const std::size_t n = model_.shape.intermediate;
  for (const Part& part : parts_)
    finish(part, inner_.size() ? inner_.as<float>() + part.begin * n : inner(part, up), attn_out, down);
}

void DecoderCalibration::run(const Linear& qkv, const Linear& attn_out, const Linear& up, const Linear& down) {
  const DecoderShape& s = model_.shape;
  for (const Part& part : parts_) {
    const float* const rows = attend(part, qkv);
    if (!s.parallel)
      add_output(attn_out, layer().post_attn_norm, s, rows, part.rows, states(part), work_.h.as<float>(), team_);
    finish(part, inner(part, up), attn_out, down);
  }
}

}  // namespace qeff::nn
