/// @file
/// What every quantizer returns: codes, one a byte, and the parameters that turn them into values.
///
/// The common currency between the quantizers (quant/, calib/), the packer (kernels/pack.hpp) and
/// the formats at rest. Shapes: a matrix is (rows, cols) = (out_features, in_features); a group is
/// `group_size` neighbouring columns of one row, the last one of a row may be short.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "qeff/core/dtype.hpp"

namespace qeff {

/// How a code becomes a value.
enum class CodeKind : std::uint8_t {
  affine,    ///< x' = scale * (code - zero_point); codes signed or unsigned integers
  codebook,  ///< x' = scale * codebook[code]; NF4, FP4
  minifloat  ///< x' = scale * decode(code); E4M3, E5M2
};

/// A quantized matrix, shape (rows, cols).
struct QuantizedMatrix {
  CodeKind kind = CodeKind::affine;
  int bits = 8;             ///< Width of a code, 2..8.
  bool is_signed = false;   ///< affine: codes are two's complement in a byte.
  DType float_format = DType::e4m3;  ///< minifloat: e4m3 or e5m2.
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t group_size = 0;  ///< Columns that share a scale, >= 1; `cols` is per channel.

  std::vector<std::uint8_t> codes;        ///< (rows, cols)
  std::vector<float> scales;              ///< (rows, groups()); > 0
  std::vector<std::int32_t> zero_points;  ///< (rows, groups()), in code units; empty: all zero
  std::array<float, 16> codebook{};       ///< codebook: ascending values in [-1, 1]
  std::vector<float> input_scale;         ///< (cols) or empty: y = W' (x * input_scale), as AWQ needs

  [[nodiscard]] std::size_t groups() const noexcept { return (cols + group_size - 1) / group_size; }
  [[nodiscard]] std::size_t group_index(std::size_t row, std::size_t col) const noexcept {
    return row * groups() + col / group_size;
  }
  /// Bytes at rest: codes without gaps, float scales, a byte for each zero point.
  [[nodiscard]] std::size_t nbytes() const noexcept {
    const std::size_t codebook_bytes = kind == CodeKind::codebook ? sizeof(codebook) : 0;
    return (codes.size() * static_cast<std::size_t>(bits) + 7) / 8 + zero_points.size() +
           (scales.size() + input_scale.size()) * sizeof(float) + codebook_bytes;
  }
  /// The code of one element as an integer. @pre kind is affine or codebook
  [[nodiscard]] std::int32_t code(std::size_t row, std::size_t col) const noexcept {
    const std::uint8_t byte = codes[row * cols + col];
    return is_signed ? static_cast<std::int8_t>(byte) : byte;
  }
};

}  // namespace qeff
