/// @file
/// What causal language models are made of: the one table that compilation and runtime read.
///
///     x = words[id] * embedding_scale (+ positions[p])
///     per layer:  x += post_attn_norm(attn_out(attention(rope(qkv(attn_norm(x))))))
///                 x += post_ffn_norm(down(act(gate(h)) * up(h))),  h = ffn_norm(x)
///     logits = cap(lm_head(final_norm(x)))
///
/// Families differ in tensor names and in which of these terms exist. Adding one is a row of the
/// table (src/nn/decoder_table.cpp) and, where config.json says a thing in a new way, a line in
/// src/nn/decoder_shape.cpp: docs/architecture.md.
///
/// Source: the modeling files of transformers; tests/python/test_decoder.py compares with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/kernels/matmul.hpp"

namespace qeff {

/// How q, k and v lie in a checkpoint.
enum class QkvLayout : std::uint8_t {
  separate,  ///< three tensors
  stacked,   ///< one (heads + 2 kv_heads) * head_dim rows: q, then k, then v
  by_head    ///< one: for each head its q, k and v (GPT-NeoX)
};

enum class NormKind : std::uint8_t {
  rms,      ///< x / rms(x) * weight
  rms_one,  ///< x / rms(x) * (1 + weight) (Gemma)
  layer     ///< LayerNorm with bias
};

/// Tensor names of one model_type, without the prefix. "{}" stands for the layer; names end before
/// ".weight" and ".bias". An empty name: the model has no such tensor.
struct DecoderArchitecture {
  std::string_view model_type;
  std::string_view prefix = "model.";
  std::string_view words = "embed_tokens", positions = "", final_norm = "norm";
  std::string_view lm_head = "lm_head";  ///< Without the prefix.

  QkvLayout qkv_layout = QkvLayout::separate;
  std::string_view q = "layers.{}.self_attn.q_proj", k = "layers.{}.self_attn.k_proj",
                   v = "layers.{}.self_attn.v_proj";
  std::string_view qkv = "";  ///< With the other layouts.
  std::string_view attn_out = "layers.{}.self_attn.o_proj";
  std::string_view q_norm = "", k_norm = "";  ///< RMS norms of each head before rope.
  std::string_view gate = "layers.{}.mlp.gate_proj";  ///< Empty: the block is not gated.
  std::string_view up = "layers.{}.mlp.up_proj", down = "layers.{}.mlp.down_proj";
  std::string_view gate_up = "";  ///< One tensor for both (Phi-3); then gate and up are not used.
  std::string_view attn_norm = "layers.{}.input_layernorm", post_attn_norm = "",
                   ffn_norm = "layers.{}.post_attention_layernorm", post_ffn_norm = "";

  NormKind norm = NormKind::rms;
  bool transposed = false;  ///< Linears are stored (in, out): GPT-2's Conv1D.
  bool biases = false;      ///< Every linear has a bias; otherwise those that the checkpoint holds.
  bool rotary = true;
  bool tied = false;                 ///< Where config.json does not say.
  std::size_t position_offset = 0;   ///< Of the first row of the position table (OPT).
  std::string_view activation = "silu";  ///< Where config.json does not say.
  double eps = 1e-6;                     ///< Where config.json does not say.
};

[[nodiscard]] std::span<const DecoderArchitecture> decoder_architectures() noexcept;
/// The description of a model type, or null.
[[nodiscard]] const DecoderArchitecture* find_decoder_architecture(
    std::string_view model_type) noexcept;

enum class RopeScaling : std::uint8_t { none, linear, llama3, yarn };

/// Angles of the rotary embedding: position * frequency(i), i < rotary_dim / 2.
struct RopeShape {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  ///< llama3
  double beta_fast = 32, beta_slow = 1;              ///< yarn
  double attention_factor = 1;                       ///< yarn: cos and sin are multiplied by it
  bool truncate = true;                              ///< yarn
  double original_positions = 0;                     ///< llama3, yarn

  friend bool operator==(const RopeShape&, const RopeShape&) = default;
};

/// How one layer attends.
struct DecoderLayerShape {
  std::size_t window = 0;  ///< Tokens seen, itself included; 0: all.
  std::size_t rope = 0;    ///< Index into DecoderShape::ropes.
  bool rotary = true;      ///< SmolLM3 leaves it out in some layers.
};

/// The sizes and constants of one model, all from its config.json.
struct DecoderShape {
  std::string model_type;
  std::size_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, intermediate = 0;
  std::size_t vocab = 0, positions = 0;
  std::size_t rotary_dim = 0;  ///< Leading dimensions of a head that are rotated.
  float eps = 0;
  float embedding_scale = 1;
  float attention_scale = 1;   ///< Multiplies q k^T.
  float attention_softcap = 0, logit_softcap = 0;  ///< 0: none
  Activation activation = Activation::silu;
  bool tied = false;
  bool parallel = false;  ///< Attention and feed-forward both read the layer's input (GPT-NeoX).
  std::vector<RopeShape> ropes;
  std::vector<DecoderLayerShape> layer;  ///< One a layer.

  [[nodiscard]] const DecoderArchitecture& architecture() const noexcept {
    return *find_decoder_architecture(model_type);
  }
  [[nodiscard]] std::size_t q_size() const noexcept { return heads * head_dim; }
  [[nodiscard]] std::size_t kv_size() const noexcept { return kv_heads * head_dim; }
  [[nodiscard]] std::size_t qkv_size() const noexcept { return q_size() + 2 * kv_size(); }
  [[nodiscard]] bool gated() const noexcept {
    return !architecture().gate.empty() || !architecture().gate_up.empty();
  }
};

/// Reads the sizes. @param file  Named in errors.
/// @throws Unsupported with the reason why there is no native form; FormatError for missing or
///         senseless fields.
[[nodiscard]] DecoderShape decoder_shape(const std::string& config_json, const std::string& file);

/// (rotary_dim / 2) frequencies of a rotary embedding. Source: transformers modeling_rope_utils;
/// yarn: B. Peng et al., "YaRN", 2023, section 3.
[[nodiscard]] std::vector<double> rope_frequencies(const RopeShape& rope, std::size_t rotary_dim);

}  // namespace qeff
