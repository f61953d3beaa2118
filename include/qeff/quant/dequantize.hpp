/// @file
/// From codes back to values, for every kind of QuantizedMatrix: the formulas of CodeKind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

namespace detail {

/// What a code is worth before scale and zero point, for all 256 bytes.
[[nodiscard]] inline std::array<float, 256> code_values(const QuantizedMatrix& q) noexcept {
  std::array<float, 256> values{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(i);
    switch (q.kind) {
      case CodeKind::affine:
        values[i] = q.is_signed ? static_cast<float>(static_cast<std::int8_t>(byte))
                                : static_cast<float>(byte);
        break;
      case CodeKind::codebook:
        values[i] = q.codebook[i % q.codebook.size()];
        break;
      case CodeKind::minifloat:
        values[i] = q.float_format == DType::e5m2 ? to_float<E5M2>(byte) : to_float<E4M3>(byte);
        break;
    }
  }
  return values;
}

/// Throws InvalidArgument unless the arrays of `q` have the sizes its shape asks for.
inline void check_consistent(const QuantizedMatrix& q, const char* who) {
  require(q.group_size > 0, who, ": group_size must be at least 1, not 0");
  const std::size_t groups = q.rows * q.groups();
  require(q.codes.size() == q.rows * q.cols, who, ": ", q.codes.size(), " codes for shape (",
          q.rows, ", ", q.cols, ")");
  require(q.scales.size() == groups, who, ": ", q.scales.size(), " scales for ", groups, " groups");
  require(q.zero_points.empty() || q.zero_points.size() == groups, who, ": ", q.zero_points.size(),
          " zero points for ", groups, " groups");
}

}  // namespace detail

/// Writes the values `q` stands for to `out`, (rows, cols) with any strides. input_scale is not
/// applied: it belongs to the activations.
/// @throws InvalidArgument if `out` has another shape or `q` contradicts itself.
inline void dequantize(const QuantizedMatrix& q, MatrixView<float> out) {
  detail::check_consistent(q, "dequantize");
  require(out.rows == q.rows && out.cols == q.cols, "dequantize: out has shape (", out.rows, ", ",
          out.cols, "), the matrix (", q.rows, ", ", q.cols, ")");
  const std::array<float, 256> values = detail::code_values(q);
  for (std::size_t r = 0; r < q.rows; ++r) {
    for (std::size_t c = 0; c < q.cols; ++c) {
      const std::size_t group = q.group_index(r, c);
      const float zero = q.zero_points.empty() ? 0.0f : static_cast<float>(q.zero_points[group]);
      out(r, c) = q.scales[group] * (values[q.codes[r * q.cols + c]] - zero);
    }
  }
}

}  // namespace qeff
