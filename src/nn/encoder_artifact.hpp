/// @file
/// How an encoder lies in a `.qeff` artifact: the metadata and the names of the entries.
///
///     embeddings.words.codes i8 (vocab, hidden) + .scales (vocab)   or   embeddings.words f32
///     embeddings.positions, embeddings.types   f32 (rows, hidden)
///     embeddings.norm.weight, .bias            f32 (hidden)
///     attention_bias                           f32 (buckets, heads)
///     layers.<i>.{qkv,attn_out,ffn1,ffn2}      .codes u8, .scales f32, .zero_points u8, .codebook
///     f32,
///                                              .input_scale f32: see packed_weights.hpp; .bias f32
///     layers.<i>.{attn_norm,ffn_norm}          .weight, .bias f32 (hidden)
///     file/<name>                              u8: files of the model directory (tokenizer,
///     config.json)
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "nn/encoder_model.hpp"
#include "nn/linear_artifact.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/nn/pooling.hpp"

namespace qeff::nn {

struct EncoderMetadata {
  EncoderShape shape;
  Pooling pooling = Pooling::mean;
  bool normalize = true;
  std::size_t max_tokens = 0;  ///< Texts are cut to it.
  std::string quantization;    ///< JSON of the QuantizationConfig
  std::vector<LinearInfo> linears;
};

[[nodiscard]] std::string to_json(const EncoderMetadata& metadata);

/// @throws FormatError naming the artifact and the field.
[[nodiscard]] EncoderMetadata read_metadata(const Artifact& artifact);

/// The weights, borrowed from the mapping. Every entry's type and size is checked against the
/// shape.
/// @throws FormatError naming artifact and entry.
[[nodiscard]] EncoderModel read_model(const Artifact& artifact, const EncoderMetadata& metadata);

/// Features (n, k) of the linears of a layer, by their names' last part.
struct LinearSize {
  const char* name;
  std::size_t n, k;
  bool after_norm;  ///< Reads the output of a LayerNorm, whose channels keep their size.
};
[[nodiscard]] std::vector<LinearSize> layer_linears(const EncoderShape& shape);

}  // namespace qeff::nn
