/// @file
/// What the encoders of the BERT family are made of: the one table that compilation and runtime
/// read.
///
/// All of them are post-norm transformers; they differ in tensor names, in how positions are
/// counted, and in a few terms:
///
///     x = norm(words[id] + positions[p] + types[t])
///     per layer:  x = norm(x + attn_out(attention(qkv(x))));  x = norm(x + ffn2(act(ffn1(x))))
///
/// Source: the modeling files of transformers; tests/python/test_encoder.py compares with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qeff/kernels/matmul.hpp"

namespace qeff {

/// Tensor names of one model_type, without the optional prefix. "{}" stands for the layer; names
/// end before ".weight" and ".bias". An empty name: the model has no such tensor.
struct Architecture {
  std::string_view model_type;
  std::string_view prefix;  ///< In checkpoints of the model with a head on top, e.g. "bert."

  std::string_view words, positions, types, embedding_norm;
  std::string_view attention_bias;  ///< (buckets, heads), shared by all layers
  std::string_view q, k, v, attn_out, attn_norm, ffn1, ffn2, ffn_norm;

  /// Positions count from padding_idx + 1 over the tokens that are not padding (RoBERTa).
  bool positions_skip_padding = false;
  std::int32_t default_padding_idx = 0;  ///< Where config.json has none.
  double default_eps = 1e-12;

  /// Keys of config.json.
  std::string_view key_layers = "num_hidden_layers", key_hidden = "hidden_size",
                   key_heads = "num_attention_heads", key_intermediate = "intermediate_size",
                   key_activation = "hidden_act";
};

/// All described model types.
[[nodiscard]] std::span<const Architecture> encoder_architectures() noexcept;
/// The description of a model type, or null.
[[nodiscard]] const Architecture* find_encoder_architecture(std::string_view model_type) noexcept;

/// The sizes of one model; what config.json says and what an artifact repeats.
struct EncoderShape {
  std::string model_type;
  std::size_t layers = 0, hidden = 0, heads = 0, intermediate = 0;
  std::size_t vocab = 0;
  std::size_t positions = 0;          ///< Rows of the position table.
  std::size_t types = 0;              ///< Rows of the token type table; 0: the model has none.
  std::size_t attention_buckets = 0;  ///< Rows of the relative attention bias; 0: none.
  float eps = 0;                      ///< Of every LayerNorm.
  Activation activation = Activation::gelu;
  bool positions_skip_padding = false;
  std::int32_t padding_idx = 0;

  [[nodiscard]] std::size_t head_dim() const noexcept { return hidden / heads; }
  /// Tokens a sequence can have.
  [[nodiscard]] std::size_t max_positions() const noexcept {
    return positions_skip_padding ? positions - static_cast<std::size_t>(padding_idx) - 1
                                  : positions;
  }
};

/// Whether a native encoder exists for this config.json; empty if so, else the reason.
[[nodiscard]] std::string why_not_native(const std::string& config_json);

/// Reads the sizes. @param file  Named in errors.
/// @throws Unsupported with why_not_native()'s reason; FormatError for missing or senseless fields.
[[nodiscard]] EncoderShape encoder_shape(const std::string& config_json, const std::string& file);

/// Row of the relative attention bias for a key at `key` seen from a query at `query`: half of the
/// buckets for each direction, exact below a quarter of them, logarithmic up to distance 128.
/// Source: T5; transformers MPNetEncoder.relative_position_bucket.
[[nodiscard]] std::size_t relative_position_bucket(std::size_t query, std::size_t key,
                                                   std::size_t buckets) noexcept;

}  // namespace qeff
