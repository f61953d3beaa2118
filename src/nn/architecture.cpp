#include "qeff/nn/architecture.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "nn/config_fields.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using nn::activation_from_name;
using nn::field;
using nn::Json;
using nn::parse_config;
using nn::size_field;

constexpr std::size_t kBuckets = 32;  // transformers computes with 32 whatever the config says

constexpr Architecture kBert{
    .model_type = "bert",
    .prefix = "bert.",
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .attention_bias = "",
    .q = "encoder.layer.{}.attention.self.query",
    .k = "encoder.layer.{}.attention.self.key",
    .v = "encoder.layer.{}.attention.self.value",
    .attn_out = "encoder.layer.{}.attention.output.dense",
    .attn_norm = "encoder.layer.{}.attention.output.LayerNorm",
    .ffn1 = "encoder.layer.{}.intermediate.dense",
    .ffn2 = "encoder.layer.{}.output.dense",
    .ffn_norm = "encoder.layer.{}.output.LayerNorm",
};

constexpr Architecture roberta(std::string_view model_type) {
  Architecture a = kBert;
  a.model_type = model_type;
  a.prefix = "roberta.";
  a.positions_skip_padding = true;
  a.default_padding_idx = 1;
  return a;
}

constexpr Architecture mpnet() {
  Architecture a = roberta("mpnet");
  a.prefix = "mpnet.";
  a.types = "";
  a.attention_bias = "encoder.relative_attention_bias";
  a.q = "encoder.layer.{}.attention.attn.q";
  a.k = "encoder.layer.{}.attention.attn.k";
  a.v = "encoder.layer.{}.attention.attn.v";
  a.attn_out = "encoder.layer.{}.attention.attn.o";
  a.attn_norm = "encoder.layer.{}.attention.LayerNorm";
  return a;
}

constexpr Architecture distilbert() {
  Architecture a = kBert;
  a.model_type = "distilbert";
  a.prefix = "distilbert.";
  a.types = "";
  a.q = "transformer.layer.{}.attention.q_lin";
  a.k = "transformer.layer.{}.attention.k_lin";
  a.v = "transformer.layer.{}.attention.v_lin";
  a.attn_out = "transformer.layer.{}.attention.out_lin";
  a.attn_norm = "transformer.layer.{}.sa_layer_norm";
  a.ffn1 = "transformer.layer.{}.ffn.lin1";
  a.ffn2 = "transformer.layer.{}.ffn.lin2";
  a.ffn_norm = "transformer.layer.{}.output_layer_norm";
  a.key_layers = "n_layers";
  a.key_hidden = "dim";
  a.key_heads = "n_heads";
  a.key_intermediate = "hidden_dim";
  a.key_activation = "activation";
  return a;
}

constexpr std::array kArchitectures{
    kBert, roberta("roberta"), roberta("xlm-roberta"), roberta("camembert"), distilbert(), mpnet()};

std::string refusal(const Json& config) {
  if (!config.is_object()) return "config.json is not a JSON object";
  const auto type = field<std::string>(config, "model_type", "");
  const Architecture* arch = find_encoder_architecture(type);
  if (!arch) {
    std::vector<std::string_view> known;
    for (const auto& a : kArchitectures) known.push_back(a.model_type);
    return fmt::format("model_type \"{}\" has no native description (there is: {})", type,
                       fmt::join(known, ", "));
  }
  if (field(config, "is_decoder", false)) return "is_decoder is true: a decoder, not an encoder";
  if (field(config, "add_cross_attention", false)) return "add_cross_attention is true";
  const auto kind = field<std::string>(config, "position_embedding_type", "absolute");
  if (kind != "absolute")
    return fmt::format("position_embedding_type \"{}\", not \"absolute\"", kind);
  const auto activation = field<std::string>(config, arch->key_activation, "gelu");
  if (!activation_from_name(activation))
    return fmt::format("{} \"{}\" has no kernel", arch->key_activation, activation);
  if (!arch->attention_bias.empty()) {
    const auto buckets = field(config, "relative_attention_num_buckets", kBuckets);
    if (buckets != kBuckets)
      return fmt::format("relative_attention_num_buckets {}, not {}", buckets, kBuckets);
  }
  if (config.contains("quantization_config") && !config["quantization_config"].is_null())
    return "the checkpoint is already quantized (quantization_config)";
  return "";
}

}  // namespace

std::span<const Architecture> encoder_architectures() noexcept { return kArchitectures; }

const Architecture* find_encoder_architecture(std::string_view model_type) noexcept {
  const auto it = std::ranges::find(kArchitectures, model_type, &Architecture::model_type);
  return it == kArchitectures.end() ? nullptr : &*it;
}

std::string why_not_native(const std::string& config_json) {
  return refusal(parse_config(config_json));
}

EncoderShape encoder_shape(const std::string& config_json, const std::string& file) {
  const Json config = parse_config(config_json);
  if (!config.is_object()) throw FormatError(file, "is not a JSON object");
  if (const std::string reason = refusal(config); !reason.empty())
    throw Unsupported(fmt::format("{}: {}; use the module replacement of qeff.integrations instead",
                                  file, reason));
  const Architecture& arch = *find_encoder_architecture(config["model_type"].get<std::string>());
  EncoderShape s;
  s.model_type = arch.model_type;
  s.layers = size_field(config, arch.key_layers, file);
  s.hidden = size_field(config, arch.key_hidden, file);
  s.heads = size_field(config, arch.key_heads, file);
  s.intermediate = size_field(config, arch.key_intermediate, file);
  s.vocab = size_field(config, "vocab_size", file);
  s.positions = size_field(config, "max_position_embeddings", file);
  s.types = arch.types.empty() ? 0 : size_field(config, "type_vocab_size", file);
  s.attention_buckets = arch.attention_bias.empty() ? 0 : kBuckets;
  s.eps = field(config, "layer_norm_eps", static_cast<float>(arch.default_eps));
  s.activation = *activation_from_name(field<std::string>(config, arch.key_activation, "gelu"));
  s.positions_skip_padding = arch.positions_skip_padding;
  s.padding_idx = field(config, "pad_token_id", arch.default_padding_idx);
  if (s.hidden % s.heads != 0)
    throw FormatError(file,
                      fmt::format("{} heads do not divide the hidden size {}", s.heads, s.hidden));
  if (s.padding_idx < 0 ||
      (s.positions_skip_padding && s.positions < static_cast<std::size_t>(s.padding_idx) + 2))
    throw FormatError(
        file, fmt::format("pad_token_id {} does not fit {} positions", s.padding_idx, s.positions));
  return s;
}

std::size_t relative_position_bucket(std::size_t query, std::size_t key,
                                     std::size_t buckets) noexcept {
  const std::size_t half = buckets / 2, exact = half / 2;
  const std::size_t direction = key > query ? half : 0;
  const std::size_t distance = key > query ? key - query : query - key;
  if (distance < exact) return direction + distance;
  constexpr float kMaxDistance = 128;
  const auto e = static_cast<float>(exact);
  const float share = std::log(static_cast<float>(distance) / e) /
                      static_cast<float>(std::log(static_cast<double>(kMaxDistance / e)));
  const auto bucket = exact + static_cast<std::size_t>(share * static_cast<float>(half - exact));
  return direction + std::min(bucket, half - 1);
}

}  // namespace qeff
