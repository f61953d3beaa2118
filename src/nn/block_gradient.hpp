/// @file
/// One block of a decoder, forwards and backwards: the gradient of a loss of its output in the weights of its
/// linears. Norms, biases and the block's input are constants.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "calib/float_matrix.hpp"
#include "nn/decoder_forward.hpp"

namespace qeff::nn {

/// The weights of a block's linears as floats.
struct BlockWeights {
  struct One {
    calib::FloatMatrix* weights = nullptr;
    const float* bias = nullptr;  ///< (rows), or null

    [[nodiscard]] Linear linear() const { return {"", weights->view(), bias}; }
  };
  One qkv, attn_out, up, down;
};

class BlockGradient {
 public:
  /// @param model  Its last layer's norms are those of the block. It, the ropes and the weights must outlive this.
  BlockGradient(const DecoderModel& model, const RopeTables& ropes, const BlockWeights& weights, Team team);

  /// The block's output (m, hidden) for whole sequences; valid until the next call.
  const float* forward(std::span<const TokenRun> runs, const float* x, std::size_t m);
  /// Adds to the gradients of all weights. d_out (m, hidden) belongs to the last forward() and is overwritten.
  void backward(std::span<const TokenRun> runs, float* d_out, std::size_t m);

 private:
  [[nodiscard]] const DecoderLayer& layer() const { return model_.layers.back(); }
  void reserve(std::span<const TokenRun> runs, std::size_t m);
  void add_output(const BlockWeights::One& linear, const Norm& post_norm, const float* input, const float* base,
                  std::size_t m, float* raw, float* out);
  /// Through post_norm and linear: adds the weight's gradient, d_input = the input's.
  void undo_output(const BlockWeights::One& linear, const Norm& post_norm, const float* input, const float* raw,
                   const float* d_out, std::size_t m, float* d_input);

  const DecoderModel& model_;
  const RopeTables& ropes_;
  BlockWeights weights_;
  Team team_;
  std::vector<KvCache> cache_;  // one, of one layer
  std::size_t cache_runs_ = 0, cache_tokens_ = 0;
  DecoderWorkspace work_;                        // x: after attention; h: for attention
  AlignedBuffer raw_qkv_, h2_, out_;             // before rope; h of the feed-forward part; the output
  AlignedBuffer raw_attn_, raw_ffn_;             // before post_norm
  AlignedBuffer d_hidden_, d_qkv_, d_context_, d_up_, d_inner_;
};

}  // namespace qeff::nn
