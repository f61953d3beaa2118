#include "nn/calibration.hpp"

#include <algorithm>

namespace qeff::nn {
namespace {

constexpr std::size_t kSliceTokens = 1024;  // rows of the widest activations held at a time

}  // namespace

Calibration::Calibration(const EncoderModel& model, const TokenBatch& batch, Executor& executor)
    : model_(model),
      team_{&executor, executor.threads()},
      slices_(cut(batch, kSliceTokens)),
      tokens_(batch.ids.size()),
      x_(tokens_ * model.shape.hidden * sizeof(float)),
      context_(tokens_ * model.shape.hidden * sizeof(float)) {
  for (const Slice& slice : slices_) embed_tokens(model_, slice, rows(x_, slice));
}

float* Calibration::rows(AlignedBuffer& buffer, const Slice& slice) const noexcept {
  return buffer.as<float>() + slice.begin() * model_.shape.hidden;
}

InputStatistics Calibration::statistics(const HessianAccumulator& seen) {
  return {seen.hessian(), seen.mean_abs(), {}};
}

InputStatistics Calibration::collect(AlignedBuffer& buffer) {
  HessianAccumulator seen(model_.shape.hidden);
  seen.add({buffer.as<float>(), tokens_, model_.shape.hidden}, *team_.executor);
  return statistics(seen);
}

InputStatistics Calibration::qkv_inputs() { return collect(x_); }

InputStatistics Calibration::attn_out_inputs(const Linear& qkv) {
  for (const Slice& slice : slices_) {
    wide_.reserve(slice.tokens() * 3 * model_.shape.hidden * sizeof(float));
    apply(qkv, rows(x_, slice), slice.tokens(), wide_.as<float>(), Activation::none, nullptr,
          team_);
    attend(model_, qkv, slice, wide_.as<float>(), rows(context_, slice), scratch_, team_);
  }
  return collect(context_);
}

InputStatistics Calibration::ffn1_inputs(const Linear& attn_out, const Norm& attn_norm) {
  for (const Slice& slice : slices_) {
    float* x = rows(x_, slice);
    apply(attn_out, rows(context_, slice), slice.tokens(), x, Activation::none, x, team_);
    normalize_rows(model_, attn_norm, x, slice.tokens());
  }
  return collect(x_);
}

InputStatistics Calibration::ffn2_inputs(const Linear& ffn1) {
  HessianAccumulator seen(model_.shape.intermediate);
  for (const Slice& slice : slices_) {
    wide_.reserve(slice.tokens() * model_.shape.intermediate * sizeof(float));
    apply(ffn1, rows(x_, slice), slice.tokens(), wide_.as<float>(), model_.shape.activation,
          nullptr, team_);
    seen.add({wide_.as<float>(), slice.tokens(), model_.shape.intermediate}, *team_.executor);
  }
  return statistics(seen);
}

void Calibration::finish(const Linear& ffn1, const Linear& ffn2, const Norm& ffn_norm) {
  for (const Slice& slice : slices_) {
    float* x = rows(x_, slice);
    wide_.reserve(slice.tokens() * model_.shape.intermediate * sizeof(float));
    apply(ffn1, x, slice.tokens(), wide_.as<float>(), model_.shape.activation, nullptr, team_);
    apply(ffn2, wide_.as<float>(), slice.tokens(), x, Activation::none, x, team_);
    normalize_rows(model_, ffn_norm, x, slice.tokens());
  }
}

}  // namespace qeff::nn
