#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "nn/encoder_artifact.hpp"
#include "nn/metadata_reader.hpp"
#include "qeff/core/error.hpp"
#include "qeff/version.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kKind = "encoder";
constexpr std::array<std::string_view, 5> kFunctions{"none", "relu", "gelu", "gelu_tanh", "silu"};

Json shape_json(const EncoderShape& s) {
  return {{"model_type", s.model_type},
          {"layers", s.layers},
          {"hidden", s.hidden},
          {"heads", s.heads},
          {"intermediate", s.intermediate},
          {"vocab", s.vocab},
          {"positions", s.positions},
          {"types", s.types},
          {"attention_buckets", s.attention_buckets},
          {"eps", s.eps},
          {"activation", kFunctions[static_cast<std::size_t>(s.activation)]},
          {"positions_skip_padding", s.positions_skip_padding},
          {"padding_idx", s.padding_idx}};
}

EncoderShape read_shape(const MetadataReader& r) {
  EncoderShape s;
  s.model_type = r.text("model_type");
  s.layers = r.size("layers");
  s.hidden = r.size("hidden");
  s.heads = r.size("heads");
  s.intermediate = r.size("intermediate");
  s.vocab = r.size("vocab");
  s.positions = r.size("positions");
  s.types = r.size("types", 0);
  s.attention_buckets = r.size("attention_buckets", 0);
  s.eps = r.number("eps");
  s.activation = r.one_of<Activation>("activation", kFunctions);
  s.positions_skip_padding = r.boolean("positions_skip_padding");
  s.padding_idx = static_cast<std::int32_t>(r.size("padding_idx", 0));
  if (s.hidden % s.heads != 0) r.fail(fmt::format("{} heads do not divide {}", s.heads, s.hidden));
  if (s.positions_skip_padding && s.positions < static_cast<std::size_t>(s.padding_idx) + 2)
    r.fail(fmt::format("padding_idx {} does not fit {} positions", s.padding_idx, s.positions));
  if (s.attention_buckets != 0 && s.attention_buckets < 4)
    r.fail(fmt::format("attention_buckets is {}, fewer than 4", s.attention_buckets));
  return s;
}

}  // namespace

std::string to_json(const EncoderMetadata& metadata) {
  Json json{{"kind", kKind},
            {"producer", fmt::format("qeff {}", version)},
            {"model", shape_json(metadata.shape)},
            {"pooling", name(metadata.pooling)},
            {"normalize", metadata.normalize},
            {"max_tokens", metadata.max_tokens},
            {"quantization", Json::parse(metadata.quantization)},
            {"linears", Json::array()}};
  for (const LinearInfo& linear : metadata.linears) json["linears"].push_back(to_json(linear));
  return json.dump();
}

EncoderMetadata read_metadata(const Artifact& artifact) {
  const std::string& file = artifact.path();
  const Json json = Json::parse(artifact.metadata(), nullptr, false);
  const MetadataReader top(file, json, "the top level");
  if (const std::string kind = top.text("kind"); kind != kKind)
    throw FormatError(file, fmt::format("holds a model of kind \"{}\", not an encoder", kind));
  EncoderMetadata metadata;
  metadata.shape = read_shape(MetadataReader(file, top.at("model"), "\"model\""));
  const std::string pooling = top.text("pooling");
  try {
    metadata.pooling = pooling_from_name(pooling);
  } catch (const InvalidArgument& error) {
    top.fail(error.what());
  }
  metadata.normalize = top.boolean("normalize");
  metadata.max_tokens = top.size("max_tokens");
  if (metadata.max_tokens > metadata.shape.max_positions())
    top.fail(fmt::format("\"max_tokens\" is {} with positions for {}", metadata.max_tokens,
                         metadata.shape.max_positions()));
  metadata.quantization = top.at("quantization").dump();
  metadata.linears = read_linear_infos(top);
  return metadata;
}

}  // namespace qeff::nn
