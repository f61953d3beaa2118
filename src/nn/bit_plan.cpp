#include "nn/bit_plan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "nn/bit_budget.hpp"
#include "nn/decoder_artifact.hpp"
#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::ordered_json;

struct Choice {
  int bits;
  std::size_t group_size;
};
constexpr std::array<Choice, 5> kChoices{{{4, 32}, {4, 64}, {4, 128}, {4, 256}, {8, 128}}};

QuantizationConfig with(const QuantizationConfig& config, int bits, std::size_t group_size) {
  QuantizationConfig recipe = config;
  recipe.bits = bits;
  recipe.group_size = group_size;
  recipe.symmetric = config.symmetric || bits == 8;
  return recipe;
}

/// What pack() makes of (n, k), as the artifact holds it.
std::size_t stored_bytes(const Choice& choice, std::size_t n, std::size_t k, bool input_scale) {
  kernels::PackedView view;
  view.format = choice.bits == 8 ? kernels::WeightFormat::i8 : kernels::WeightFormat::u4;
  view.n = n;
  view.k = k;
  view.group_size = std::min(choice.group_size, k);
  const std::size_t per_scale = (view.groups() > 1 ? sizeof(std::uint16_t) : sizeof(float)) + (choice.bits == 8 ? 0 : 1);
  return view.code_bytes() + view.scale_count() * per_scale + (input_scale ? view.k_padded() * sizeof(float) : 0);
}

/// Costs of all linears, layer by layer; losses empty.
std::vector<BudgetItem> costs(const DecoderShape& shape, const QuantizationConfig& config) {
  std::vector<BudgetItem> items;
  for (std::size_t i = 0; i < shape.layers; ++i)
    for (const auto& [name, n, k, member] : layer_linears(shape)) {
      // The scales of AWQ go into the norm or the gate before, where there is one.
      const bool kept = member == &DecoderLayer::attn_out || (member == &DecoderLayer::down && !shape.gated());
      BudgetItem& item = items.emplace_back();
      for (const Choice& choice : kChoices)
        item.bytes.push_back(stored_bytes(choice, n, k, kept && config.method == Method::awq));
    }
  return items;
}

double weights_of(const DecoderShape& shape) {
  double weights = 0;
  for (const auto& [name, n, k, member] : layer_linears(shape)) weights += static_cast<double>(n * k);
  return weights * static_cast<double>(shape.layers);
}

std::size_t budget_of(const DecoderShape& shape, const QuantizationConfig& config) {
  return static_cast<std::size_t>(std::floor(config.target_bits / 8 * weights_of(shape)));
}

}  // namespace

void check_target_bits(const DecoderShape& shape, const QuantizationConfig& config) {
  std::size_t least = 0, most = 0;
  for (const BudgetItem& item : costs(shape, config)) {
    least += *std::ranges::min_element(item.bytes);
    most += *std::ranges::max_element(item.bytes);
  }
  const double bits = 8 / weights_of(shape);
  const auto hundredths = [&](std::size_t bytes, double up) {
    return std::floor(static_cast<double>(bytes) * bits * 100 + up) / 100;
  };
  require(least <= budget_of(shape, config) && config.target_bits <= static_cast<double>(most) * bits + 0.01, "target_bits is ",
          config.target_bits, "; with scales and zero points the linears of this model take from ",
          hundredths(least, 1), " to ", hundredths(most, 0), " bits a weight");
}

std::vector<QuantizationConfig> choices_of(const QuantizationConfig& config) {
  std::vector<QuantizationConfig> recipes;
  for (const Choice& choice : kChoices) {
    QuantizationConfig& recipe = recipes.emplace_back(with(config, choice.bits, choice.group_size));
    recipe.target_bits = 0;
    recipe.smooth = 0;
  }
  return recipes;
}

BitPlan plan_bits(const DecoderShape& shape, const QuantizationConfig& config,
                  std::span<const Sensitivity> sensitivities) {
  std::vector<BudgetItem> items = costs(shape, config);
  for (std::size_t i = 0; i < items.size(); ++i) items[i].loss = sensitivities[i].loss;
  const std::vector<std::size_t> chosen = choose_within(items, budget_of(shape, config));
  const auto linears = layer_linears(shape);
  BitPlan plan;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Choice& choice = kChoices[chosen[i]];
    plan[layer_entry(i / linears.size(), linears[i % linears.size()].name)] = {choice.bits, choice.group_size,
                                                                                sensitivities[i].divergence};
  }
  return plan;
}

QuantizationConfig planned(const BitPlan& plan, const QuantizationConfig& config, const std::string& entry) {
  if (plan.empty()) return config;
  const PlannedLinear& linear = plan.at(entry);
  return with(config, linear.bits, linear.group_size);
}

Json to_json(const BitPlan& plan) {
  Json json = Json::object();
  for (const auto& [entry, linear] : plan)
    json[entry] = {{"bits", linear.bits}, {"group_size", linear.group_size}, {"divergence", linear.divergence}};
  return json;
}

BitPlan bit_plan_of(const Json& json, const DecoderShape& shape) {
  BitPlan plan;
  try {
    for (std::size_t i = 0; i < shape.layers; ++i)
      for (const auto& [name, n, k, member] : layer_linears(shape)) {
        const Json& linear = json.at(layer_entry(i, name));
        plan[layer_entry(i, name)] = {linear.at("bits"), linear.at("group_size"), linear.at("divergence")};
      }
  } catch (const nlohmann::json::exception&) {
    plan.clear();
  }
  return plan;
}

}  // namespace qeff::nn
