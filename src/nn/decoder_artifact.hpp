/// @file
/// How a causal language model lies in a `.qeff` artifact. Its shape is read from the config.json
/// inside; entries:
///
///     words.*, lm_head.*        packed linears (linear_artifact.hpp); no words if they are tied
///     positions                 f32 (rows, hidden)
///     final_norm.weight, .bias  f32 (hidden)
///     layers.<i>.{qkv,attn_out,up,down}                               packed linears
///     layers.<i>.{attn_norm,post_attn_norm,ffn_norm,post_ffn_norm}    .weight, .bias f32 (hidden)
///     layers.<i>.{q_norm,k_norm}.weight                               f32 (head_dim)
///     file/<name>               u8: files of the model directory (config.json, tokenizer)
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/decoder_model.hpp"
#include "nn/linear_artifact.hpp"
#include "qeff/io/artifact.hpp"

namespace qeff::nn {

inline constexpr const char* kCausalLmKind = "causal_lm";

struct DecoderMetadata {
  std::string quantization;  ///< JSON of the QuantizationConfig
  double average_bits = 0;   ///< Of the linears of the layers, scales and zero points counted; when written.
  std::vector<LinearInfo> linears;
};

[[nodiscard]] std::string to_json(const DecoderMetadata& metadata, const DecoderShape& shape);

/// @throws FormatError naming artifact and field or entry.
[[nodiscard]] DecoderMetadata read_decoder_metadata(const Artifact& artifact);
/// The weights, borrowed from the mapping.
[[nodiscard]] DecoderModel read_decoder(const Artifact& artifact, const DecoderMetadata& metadata);

/// Features (n, k) of the linears of a layer.
struct DecoderLinear {
  const char* name;
  std::size_t n, k;
  Linear DecoderLayer::* member;
};
[[nodiscard]] std::vector<DecoderLinear> layer_linears(const DecoderShape& shape);

/// The norms of a layer: entry, name in the checkpoint (may be empty), features, place.
struct DecoderNorm {
  const char* name;
  std::string_view tensor;
  std::size_t n;
  Norm DecoderLayer::* member;
};
[[nodiscard]] std::vector<DecoderNorm> layer_norms(const DecoderShape& shape);

/// Entries of the layer's linears; borrowed until the writer writes.
void add_layer_linears(ArtifactWriter& writer, const DecoderShape& shape, std::size_t layer, const DecoderLayer& weights);
void add_layer_norms(ArtifactWriter& writer, const DecoderShape& shape, std::size_t layer, const DecoderLayer& weights);

/// Writes a whole artifact. files: name and text of each.
void write_decoder(const DecoderModel& model, const std::string& quantization,
                   std::span<const std::pair<std::string, std::string>> files, const std::string& path);

}  // namespace qeff::nn
