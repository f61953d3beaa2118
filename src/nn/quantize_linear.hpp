/// @file
/// One linear, or several that share an input and are packed as one, through the quantizer a
/// QuantizationConfig names, with the report on what it did.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/nn/compile_encoder.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff::nn {

/// A weight of the checkpoint as float32.
struct NamedWeight {
  std::string name;           ///< Tensor name without ".weight"
  std::vector<float> values;  ///< (rows, cols)
  std::size_t rows = 0, cols = 0;

  [[nodiscard]] MatrixView<const float> view() const noexcept {
    return {values.data(), rows, cols};
  }
};

/// What calibration saw of the inputs of a linear; empty: there was none.
struct InputStatistics {
  std::vector<float> hessian;   ///< (k, k) mean of x^T x
  std::vector<float> mean_abs;  ///< (k)
  std::vector<float> drift;     ///< (k, k) HessianAccumulator::drift(), or empty: not known.
  bool sampled = false;         ///< Not of calibration tokens: not to be reported.

  [[nodiscard]] bool empty() const noexcept { return hessian.empty(); }
  [[nodiscard]] MatrixView<const float> view() const noexcept {
    return {hessian.data(), mean_abs.size(), mean_abs.size()};
  }
};

struct QuantizedLinear {
  QuantizedMatrix matrix;            ///< Rows of all parts; unused with method none.
  std::vector<float> values;         ///< The same as float with method none.
  std::vector<LayerReport> reports;  ///< One a part.
  kernels::PackedMatrix packed;      ///< As the reports tell it: to be taken, or made anew by pack() after a change.

  [[nodiscard]] kernels::PackedMatrix pack(const QuantizationConfig& config) const;
};

/// What the quantizer is to come near to instead of the weights, where the statistics tell the drift: those that
/// take back error_feedback of the errors of the layers before. Empty: the weights themselves.
[[nodiscard]] std::vector<NamedWeight> corrected(std::span<const NamedWeight> parts, const InputStatistics& inputs,
                                                 const QuantizationConfig& config, Executor& executor);

/// The float weights for the forward pass of calibration: as they are, or in bf16 where the CPU multiplies that.
[[nodiscard]] kernels::PackedMatrix pack_unquantized(std::span<const NamedWeight> parts);

/// Quantizes each part on its own (AWQ: with scales common to all) and stacks the rows.
/// @throws InvalidArgument; Unsupported if strict and something was not done as asked.
[[nodiscard]] QuantizedLinear quantize_linear(std::span<const NamedWeight> parts,
                                              const InputStatistics& inputs,
                                              const QuantizationConfig& config, Executor& executor);

/// Multiplies rows [first, first + factors.size()), and their bias unless there is none: by way of their scales.
void scale_rows(QuantizedMatrix& q, std::span<float> bias, std::size_t first, std::span<const float> factors);

/// The rows of the report after `linear.matrix` has changed.
void report_again(std::span<const NamedWeight> parts, const InputStatistics& inputs, const QuantizationConfig& config,
                  double seconds, QuantizedLinear& linear, Executor& executor);

}  // namespace qeff::nn
