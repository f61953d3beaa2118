#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>
#include <vector>

#include "nn/config_fields.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "qeff/nn/decoder_architecture.hpp"

namespace qeff {
namespace {

using nn::field;
using nn::Json;

constexpr std::size_t kMost = 1 << 14;  // layers, heads, dimensions of a head

/// The key among several names for the same thing that this config has, or the first.
std::string_view key_of(const Json& config, std::initializer_list<std::string_view> keys) {
  for (const auto key : keys)
    if (config.contains(key) && !config[key].is_null()) return key;
  return *keys.begin();
}

/// rope_parameters as transformers 5 writes them, or rope_theta and rope_scaling of before.
Json rope_json(const Json& config, std::string_view layer_type) {
  Json rope = Json::object();
  if (config.contains("rope_scaling") && config["rope_scaling"].is_object())
    rope = config["rope_scaling"];
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object())
    rope = config["rope_parameters"];
  if (rope.contains(layer_type) && rope[layer_type].is_object()) return rope[layer_type];
  if (layer_type == "sliding_attention" && config.contains("rope_local_base_freq"))
    return {{"rope_theta", config["rope_local_base_freq"]}};
  if (!rope.contains("rope_theta"))
    rope["rope_theta"] = config.value(key_of(config, {"rope_theta", "rotary_emb_base"}), 10000.0);
  return rope;
}

std::string rope_type(const Json& rope) {
  return field<std::string>(rope, key_of(rope, {"rope_type", "type"}), "default");
}

std::string rope_refusal(const Json& rope) {
  const std::string type = rope_type(rope);
  for (const char* known : {"default", "linear", "llama3", "yarn"})
    if (type == known) return "";
  return fmt::format("rotary embedding of type \"{}\" has no native form", type);
}

RopeShape rope_shape(const Json& json, const DecoderShape& s) {
  RopeShape rope;
  rope.theta = field(json, "rope_theta", rope.theta);
  const std::string type = rope_type(json);
  if (type == "default") return rope;
  rope.scaling = type == "linear"   ? RopeScaling::linear
                 : type == "llama3" ? RopeScaling::llama3
                                    : RopeScaling::yarn;
  rope.factor = field(json, "factor", 1.0);
  rope.low_freq_factor = field(json, "low_freq_factor", rope.low_freq_factor);
  rope.high_freq_factor = field(json, "high_freq_factor", rope.high_freq_factor);
  rope.beta_fast = field(json, "beta_fast", rope.beta_fast);
  rope.beta_slow = field(json, "beta_slow", rope.beta_slow);
  rope.truncate = field(json, "truncate", true);
  rope.original_positions =
      field(json, "original_max_position_embeddings", static_cast<double>(s.positions));
  if (rope.scaling == RopeScaling::yarn) {
    const auto mscale = [&](double weight) {
      return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1.0;
    };
    const double a = field(json, "mscale", 0.0), b = field(json, "mscale_all_dim", 0.0);
    rope.attention_factor =
        field(json, "attention_factor", a != 0 && b != 0 ? mscale(a) / mscale(b) : mscale(1));
  }
  return rope;
}

/// "full_attention" or "sliding_attention" of each layer.
std::vector<std::string> layer_types(const Json& config, const DecoderShape& s) {
  if (config.contains("layer_types") && config["layer_types"].is_array()) {
    std::vector<std::string> types;
    for (const Json& type : config["layer_types"])
      types.push_back(type.is_string() ? type.get<std::string>() : "");
    return types;
  }
  std::vector<std::string> types(s.layers, "full_attention");
  const auto slide = [&](auto&& slides) {
    for (std::size_t i = 0; i < s.layers; ++i)
      if (slides(i)) types[i] = "sliding_attention";
  };
  const std::size_t first = field(config, "max_window_layers", std::size_t{0});
  const std::size_t pattern =
      std::max<std::size_t>(1, field(config, "sliding_window_pattern", std::size_t{6}));
  if (s.model_type == "mistral" || s.model_type == "phi3") slide([](std::size_t) { return true; });
  if (s.model_type == "gemma2") slide([](std::size_t i) { return i % 2 == 0; });
  if (s.model_type == "gemma3_text") slide([&](std::size_t i) { return (i + 1) % pattern != 0; });
  if (field(config, "use_sliding_window", false)) slide([&](std::size_t i) { return i >= first; });
  return types;
}

/// Windows, rotary embeddings and where they are left out.
void read_layers(const Json& config, DecoderShape& s, const std::string& file) {
  const auto types = layer_types(config, s);
  if (types.size() != s.layers)
    throw FormatError(file, fmt::format("layer_types has {} entries for {} layers", types.size(),
                                        s.layers));
  const std::size_t window = field(config, "sliding_window", std::size_t{0});
  const Json none = Json::array();
  const Json& without = config.contains("no_rope_layers") && config["no_rope_layers"].is_array()
                            ? config["no_rope_layers"]
                            : none;
  for (std::size_t i = 0; i < s.layers; ++i) {
    DecoderLayerShape layer;
    if (types[i] == "sliding_attention") layer.window = window;
    const RopeShape rope = rope_shape(rope_json(config, types[i]), s);
    layer.rope = static_cast<std::size_t>(std::ranges::find(s.ropes, rope) - s.ropes.begin());
    if (layer.rope == s.ropes.size()) s.ropes.push_back(rope);
    layer.rotary = s.architecture().rotary && (i >= without.size() || without[i] != 0);
    s.layer.push_back(layer);
  }
}

std::string missing_term(const Json& c, const std::string& type) {
  if (type == "gpt2" && !field(c, "scale_attn_weights", true)) return "scale_attn_weights is false";
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention",
                          "_remove_final_layer_norm", "use_bidirectional_attention"})
    if (field(c, key, false)) return fmt::format("{} is true", key);
  if (!field(c, "do_layer_norm_before", true)) return "do_layer_norm_before is false";
  if (c.contains("word_embed_proj_dim") && c["word_embed_proj_dim"] != c.value("hidden_size", Json()))
    return "word_embed_proj_dim is not the hidden size";
  return "";
}

std::string refusal(const Json& c) {
  if (!c.is_object()) return "config.json is not a JSON object";
  const auto type = field<std::string>(c, "model_type", "");
  const DecoderArchitecture* arch = find_decoder_architecture(type);
  if (!arch) {
    std::vector<std::string_view> known;
    for (const auto& a : decoder_architectures()) known.push_back(a.model_type);
    return fmt::format("model_type \"{}\" has no native decoder (there is: {})", type,
                       fmt::join(known, ", "));
  }
  const auto key = key_of(c, {"hidden_activation", "hidden_act", "activation_function"});
  const auto activation = field<std::string>(c, key, std::string(arch->activation));
  if (!nn::activation_from_name(activation)) return fmt::format("{} \"{}\" has no kernel", key, activation);
  if (c.contains("quantization_config") && !c["quantization_config"].is_null())
    return "the checkpoint is already quantized (quantization_config)";
  if (const auto term = missing_term(c, type); !term.empty()) return term;
  for (const char* layer : {"full_attention", "sliding_attention"})
    if (const auto reason = rope_refusal(rope_json(c, layer)); arch->rotary && !reason.empty()) return reason;
  return "";
}

void read_sizes(const Json& c, DecoderShape& s, const std::string& file) {
  const auto size = [&](std::initializer_list<std::string_view> keys) {
    return nn::size_field(c, key_of(c, keys), file);
  };
  s.layers = size({"num_hidden_layers", "n_layer"});
  s.hidden = size({"hidden_size", "n_embd"});
  s.heads = size({"num_attention_heads", "n_head"});
  s.kv_heads = c.contains("num_key_value_heads") && !c["num_key_value_heads"].is_null()
                   ? size({"num_key_value_heads"})
                   : s.heads;
  s.vocab = size({"vocab_size"});
  s.positions = size({"max_position_embeddings", "n_positions", "n_ctx"});
  const auto inner = key_of(c, {"intermediate_size", "n_inner", "ffn_dim"});
  s.intermediate = c.contains(inner) && !c[inner].is_null() ? size({inner}) : 4 * s.hidden;
  const bool stated = c.contains("head_dim") && !c["head_dim"].is_null();
  if (!stated && s.hidden % s.heads != 0)
    throw FormatError(file, fmt::format("{} heads do not divide the hidden size {}", s.heads, s.hidden));
  s.head_dim = stated ? size({"head_dim"}) : s.hidden / s.heads;
  for (const auto& [what, value] : {std::pair{"layers", s.layers}, {"heads", s.heads}, {"head dimensions", s.head_dim}})
    if (value > kMost) throw FormatError(file, fmt::format("{} {} are more than {}", value, what, kMost));
  if (s.heads % s.kv_heads != 0)
    throw FormatError(file, fmt::format("{} key/value heads do not divide {} heads", s.kv_heads, s.heads));
}

}  // namespace

std::string why_no_native_causal_lm(const std::string& config_json) {
  return refusal(nn::parse_config(config_json));
}

DecoderShape decoder_shape(const std::string& config_json, const std::string& file) {
  const Json c = nn::parse_config(config_json);
  if (!c.is_object()) throw FormatError(file, "is not a JSON object");
  if (const std::string reason = refusal(c); !reason.empty())
    throw Unsupported(fmt::format("{}: {}", file, reason));
  DecoderShape s;
  const DecoderArchitecture& arch = *find_decoder_architecture(c["model_type"].get<std::string>());
  s.model_type = arch.model_type;
  read_sizes(c, s, file);
  s.eps = static_cast<float>(field(
      c, key_of(c, {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"}), arch.eps));
  s.activation = *nn::activation_from_name(
      field<std::string>(c, key_of(c, {"hidden_activation", "hidden_act", "activation_function"}),
                         std::string(arch.activation)));
  s.tied = field(c, "tie_word_embeddings", arch.tied);
  s.parallel = s.model_type == "gpt_neox" && field(c, "use_parallel_residual", true);
  const Json rope = rope_json(c, "full_attention");
  const double part = field(rope, "partial_rotary_factor",
                            field(c, key_of(c, {"partial_rotary_factor", "rotary_pct"}),
                                  s.model_type == "gpt_neox" ? 0.25 : 1.0));
  s.rotary_dim = static_cast<std::size_t>(static_cast<double>(s.head_dim) * part) / 2 * 2;
  if (arch.rotary && (s.rotary_dim == 0 || s.rotary_dim > s.head_dim))
    throw FormatError(file, fmt::format("partial_rotary_factor {} of {} dimensions", part, s.head_dim));
  if (s.model_type.starts_with("gemma"))
    s.embedding_scale = std::sqrt(static_cast<float>(s.hidden));
  s.attention_scale = static_cast<float>(
      1 / std::sqrt(field(c, "query_pre_attn_scalar", static_cast<double>(s.head_dim))));
  s.attention_softcap = field(c, "attn_logit_softcapping", 0.0f);
  s.logit_softcap = field(c, "final_logit_softcapping", 0.0f);
  read_layers(c, s, file);
  return s;
}

std::vector<double> rope_frequencies(const RopeShape& rope, std::size_t rotary_dim) {
  constexpr double kTwoPi = 6.283185307179586;
  const auto dim = static_cast<double>(rotary_dim);
  // Dimension whose wavelength goes `turns` times into the original context.
  const auto dimension = [&](double turns) {
    return dim * std::log(rope.original_positions / (turns * kTwoPi)) / (2 * std::log(rope.theta));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<double> frequencies(rotary_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double f = std::pow(rope.theta, -2.0 * static_cast<double>(i) / dim);
    const double slow = f / rope.factor;
    double part = 0;  // of f, the rest is slow
    if (rope.scaling == RopeScaling::none) part = 1;
    if (rope.scaling == RopeScaling::llama3)
      part = std::clamp((rope.original_positions * f / kTwoPi - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    if (rope.scaling == RopeScaling::yarn)
      part = 1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = part * f + (1 - part) * slow;
  }
  return frequencies;
}

}  // namespace qeff
