#include "nn/encoder_artifact.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "qeff/core/checked_size.hpp"
#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

EmbeddingTable read_words(const Entries& entries, const EncoderShape& shape) {
  const std::string name = "embeddings.words";
  EmbeddingTable table{.rows = shape.vocab};
  const CheckedSize count = CheckedSize(shape.vocab) * shape.hidden;
  if (entries.contains(name)) {
    table.values = entries.floats(name, count);
  } else {
    table.codes = entries.codes(name + ".codes", count);
    table.scales = entries.floats(name + ".scales", shape.vocab);
  }
  return table;
}

EmbeddingTable read_table(const Entries& entries, const std::string& name, std::size_t rows,
                          std::size_t hidden) {
  if (rows == 0) return {};
  return {.rows = rows, .values = entries.floats(name, CheckedSize(rows) * hidden)};
}

Norm read_norm(const Entries& entries, const std::string& name, std::size_t hidden) {
  return {entries.floats(name + ".weight", hidden), entries.floats(name + ".bias", hidden)};
}

EncoderLayer read_layer(const Entries& entries, const EncoderMetadata& metadata, std::size_t i) {
  const auto sizes = layer_linears(metadata.shape);
  const auto linear = [&](const LinearSize& size) {
    return find_linear(entries, metadata.linears, layer_entry(i, size.name), size.n, size.k,
                       Bias::required);
  };
  EncoderLayer layer;
  layer.qkv = linear(sizes[0]);
  layer.attn_out = linear(sizes[1]);
  layer.ffn1 = linear(sizes[2]);
  layer.ffn2 = linear(sizes[3]);
  layer.attn_norm = read_norm(entries, layer_entry(i, "attn_norm"), metadata.shape.hidden);
  layer.ffn_norm = read_norm(entries, layer_entry(i, "ffn_norm"), metadata.shape.hidden);
  return layer;
}

}  // namespace

std::vector<LinearSize> layer_linears(const EncoderShape& s) {
  return {{"qkv", 3 * s.hidden, s.hidden, true},
          {"attn_out", s.hidden, s.hidden, false},
          {"ffn1", s.intermediate, s.hidden, true},
          {"ffn2", s.hidden, s.intermediate, false}};
}

EncoderModel read_model(const Artifact& artifact, const EncoderMetadata& metadata) {
  const Entries entries(artifact);
  const EncoderShape& shape = metadata.shape;
  EncoderModel model;
  model.shape = shape;
  model.words = read_words(entries, shape);
  model.positions = read_table(entries, "embeddings.positions", shape.positions, shape.hidden);
  model.types = read_table(entries, "embeddings.types", shape.types, shape.hidden);
  model.embedding_norm = read_norm(entries, "embeddings.norm", shape.hidden);
  if (shape.attention_buckets) {
    const float* table =
        entries.floats("attention_bias", CheckedSize(shape.attention_buckets) * shape.heads);
    model.distance_bias = expand_distance_bias(table, shape);
  }
  for (std::size_t i = 0; i < shape.layers; ++i)
    model.layers.push_back(read_layer(entries, metadata, i));
  return model;
}

}  // namespace qeff::nn
