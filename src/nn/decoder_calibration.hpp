/// @file
/// The calibration tokens on their way through a decoder, linear by linear: what each linear reads
/// is summed up before the linear is quantized, and computed by the linears before it.
#pragma once

#include <span>
#include <vector>

#include "nn/decoder_forward.hpp"
#include "nn/quantize_linear.hpp"
#include "qeff/calib/hessian.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::nn {

class DecoderCalibration;

/// The four linears of a block.
template <class T>
struct BlockOf {
  T qkv, attn_out, up, down;
};

/// The same tokens, or the first of them, on their way through the float model, a call behind, and the linears of its layer at work.
struct FloatStream {
  DecoderCalibration* calibration = nullptr;  ///< Null: there is none.
  BlockOf<Linear> linears;
};

/// Call once a layer, in this order: qkv_inputs, attn_out_inputs, up_inputs, down_inputs, finish. The
/// model's last layer is the one at work; its norms must be there.
/// Memory: a (tokens, hidden) and a (tokens, q_size) matrix, the largest Hessian, and a (tokens, intermediate)
/// matrix if that is below 256 MB.
class DecoderCalibration {
 public:
  /// @param model        Its shape, embeddings and norms are read; it must outlive this.
  /// @param most_tokens  The first sequences of the batch up to about so many; 0: all.
  DecoderCalibration(const DecoderModel& model, const TokenBatch& batch, Executor& executor, std::size_t most_tokens = 0);

  /// floats: takes the same step with its own linears, and the statistics tell how far the two have drifted apart.
  [[nodiscard]] InputStatistics qkv_inputs(const FloatStream& floats = {});
  [[nodiscard]] InputStatistics attn_out_inputs(const Linear& qkv, const FloatStream& floats = {});
  [[nodiscard]] InputStatistics up_inputs(const Linear& attn_out, const FloatStream& floats = {});
  [[nodiscard]] InputStatistics down_inputs(const Linear& up, const FloatStream& floats = {});
  /// All that one layer leaves for the next.
  [[nodiscard]] std::vector<std::span<float>> carried();
  void finish(const Linear& attn_out, const Linear& up, const Linear& down);

  /// The same in one go, without statistics.
  void run(const Linear& qkv, const Linear& attn_out, const Linear& up, const Linear& down);

  /// (tokens, hidden): what the next block reads.
  [[nodiscard]] std::span<float> states() const noexcept { return {x_.as<float>(), tokens_ * model_.shape.hidden}; }
  [[nodiscard]] const RopeTables& ropes() const noexcept { return ropes_; }

 private:
  /// Whole sequences that run together.
  struct Part {
    std::size_t begin = 0, rows = 0;
    std::vector<TokenRun> runs;
  };
  [[nodiscard]] const DecoderLayer& layer() const { return model_.layers.back(); }
  [[nodiscard]] float* states(const Part& part) const;
  [[nodiscard]] float* context(const Part& part) const;
  float* normalized(const Part& part, const Norm& norm);
  float* attend(const Part& part, const Linear& qkv);
  float* behind_attention(const Part& part, const Linear& attn_out);
  float* inner(const Part& part, const Linear& up);
  void finish(const Part& part, const float* inner, const Linear& attn_out, const Linear& down);
  template <class Inputs>
  [[nodiscard]] InputStatistics collect(std::size_t n, const FloatStream& floats, Inputs&& inputs);

  const DecoderModel& model_;
  Team team_;
  std::size_t tokens_ = 0;
  std::vector<Part> parts_;
  RopeTables ropes_;
  mutable AlignedBuffer x_, context_;
  AlignedBuffer inner_;  // (tokens, intermediate) from down_inputs() to finish(), or empty: it is computed again
  DecoderWorkspace work_;
  std::vector<KvCache> cache_;  // one, of one layer
};

}  // namespace qeff::nn
