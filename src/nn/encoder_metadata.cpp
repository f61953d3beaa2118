#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "nn/encoder_artifact.hpp"
#include "qeff/core/error.hpp"
#include "qeff/version.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::ordered_json;
using kernels::Activations;
using kernels::PackedView;
using kernels::WeightFormat;

constexpr std::string_view kKind = "encoder";
constexpr std::array<std::string_view, 8> kFormats{"i8",   "u8",   "u4",   "cb4",
                                                   "e4m3", "e5m2", "bf16", "f32"};
constexpr std::array<std::string_view, 3> kActivations{"int8", "bf16", "f32"};
constexpr std::array<std::string_view, 5> kFunctions{"none", "relu", "gelu", "gelu_tanh", "silu"};
constexpr std::size_t kMaxSize = std::size_t{1} << 31;

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

Json linear_json(const LinearInfo& linear) {
  const PackedView& w = linear.weights;
  return {{"name", linear.name},
          {"scheme", linear.scheme},
          {"format", kFormats[static_cast<std::size_t>(w.format)]},
          {"activations", kActivations[static_cast<std::size_t>(w.activations)]},
          {"n", w.n},
          {"k", w.k},
          {"group_size", w.group_size}};
}

/// Typed access to the metadata of one artifact; whatever is wrong becomes a FormatError.
class Reader {
 public:
  Reader(const std::string& file, const Json& json, std::string where)
      : file_(file), json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("is not an object");
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(file_, fmt::format("metadata: {} {}", where_, what));
  }
  const Json& at(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) fail(fmt::format("has no \"{}\"", key));
    return *it;
  }
  std::size_t size(const char* key, std::size_t least = 1) const {
    const Json& value = at(key);
    if (!value.is_number_unsigned() || value.get<std::size_t>() < least ||
        value.get<std::size_t>() > kMaxSize)
      fail(fmt::format("\"{}\" is {}, not an integer from {} to {}", key, value.dump(), least,
                       kMaxSize));
    return value.get<std::size_t>();
  }
  bool boolean(const char* key) const {
    const Json& value = at(key);
    if (!value.is_boolean())
      fail(fmt::format("\"{}\" is {}, not true or false", key, value.dump()));
    return value.get<bool>();
  }
  float number(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number()) fail(fmt::format("\"{}\" is {}, not a number", key, value.dump()));
    return value.get<float>();
  }
  std::string text(const char* key) const {
    const Json& value = at(key);
    if (!value.is_string()) fail(fmt::format("\"{}\" is {}, not a string", key, value.dump()));
    return value.get<std::string>();
  }
  template <class Enum, std::size_t N>
  Enum one_of(const char* key, const std::array<std::string_view, N>& names) const {
    const std::string value = text(key);
    const auto it = std::ranges::find(names, value);
    if (it == names.end())
      fail(fmt::format("\"{}\" is \"{}\", which this version does not know", key, value));
    return static_cast<Enum>(it - names.begin());
  }

 private:
  const std::string& file_;
  const Json& json_;
  std::string where_;
};

EncoderShape read_shape(const Reader& r) {
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

/// Whether some kernel exists for this pair; an artifact may not ask for another.
bool runnable(const PackedView& w) {
  switch (w.activations) {
    case Activations::int8:
      return (w.format == WeightFormat::i8 || w.format == WeightFormat::u4) &&
             (w.group_size == w.k || w.group_size % 4 == 0);
    case Activations::f32:
      return w.format == WeightFormat::f32;
    case Activations::bf16:
      return w.format != WeightFormat::f32;
  }
  return false;
}

LinearInfo read_linear(const Reader& r) {
  LinearInfo linear;
  linear.name = r.text("name");
  linear.scheme = r.text("scheme");
  PackedView& w = linear.weights;
  w.format = r.one_of<WeightFormat>("format", kFormats);
  w.activations = r.one_of<Activations>("activations", kActivations);
  w.n = r.size("n");
  w.k = r.size("k");
  w.group_size = r.size("group_size");
  if (w.group_size > w.k) r.fail(fmt::format("has groups of {} in rows of {}", w.group_size, w.k));
  if (!runnable(w))
    r.fail(fmt::format("asks for {} weights in groups of {} with {} activations",
                       kFormats[static_cast<std::size_t>(w.format)], w.group_size,
                       kActivations[static_cast<std::size_t>(w.activations)]));
  return linear;
}

}  // namespace

std::string scheme_name(const PackedView& w) {
  const std::string_view format = kFormats[static_cast<std::size_t>(w.format)];
  if (!w.scales || w.group_size >= w.k) return std::string(format);
  return fmt::format("{} g{}", format, w.group_size);
}

std::string to_json(const EncoderMetadata& metadata) {
  Json json{{"kind", kKind},
            {"producer", fmt::format("qeff {}", version)},
            {"model", shape_json(metadata.shape)},
            {"pooling", name(metadata.pooling)},
            {"normalize", metadata.normalize},
            {"max_tokens", metadata.max_tokens},
            {"quantization", Json::parse(metadata.quantization)},
            {"linears", Json::array()}};
  for (const LinearInfo& linear : metadata.linears) json["linears"].push_back(linear_json(linear));
  return json.dump();
}

EncoderMetadata read_metadata(const Artifact& artifact) {
  const std::string& file = artifact.path();
  const Json json = Json::parse(artifact.metadata(), nullptr, false);
  const Reader top(file, json, "the top level");
  if (const std::string kind = top.text("kind"); kind != kKind)
    throw FormatError(file, fmt::format("holds a model of kind \"{}\", not an encoder", kind));
  EncoderMetadata metadata;
  metadata.shape = read_shape(Reader(file, top.at("model"), "\"model\""));
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
  const Json& linears = top.at("linears");
  if (!linears.is_array()) top.fail("\"linears\" is not an array");
  for (std::size_t i = 0; i < linears.size(); ++i)
    metadata.linears.push_back(
        read_linear(Reader(file, linears[i], fmt::format("\"linears\"[{}]", i))));
  return metadata;
}

}  // namespace qeff::nn
