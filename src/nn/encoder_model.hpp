/// @file
/// An encoder as the forward pass sees it: borrowed weights in their run-time form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nn/linear.hpp"
#include "qeff/nn/architecture.hpp"

namespace qeff::nn {

struct Norm {
  const float* gamma = nullptr;  ///< (hidden)
  const float* beta = nullptr;   ///< (hidden)
};

/// Rows of `hidden` values, either float or int8 times a scale of the row.
struct EmbeddingTable {
  std::size_t rows = 0;
  const float* values = nullptr;       ///< (rows, hidden), or
  const std::int8_t* codes = nullptr;  ///< (rows, hidden) with
  const float* scales = nullptr;       ///< (rows)
};

struct EncoderLayer {
  Linear qkv;  ///< (3 hidden, hidden): rows of q, then k, then v
  Linear attn_out, ffn1, ffn2;
  Norm attn_norm, ffn_norm;
};

struct EncoderModel {
  EncoderShape shape;
  EmbeddingTable words, positions, types;
  Norm embedding_norm;
  /// (heads, 2 * max_positions - 1): attention bias of distance key - query, from the most negative
  /// on; empty if the model has none.
  std::vector<float> distance_bias;
  std::vector<EncoderLayer> layers;
};

/// distance_bias from the (buckets, heads) table of a checkpoint.
[[nodiscard]] std::vector<float> expand_distance_bias(const float* table,
                                                      const EncoderShape& shape);

}  // namespace qeff::nn
