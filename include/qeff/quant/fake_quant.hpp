/// @file
/// Quantize and dequantize in one go: the values a model would compute with, as floats.
#pragma once

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/affine.hpp"
#include "qeff/quant/codebook.hpp"
#include "qeff/quant/dequantize.hpp"
#include "qeff/quant/fp8.hpp"

namespace qeff {

/// Quantizes `w` as its kind of config says.
template <class T>
[[nodiscard]] QuantizedMatrix quantize(MatrixView<const T> w, const AffineConfig& config) {
  return quantize_affine(w, config);
}
template <class T>
[[nodiscard]] QuantizedMatrix quantize(MatrixView<const T> w, const CodebookConfig& config) {
  return quantize_codebook(w, config);
}
template <class T>
[[nodiscard]] QuantizedMatrix quantize(MatrixView<const T> w, const Fp8Config& config) {
  return quantize_fp8(w, config);
}

/// out = dequantize(quantize(w, config)); `out` may be `w` itself.
/// @throws InvalidArgument as the quantizer does, and if the shapes differ; then nothing is
/// written.
template <class T, class Config>
void fake_quantize(MatrixView<const T> w, const Config& config, MatrixView<float> out) {
  require(out.rows == w.rows && out.cols == w.cols, "fake_quantize: out has shape (", out.rows,
          ", ", out.cols, "), w (", w.rows, ", ", w.cols, ")");
  dequantize(quantize(w, config), out);
}

}  // namespace qeff
