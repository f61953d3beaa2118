/// @file
/// The calibration tokens on their way through the encoder, linear by linear: what each linear
/// reads is summed up before the linear is quantized, and computed by the linears before it.
#pragma once

#include <vector>

#include "nn/forward.hpp"
#include "nn/quantize_linear.hpp"
#include "qeff/calib/hessian.hpp"

namespace qeff::nn {

/// Call once a layer, in this order: qkv_inputs, attn_out_inputs, ffn1_inputs, ffn2_inputs, finish.
/// Memory: two (tokens, hidden) matrices and the largest Hessian.
class Calibration {
 public:
  /// @param model  Its shape and embeddings are read; it must outlive this.
  Calibration(const EncoderModel& model, const TokenBatch& batch, Executor& executor);

  [[nodiscard]] InputStatistics qkv_inputs();
  [[nodiscard]] InputStatistics attn_out_inputs(const Linear& qkv);
  [[nodiscard]] InputStatistics ffn1_inputs(const Linear& attn_out, const Norm& attn_norm);
  [[nodiscard]] InputStatistics ffn2_inputs(const Linear& ffn1);
  void finish(const Linear& ffn1, const Linear& ffn2, const Norm& ffn_norm);

 private:
  [[nodiscard]] float* rows(AlignedBuffer& buffer, const Slice& slice) const noexcept;
  [[nodiscard]] InputStatistics collect(AlignedBuffer& buffer);
  [[nodiscard]] static InputStatistics statistics(const HessianAccumulator& seen);

  const EncoderModel& model_;
  Team team_;
  std::vector<Slice> slices_;
  std::size_t tokens_;
  AlignedBuffer x_, context_;     // (tokens, hidden)
  AlignedBuffer wide_, scratch_;  // of one slice
};

}  // namespace qeff::nn
