/// @file
/// SmoothQuant for 8-bit activations: channels with large inputs are divided by a scale s that the
/// weights are multiplied with, so that one outlier no longer sets the step of a whole row.
///
///     s_j = (rms(x_j) / geometric mean of the rms)^alpha
///
/// For inputs that come out of a LayerNorm: their channels have a size of their own. After GELU a
/// channel can be small on the sample and large elsewhere, and scaling it up does harm.
/// Source: G. Xiao et al., "SmoothQuant", ICML 2023, section 4; there with max|x| and max|w|.
#pragma once

#include <span>
#include <vector>

#include "nn/quantize_linear.hpp"
#include "qeff/nn/architecture.hpp"
#include "qeff/nn/quantization_config.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::nn {

/// Whether linears of this recipe run on int8 activations and codes wide enough to take the scales.
[[nodiscard]] bool wants_smoothing(const QuantizationConfig& config);

/// Tokens that stand in for calibration where none is given: ids spread over the vocabulary, always
/// the same. Good enough for the size of each channel, not for more.
[[nodiscard]] TokenBatch vocabulary_sample(const EncoderShape& shape);

/// (k) scales, > 0. @pre inputs are not empty
[[nodiscard]] std::vector<float> smoothing_scales(const InputStatistics& inputs, double alpha);

/// The weights times the scales, and the Hessian of the inputs divided by them.
[[nodiscard]] std::vector<NamedWeight> scaled(std::span<const NamedWeight> weights,
                                              std::span<const float> scales);
[[nodiscard]] InputStatistics scaled(const InputStatistics& inputs, std::span<const float> scales);

}  // namespace qeff::nn
