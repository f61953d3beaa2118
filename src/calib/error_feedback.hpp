/// @file
/// Weights that make up for what the quantized layers before them did to their input.
///
///     W~ = W + share W mean((x_float - x) x^T) (H + damping)^-1
///
/// With share 1 and no damping W~ x is the best linear estimate of W x_float: a quantizer that then keeps W~ x
/// also takes back errors of the layers before. Smaller shares trust the calibration tokens less.
///
/// Source: Y. Arai and Y. Ichikawa, "Quantization Error Propagation: Revisiting Layer-Wise Post-Training
/// Quantization", 2025, section 4; J. Li et al., "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric
/// Calibration", 2025, has the same aim column by column.
#pragma once

#include <vector>

#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff::calib {

/// @param w (n, k). @param hessian (k, k). @param drift HessianAccumulator::drift(), (k, k).
/// @return (n, k), w itself where the Hessian cannot be factored. Same bytes for any number of threads.
[[nodiscard]] std::vector<float> fed_back(MatrixView<const float> w, MatrixView<const float> hessian,
                                          MatrixView<const float> drift, double share, double damp_percent,
                                          Executor& executor);

}  // namespace qeff::calib
