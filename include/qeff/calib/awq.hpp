/// @file
/// AWQ: scales the input channels that matter up before rounding (and x down by the same factor),
/// then searches how much of each group's range to clip.
///
/// Source: J. Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
/// Acceleration", MLSys 2024, sections 3.2 and 4.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

struct AwqConfig {
  int bits = 4;                  ///< 2..8
  std::size_t group_size = 128;  ///< 0: whole row.
  bool zero_point = true;        ///< Affine; false: symmetric.
  int scale_grid = 20;      ///< Exponents in [0, 1), every second, then next to the best; 0: none.
  bool duo_scaling = true;  ///< s = x^a / w^(1-a) instead of x^a.
  bool clip = true;         ///< Search the clipping of each group after scaling.
  int clip_grid = 20;       ///< Steps of it,
  double max_shrink = 0.5;  ///< down to this share of the range.
};

/// Scales for one group of linears that share an input.
struct AwqScales {
  std::vector<float> scales;  ///< (k), > 0, geometric mean 1: W is multiplied, x divided by it.
  double ratio = 0;           ///< The winning exponent; scales are all 1 if nothing beat that.
  double loss = 0;            ///< Relative output error at it, and
  double loss_unscaled = 0;       ///< without scales.
  std::size_t dead_channels = 0;  ///< Channels with zero activations: their scale is 1.
};

/// @param weights   Matrices (n_i, k) that read the same input.
/// @param hessian   (k, k) mean of x^T x. A candidate's loss is tr(D H D^T), D its weight error.
/// @param mean_abs  (k) mean |x|.
[[nodiscard]] AwqScales awq_scales(std::span<const MatrixView<const float>> weights,
                                   MatrixView<const float> hessian, std::span<const float> mean_abs,
                                   const AwqConfig& config, Executor& executor);

/// Quantizes w * diag(scales) with the clip search, Hessian in the coordinates of the unscaled x.
/// The result's input_scale is empty: the caller decides where 1/scales goes.
[[nodiscard]] QuantizedMatrix awq_quantize(MatrixView<const float> w, std::span<const float> scales,
                                           MatrixView<const float> hessian, const AwqConfig& config,
                                           Executor& executor);

}  // namespace qeff
