/// @file
/// Affine and symmetric quantization of a matrix: a scale and a zero point per tensor, per row or
/// per group of columns of a row. The formulas and their guarantees: quant/affine_grid.hpp.
///
/// This header is the definition; vector code must give the same codes, bit for bit. Rows are
/// independent except per tensor, so a caller may hand stripes of rows to several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/affine_grid.hpp"
#include "qeff/quant/granularity.hpp"
#include "qeff/quant/quantized_matrix.hpp"
#include "qeff/quant/range.hpp"
#include "qeff/quant/read_values.hpp"

namespace qeff {

struct AffineConfig {
  int bits = 8;           ///< Width of a code, 2..8.
  bool is_signed = true;  ///< Two's complement codes; symmetric ones stay in +-(2^(bits-1) - 1).
  bool symmetric = true;  ///< The zero point is the middle of the codes instead of fitted.
  Granularity granularity = Granularity::per_channel;
  std::size_t group_size =
      128;  ///< Columns that share a scale; per_group only. The last may be short.
  RangeMethod range = RangeMethod::minmax;
  double percentile = 99.9;  ///< In (50, 100]; RangeMethod::percentile only.

  [[nodiscard]] constexpr GridShape shape() const noexcept { return {bits, symmetric, is_signed}; }
};

namespace detail {

inline void check(const AffineConfig& config) {
  require(config.bits >= 2 && config.bits <= 8, "quantize_affine: bits must be 2..8, not ",
          config.bits);
  require(config.granularity != Granularity::per_block,
          "quantize_affine: granularity is per_tensor, per_channel or per_group");
  require(config.percentile > 50.0 && config.percentile <= 100.0,
          "quantize_affine: percentile must be in (50, 100], not ", config.percentile);
}

/// An empty result of the right shape.
[[nodiscard]] inline QuantizedMatrix affine_result(std::size_t rows, std::size_t cols,
                                                   const AffineConfig& config) {
  QuantizedMatrix q;
  q.kind = CodeKind::affine;
  q.bits = config.bits;
  q.is_signed = config.is_signed;
  q.rows = rows;
  q.cols = cols;
  q.group_size = columns_per_scale(config.granularity, config.group_size, cols, "quantize_affine");
  q.codes.resize(rows * cols);
  q.scales.resize(rows * q.groups());
  if (!(config.symmetric && config.is_signed)) q.zero_points.resize(rows * q.groups());
  return q;
}

/// Stores group `g` of row `r`: its grid and the codes of its values.
inline void store_group(QuantizedMatrix& q, std::size_t r, std::size_t g, const AffineGrid& grid,
                        std::span<const float> values) noexcept {
  const std::size_t index = r * q.groups() + g;
  q.scales[index] = grid.scale;
  if (!q.zero_points.empty()) q.zero_points[index] = grid.zero_point;
  std::uint8_t* codes = q.codes.data() + r * q.cols + g * q.group_size;
  for (std::size_t i = 0; i < values.size(); ++i)
    codes[i] = static_cast<std::uint8_t>(encode(values[i], grid));
}

/// The one grid of all elements of `w`.
template <class T>
[[nodiscard]] AffineGrid tensor_grid(MatrixView<const T> w, const AffineConfig& config) {
  std::vector<float> row(w.cols);
  std::vector<float> seen;  // min-max: two values are enough; the others need all of them.
  for (std::size_t r = 0; r < w.rows; ++r) {
    read_row(w, r, std::span(row), "quantize_affine");
    if (config.range == RangeMethod::minmax) {
      const Range range = minmax_range(row);
      seen.push_back(range.lo);
      seen.push_back(range.hi);
    } else {
      seen.insert(seen.end(), row.begin(), row.end());
    }
  }
  return fit_values(seen, config.shape(), config.range, config.percentile);
}

}  // namespace detail

/// Quantizes every group of every row of `w`.
/// @tparam T  float, f16_t, bf16_t or anything else that converts to float.
/// @return  Codes, scales and zero points; zero_points is empty for signed symmetric codes, and a
///          per-tensor scale is repeated for each row.
/// @throws InvalidArgument for a config out of range, an empty matrix, and NaN or infinity.
template <class T>
[[nodiscard]] QuantizedMatrix quantize_affine(MatrixView<const T> w, const AffineConfig& config) {
  detail::check(config);
  require_elements(w, "quantize_affine");
  QuantizedMatrix q = detail::affine_result(w.rows, w.cols, config);
  const bool one_grid = config.granularity == Granularity::per_tensor;
  const AffineGrid shared = one_grid ? detail::tensor_grid(w, config) : AffineGrid{};

  std::vector<float> row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    read_row(w, r, std::span(row), "quantize_affine");
    for (std::size_t g = 0; g < q.groups(); ++g) {
      const auto values = group_of(std::span<const float>(row), g, q.group_size);
      const AffineGrid grid =
          one_grid ? shared : fit_values(values, config.shape(), config.range, config.percentile);
      detail::store_group(q, r, g, grid, values);
    }
  }
  return q;
}

}  // namespace qeff
