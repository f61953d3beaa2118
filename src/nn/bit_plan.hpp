/// @file
/// Bits and groups of each linear of a decoder under QuantizationConfig::target_bits.
///
/// Choices: 4 bits in groups of 32, 64, 128 or 256, and 8 bits, symmetric, in groups of 128. Fewer than 4
/// bits are stored in 4, 5 to 7 in 8: they would cost accuracy and save nothing. Budget and result
/// count what is stored: codes, scales, a byte for each zero point, scales of inputs.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "nn/sensitivity.hpp"
#include "qeff/nn/decoder_architecture.hpp"
#include "qeff/nn/quantization_config.hpp"

namespace qeff::nn {

struct PlannedLinear {
  int bits = 0;
  std::size_t group_size = 0;
  double divergence = 0;  ///< Sensitivity::divergence
};

/// By layer_entry(); empty: all as the config says.
using BitPlan = std::map<std::string, PlannedLinear>;

/// @throws InvalidArgument naming the bits that can be had, if target_bits is not among them.
void check_target_bits(const DecoderShape& shape, const QuantizationConfig& config);

/// The choices, for measure_sensitivity().
[[nodiscard]] std::vector<QuantizationConfig> choices_of(const QuantizationConfig& config);
/// Which of them is 4 bits in groups of 64.
inline constexpr std::size_t kReferenceChoice = 1;

/// The plan of least loss within target_bits.
[[nodiscard]] BitPlan plan_bits(const DecoderShape& shape, const QuantizationConfig& config,
                                std::span<const Sensitivity> sensitivities);

/// The config for one linear. @pre plan is empty or has the entry
[[nodiscard]] QuantizationConfig planned(const BitPlan& plan, const QuantizationConfig& config, const std::string& entry);

[[nodiscard]] nlohmann::ordered_json to_json(const BitPlan& plan);
/// Empty unless it is the plan of a model of this shape.
[[nodiscard]] BitPlan bit_plan_of(const nlohmann::ordered_json& json, const DecoderShape& shape);

}  // namespace qeff::nn
