#include "nn/encoder_artifact.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "qeff/core/checked_size.hpp"
#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

using kernels::PackedView;
using kernels::WeightFormat;

/// Entries of an artifact as plain arrays of a known length.
class Entries {
 public:
  explicit Entries(const Artifact& artifact) : artifact_(artifact) {}

  template <class T>
  const T* array(const std::string& name, DType dtype, CheckedSize count) const {
    const TensorView& tensor = artifact_.tensor(name);
    const CheckedSize bytes = count * sizeof(T);
    if (tensor.dtype != dtype || !bytes.valid() || tensor.nbytes != bytes.value())
      throw FormatError(
          artifact_.path(),
          fmt::format("entry \"{}\" is {} {} of {} bytes; the model needs {} values of {}", name,
                      info(tensor.dtype).name, tensor.shape_string(), tensor.nbytes,
                      count.get().value_or(0), info(dtype).name));
    return reinterpret_cast<const T*>(tensor.data);
  }
  const float* floats(const std::string& name, CheckedSize count) const {
    return array<float>(name, DType::f32, count);
  }
  bool contains(const std::string& name) const { return artifact_.contains(name); }
  const std::string& file() const { return artifact_.path(); }

 private:
  const Artifact& artifact_;
};

EmbeddingTable read_words(const Entries& entries, const EncoderShape& shape) {
  const std::string name = "embeddings.words";
  EmbeddingTable table{.rows = shape.vocab};
  const CheckedSize count = CheckedSize(shape.vocab) * shape.hidden;
  if (entries.contains(name)) {
    table.values = entries.floats(name, count);
  } else {
    table.codes = entries.array<std::int8_t>(name + ".codes", DType::i8, count);
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

void check_code_bytes(const Entries& entries, const std::string& name, const PackedView& w) {
  // 2^31 features at most on either side, 4 bytes each: 2^64 can be passed, the product is checked.
  const CheckedSize bytes = CheckedSize(w.panels()) * kernels::panel_bytes(w.format, w.k_padded());
  const CheckedSize scales = CheckedSize(w.n_padded()) * w.groups();
  if (!bytes.valid() || !scales.valid())
    throw FormatError(entries.file(),
                      fmt::format("\"{}\" of {} x {} is too large", name, w.n, w.k));
}

Linear read_linear(const Entries& entries, const LinearInfo& info) {
  Linear linear{info.name, info.weights, nullptr};
  PackedView& w = linear.weights;
  const std::string& name = info.name;
  check_code_bytes(entries, name, w);
  w.codes = entries.array<std::byte>(name + ".codes", DType::u8, w.code_bytes());
  if (w.format != WeightFormat::bf16 && w.format != WeightFormat::f32)
    w.scales = entries.floats(name + ".scales", w.scale_count());
  if (w.format == WeightFormat::u8 || w.format == WeightFormat::u4)
    w.zero_points = entries.array<std::uint8_t>(name + ".zero_points", DType::u8, w.scale_count());
  if (w.format == WeightFormat::cb4)
    w.codebook = entries.floats(name + ".codebook", kernels::kPanel);
  if (entries.contains(name + ".input_scale"))
    w.input_scale = entries.floats(name + ".input_scale", w.k_padded());
  linear.bias = entries.floats(name + ".bias", w.n);
  return linear;
}

Linear find_linear(const Entries& entries, const EncoderMetadata& metadata, std::size_t layer,
                   const LinearSize& size) {
  const std::string name = layer_entry(layer, size.name);
  const auto it = std::ranges::find(metadata.linears, name, &LinearInfo::name);
  if (it == metadata.linears.end())
    throw FormatError(entries.file(), fmt::format("metadata: \"linears\" has no \"{}\"", name));
  if (it->weights.n != size.n || it->weights.k != size.k)
    throw FormatError(entries.file(),
                      fmt::format("\"{}\" is {} x {}; the model needs {} x {}", name, it->weights.n,
                                  it->weights.k, size.n, size.k));
  return read_linear(entries, *it);
}

EncoderLayer read_layer(const Entries& entries, const EncoderMetadata& metadata, std::size_t i) {
  const auto sizes = layer_linears(metadata.shape);
  EncoderLayer layer;
  layer.qkv = find_linear(entries, metadata, i, sizes[0]);
  layer.attn_out = find_linear(entries, metadata, i, sizes[1]);
  layer.ffn1 = find_linear(entries, metadata, i, sizes[2]);
  layer.ffn2 = find_linear(entries, metadata, i, sizes[3]);
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

std::string layer_entry(std::size_t layer, const std::string& part) {
  return fmt::format("layers.{}.{}", layer, part);
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
