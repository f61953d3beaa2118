/// @file
/// A causal language model as the forward pass sees it: borrowed weights in their run-time form.
#pragma once

#include <cstddef>
#include <vector>

#include "nn/encoder_model.hpp"
#include "nn/linear.hpp"
#include "qeff/nn/decoder_architecture.hpp"

namespace qeff::nn {

/// gamma null: the model has no such norm. beta null: an RMS norm.
struct DecoderLayer {
  Linear qkv;       ///< ((heads + 2 kv_heads) head_dim, hidden): rows of q, then k, then v
  Linear attn_out;  ///< (hidden, heads head_dim)
  Linear up;        ///< gated: (2 intermediate, hidden), gate first; else (intermediate, hidden)
  Linear down;      ///< (hidden, intermediate)
  Norm attn_norm, post_attn_norm, ffn_norm, post_ffn_norm, q_norm, k_norm;
};

struct DecoderModel {
  DecoderShape shape;
  kernels::PackedView words;         ///< (vocab, hidden), one row a token; of lm_head if tied
  const float* positions = nullptr;  ///< (positions, hidden), or null
  Norm final_norm;
  Linear lm_head;  ///< (vocab, hidden)
  std::vector<DecoderLayer> layers;
};

/// out (k): row `row` of packed weights, dequantized. @pre i8 or float, no input_scale
void unpack_row(const kernels::PackedView& weights, std::size_t row, float* out) noexcept;

/// cos and sin of position * frequency for all rotary embeddings of a model.
class RopeTables {
 public:
  RopeTables() = default;
  RopeTables(const DecoderShape& shape, std::size_t positions);
  /// (rotary_dim / 2) values.
  [[nodiscard]] const float* cos(std::size_t rope, std::size_t position) const noexcept {
    return tables_[rope].data() + position * 2 * half_;
  }
  [[nodiscard]] const float* sin(std::size_t rope, std::size_t position) const noexcept {
    return cos(rope, position) + half_;
  }
  [[nodiscard]] std::size_t half() const noexcept { return half_; }

 private:
  std::size_t half_ = 0;
  std::vector<std::vector<float>> tables_;  // of each rope: (positions, cos then sin)
};

}  // namespace qeff::nn
