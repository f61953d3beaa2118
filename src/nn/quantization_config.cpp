#include "qeff/nn/quantization_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;
using kernels::Activations;

constexpr std::array<std::string_view, 7> kMethods{"none", "affine", "codebook", "fp8",
                                                   "gptq", "awq",    "autoround"};
constexpr std::array<std::string_view, 3> kActivations{"int8", "bf16", "f32"};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, changed});
    }
  }
  return row[b.size()];
}

template <class Names>
std::size_t index_of(std::string_view what, std::string_view text, const Names& names) {
  const auto it = std::ranges::find(names, text);
  if (it != std::end(names)) return static_cast<std::size_t>(it - std::begin(names));
  const auto closest = *std::ranges::min_element(
      names, {}, [&](std::string_view n) { return edit_distance(n, text); });
  throw InvalidArgument(fmt::format("{} \"{}\" is unknown; did you mean \"{}\"? There is: {}", what,
                                    text, closest, fmt::join(names, ", ")));
}

/// Calls visit(key, field) for every key of the flat form, in the order it is written.
template <class Config, class Visit>
void for_each_field(Config& c, Visit&& visit) {
  visit("bits", c.bits);
  visit("group_size", c.group_size);
  visit("target_bits", c.target_bits);
  visit("per_tensor", c.per_tensor);
  visit("symmetric", c.symmetric);
  visit("range", c.range);
  visit("percentile", c.percentile);
  visit("smooth", c.smooth);
  visit("codebook", c.codebook);
  visit("double_quant", c.double_quant);
  visit("fp8_format", c.fp8_format);
  visit("desc_act", c.gptq.desc_act);
  visit("group_aware", c.gptq.group_aware);
  visit("static_groups", c.gptq.static_groups);
  visit("damp_percent", c.gptq.damp_percent);
  visit("range_grid", c.gptq.range_grid);
  visit("refine_sweeps", c.gptq.refine_sweeps);
  visit("scale_grid", c.awq.scale_grid);
  visit("duo_scaling", c.awq.duo_scaling);
  visit("clip", c.awq.clip);
  visit("clip_grid", c.awq.clip_grid);
  visit("max_shrink", c.awq.max_shrink);
  visit("iters", c.autoround.iters);
  visit("batch_size", c.autoround.batch_size);
  visit("lr", c.autoround.lr);
  visit("minmax_lr", c.autoround.minmax_lr);
  visit("momentum", c.autoround.momentum);
  visit("embedding_bits", c.embedding_bits);
  visit("propagate", c.propagate);
  visit("error_feedback", c.error_feedback);
  visit("feedback_tokens", c.feedback_tokens);
  visit("strict", c.strict);
}

[[noreturn]] void wrong_type(std::string_view key, const Json& value, std::string_view wanted) {
  throw InvalidArgument(fmt::format("\"{}\" is {}, not {}", key, value.dump(), wanted));
}

void assign(std::string_view key, const Json& value, bool& field) {
  if (!value.is_boolean()) wrong_type(key, value, "true or false");
  field = value.get<bool>();
}
void assign(std::string_view key, const Json& value, int& field) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0 ||
      value.get<std::int64_t>() > 1 << 20)
    wrong_type(key, value, "an integer from 0 to 1048576");
  field = value.get<int>();
}
void assign(std::string_view key, const Json& value, std::size_t& field) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < -1)
    wrong_type(key, value, "a positive integer (-1 or 0: no groups)");
  field = static_cast<std::size_t>(std::max<std::int64_t>(value.get<std::int64_t>(), 0));
}
void assign(std::string_view key, const Json& value, double& field) {
  if (!value.is_number()) wrong_type(key, value, "a number");
  field = value.get<double>();
}
void assign(std::string_view key, const Json& value, std::string& field) {
  if (!value.is_string()) wrong_type(key, value, "a string");
  field = value.get<std::string>();
}

/// What each method starts from, before the keys are read.
QuantizationConfig defaults(Method method) {
  QuantizationConfig c;
  c.method = method;
  if (c.needs_calibration()) {
    c.bits = 4;
    c.group_size = 128;
    c.symmetric = false;
  }
  if (method == Method::codebook) {
    c.bits = 4;
    c.group_size = 64;
  }
  return c;
}

}  // namespace

std::string_view name(Method method) noexcept { return kMethods[static_cast<std::size_t>(method)]; }

QuantizationConfig quantization_config_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  require(json.is_object(), "a quantization config is a JSON object, not ", text.substr(0, 80));
  std::string method = "affine";
  if (json.contains("method")) assign("method", json["method"], method);
  auto config = defaults(static_cast<Method>(index_of("method", method, kMethods)));
  std::vector<std::string_view> known{"method", "activations"};
  for_each_field(config, [&](std::string_view key, auto& field) {
    known.push_back(key);
    if (const auto it = json.find(key); it != json.end() && !it->is_null()) assign(key, *it, field);
  });
  for (const auto& [key, value] : json.items()) (void)index_of("quantization option", key, known);
  if (const auto it = json.find("activations"); it != json.end() && !it->is_null()) {
    std::string activations;
    assign("activations", *it, activations);
    config.activations =
        static_cast<Activations>(index_of("activations", activations, kActivations));
  }
  validate(config);
  return config;
}

std::string to_json(const QuantizationConfig& config) {
  auto json = nlohmann::ordered_json::object();
  json["method"] = name(config.method);
  for_each_field(config, [&](const char* key, const auto& field) { json[key] = field; });
  if (config.activations)
    json["activations"] = kActivations[static_cast<std::size_t>(*config.activations)];
  return json.dump();
}

void validate(const QuantizationConfig& c) {
  if (c.method == Method::none) {
    require(
        c.activations != Activations::int8,
        "method \"none\" keeps float weights: activations are \"f32\" or \"bf16\", not \"int8\"");
  }
  require(c.method == Method::none || c.activations != Activations::f32, "activations \"f32\" go with method \"none\"; \"",
          name(c.method), "\" has \"bf16\" and \"int8\"");
  require(c.bits >= 2 && c.bits <= 8, "bits is ", c.bits, ", not in 2..8");
  require(c.target_bits == 0 || (c.target_bits >= 4 && c.target_bits <= 9), "target_bits is ", c.target_bits,
          ", not in 4..9 (0: the same bits for all)");
  require(c.target_bits == 0 || c.method == Method::affine || c.method == Method::gptq || c.method == Method::awq,
          "target_bits does not go with method \"", name(c.method), "\": methods that choose bits are affine, gptq and awq");
  require(c.target_bits == 0 || !c.per_tensor, "target_bits chooses groups: per_tensor does not go with it");
  require(c.embedding_bits == 8 || c.embedding_bits == 32, "embedding_bits is ", c.embedding_bits,
          ", not 8 or 32");
  require(c.percentile > 50 && c.percentile <= 100, "percentile is ", c.percentile,
          ", not in (50, 100]");
  require(c.smooth >= 0 && c.smooth <= 1, "smooth is ", c.smooth, ", not in [0, 1]");
  require(c.gptq.damp_percent > 0 && c.gptq.damp_percent < 1, "damp_percent is ",
          c.gptq.damp_percent, ", not in (0, 1)");
  require(c.error_feedback >= 0 && c.error_feedback <= 1, "error_feedback is ", c.error_feedback, ", not in [0, 1]");
  require(c.awq.max_shrink > 0 && c.awq.max_shrink < 1, "max_shrink is ", c.awq.max_shrink,
          ", not in (0, 1)");
  require(c.autoround.iters >= 1, "iters is 0, not at least 1");
  require(c.autoround.batch_size >= 1, "batch_size is 0, not at least 1");
  require(c.autoround.lr >= 0 && c.autoround.lr <= 1, "lr is ", c.autoround.lr, ", not in [0, 1]");
  require(c.autoround.minmax_lr >= 0 && c.autoround.minmax_lr <= 1, "minmax_lr is ",
          c.autoround.minmax_lr, ", not in [0, 1]");
  require(c.autoround.momentum >= 0 && c.autoround.momentum < 1, "momentum is ",
          c.autoround.momentum, ", not in [0, 1)");
  (void)index_of("range", c.range, std::array<std::string_view, 3>{"minmax", "percentile", "mse"});
  (void)index_of("codebook", c.codebook, std::array<std::string_view, 2>{"nf4", "fp4"});
  (void)index_of("fp8_format", c.fp8_format, std::array<std::string_view, 2>{"e4m3", "e5m2"});
  require(!c.per_tensor || c.group_size == 0, "per_tensor has one scale: group_size ", c.group_size,
          " does not go with it");
  if (c.method == Method::fp8)
    require(c.group_size == 0 || c.group_size == 128,
            "fp8 has group_size 0 (per channel) or 128 (blocks), not ", c.group_size);
}

}  // namespace qeff
