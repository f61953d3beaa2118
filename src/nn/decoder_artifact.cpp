#include "nn/decoder_artifact.hpp"

#include <fmt/format.h>

#include "nn/artifact_tokenizer.hpp"
#include "nn/metadata_reader.hpp"
#include "qeff/version.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::ordered_json;

Norm read_norm(const Entries& entries, const std::string& name, std::size_t n, bool with_beta) {
  return {entries.floats(name + ".weight", n), with_beta ? entries.floats(name + ".bias", n) : nullptr};
}

/// Rows of these weights can be looked up one by one.
void check_rows(const Entries& entries, const Linear& linear) {
  using kernels::WeightFormat;
  const auto& w = linear.weights;
  const bool int8_rows = w.format == WeightFormat::i8 && !w.input_scale;
  if (!int8_rows && w.format != WeightFormat::f32 && w.format != WeightFormat::bf16)
    throw FormatError(entries.file(), fmt::format("\"{}\" is {}: no rows to look up", linear.name, scheme_name(w)));
}

void add_norm(ArtifactWriter& writer, const std::string& name, const Norm& norm, std::size_t n) {
  if (norm.gamma) add_floats(writer, name + ".weight", norm.gamma, {n});
  if (norm.beta) add_floats(writer, name + ".bias", norm.beta, {n});
}

/// Of all linears, and what a weight of the layers takes.
DecoderMetadata describe(const DecoderModel& model, const std::string& quantization) {
  DecoderMetadata metadata{quantization, 0, {}};
  const auto add = [&](const std::string& name, const kernels::PackedView& weights) {
    metadata.linears.push_back({name, scheme_name(weights), weights});
  };
  add("lm_head", model.lm_head.weights);
  if (!model.shape.tied) add("words", model.words);
  double bytes = 0, weights = 0;
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    for (const auto& [name, n, k, member] : layer_linears(model.shape)) {
      const kernels::PackedView& view = (model.layers[i].*member).weights;
      add(layer_entry(i, name), view);
      bytes += static_cast<double>(stored_bytes(view));
      weights += static_cast<double>(n * k);
    }
  metadata.average_bits = 8 * bytes / weights;
  return metadata;
}

}  // namespace

std::vector<DecoderLinear> layer_linears(const DecoderShape& s) {
  return {{"qkv", s.qkv_size(), s.hidden, &DecoderLayer::qkv},
          {"attn_out", s.hidden, s.q_size(), &DecoderLayer::attn_out},
          {"up", s.intermediate * (s.gated() ? 2 : 1), s.hidden, &DecoderLayer::up},
          {"down", s.hidden, s.intermediate, &DecoderLayer::down}};
}

std::vector<DecoderNorm> layer_norms(const DecoderShape& s) {
  const DecoderArchitecture& a = s.architecture();
  return {{"attn_norm", a.attn_norm, s.hidden, &DecoderLayer::attn_norm},
          {"post_attn_norm", a.post_attn_norm, s.hidden, &DecoderLayer::post_attn_norm},
          {"ffn_norm", a.ffn_norm, s.hidden, &DecoderLayer::ffn_norm},
          {"post_ffn_norm", a.post_ffn_norm, s.hidden, &DecoderLayer::post_ffn_norm},
          {"q_norm", a.q_norm, s.head_dim, &DecoderLayer::q_norm},
          {"k_norm", a.k_norm, s.head_dim, &DecoderLayer::k_norm}};
}

void add_layer_linears(ArtifactWriter& writer, const DecoderShape& s, std::size_t layer, const DecoderLayer& weights) {
  for (const auto& [name, n, k, member] : layer_linears(s)) {
    const Linear& linear = weights.*member;
    add_linear(writer, layer_entry(layer, name), linear.weights, {linear.bias, linear.bias ? n : 0});
  }
}

void add_layer_norms(ArtifactWriter& writer, const DecoderShape& s, std::size_t layer, const DecoderLayer& weights) {
  for (const auto& [name, tensor, n, member] : layer_norms(s))
    add_norm(writer, layer_entry(layer, name), weights.*member, n);
}

std::string to_json(const DecoderMetadata& metadata, const DecoderShape& s) {
  Json json{{"kind", kCausalLmKind},
            {"producer", fmt::format("qeff {}", version)},
            {"model",
             {{"model_type", s.model_type},
              {"layers", s.layers},
              {"hidden", s.hidden},
              {"heads", s.heads},
              {"kv_heads", s.kv_heads},
              {"head_dim", s.head_dim},
              {"intermediate", s.intermediate},
              {"vocab", s.vocab},
              {"positions", s.positions}}},
            {"quantization", Json::parse(metadata.quantization)},
            {"average_bits", metadata.average_bits},
            {"linears", Json::array()}};
  for (const LinearInfo& linear : metadata.linears) json["linears"].push_back(to_json(linear));
  return json.dump();
}

DecoderMetadata read_decoder_metadata(const Artifact& artifact) {
  const std::string& file = artifact.path();
  const Json json = Json::parse(artifact.metadata(), nullptr, false);
  const MetadataReader top(file, json, "the top level");
  if (const std::string kind = top.text("kind"); kind != kCausalLmKind)
    throw FormatError(file, fmt::format("holds a model of kind \"{}\", not a causal language model", kind));
  DecoderMetadata metadata;
  metadata.quantization = top.at("quantization").dump();
  metadata.linears = read_linear_infos(top);
  return metadata;
}

DecoderModel read_decoder(const Artifact& artifact, const DecoderMetadata& metadata) {
  const Entries entries(artifact);
  DecoderModel model;
  model.shape = decoder_shape(file_text(artifact, "config.json"), artifact.path() + ": config.json");
  const DecoderShape& s = model.shape;
  const bool layer_norm = s.architecture().norm == NormKind::layer;
  const auto linear = [&](const std::string& name, std::size_t n, std::size_t k) {
    return find_linear(entries, metadata.linears, name, n, k, Bias::optional);
  };
  model.lm_head = linear("lm_head", s.vocab, s.hidden);
  const Linear words = s.tied ? model.lm_head : linear("words", s.vocab, s.hidden);
  check_rows(entries, words);
  model.words = words.weights;
  if (!s.architecture().positions.empty())
    model.positions =
        entries.floats("positions", (CheckedSize(s.positions) + s.architecture().position_offset) * s.hidden);
  model.final_norm = read_norm(entries, "final_norm", s.hidden, layer_norm);
  for (std::size_t i = 0; i < s.layers; ++i) {
    DecoderLayer& layer = model.layers.emplace_back();
    for (const auto& [name, n, k, member] : layer_linears(s)) layer.*member = linear(layer_entry(i, name), n, k);
    for (const auto& [name, tensor, n, member] : layer_norms(s))
      if (!tensor.empty()) layer.*member = read_norm(entries, layer_entry(i, name), n, layer_norm);
  }
  return model;
}

void write_decoder(const DecoderModel& model, const std::string& quantization,
                   std::span<const std::pair<std::string, std::string>> files, const std::string& path) {
  const DecoderShape& shape = model.shape;
  ArtifactWriter writer(to_json(describe(model, quantization), shape));
  for (const auto& [name, text] : files)
    writer.add("file/" + name, DType::u8, {text.size()}, std::as_bytes(std::span(text)));
  const Linear& head = model.lm_head;
  add_linear(writer, "lm_head", head.weights, {head.bias, head.bias ? head.weights.n : 0});
  if (!shape.tied) add_linear(writer, "words", model.words, {});
  for (std::size_t i = 0; i < model.layers.size(); ++i) add_layer_linears(writer, shape, i, model.layers[i]);
  if (model.positions)
    add_floats(writer, "positions", model.positions,
               {shape.positions + shape.architecture().position_offset, shape.hidden});
  add_norm(writer, "final_norm", model.final_norm, shape.hidden);
  for (std::size_t i = 0; i < model.layers.size(); ++i) add_layer_norms(writer, shape, i, model.layers[i]);
  writer.write(path);
}

}  // namespace qeff::nn
