/// @file
/// Sixteen rows of a matrix side by side: the unit of work of GPTQ and AWQ.
///
/// Rows are independent of each other, so a panel keeps one column of 16 rows in neighbouring
/// floats and every step of the algorithms is plain arithmetic on such a column.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qeff/core/matrix_view.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/quant/affine_grid.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff::calib {

inline constexpr std::size_t kLanes = 16;

using Lanes = Eigen::Array<float, static_cast<int>(kLanes), 1>;  ///< One column of a panel.
using PanelGrid = std::array<AffineGrid, kLanes>;                ///< The grid of each row of it.

/// The element of a lane; the index types of Eigen stay in here.
inline float& lane(Lanes& values, std::size_t i) { return values(static_cast<Eigen::Index>(i)); }
inline float lane(const Lanes& values, std::size_t i) {
  return values(static_cast<Eigen::Index>(i));
}

[[nodiscard]] inline std::size_t panel_count(std::size_t rows) {
  return (rows + kLanes - 1) / kLanes;
}

/// Columns `columns` of rows [16 panel, 16 panel + 16) of w; rows behind the end are zero.
[[nodiscard]] inline std::vector<Lanes> load_panel(MatrixView<const float> w, std::size_t panel,
                                                   std::span<const std::size_t> columns) {
  std::vector<Lanes> out(columns.size(), Lanes::Zero());
  for (std::size_t i = 0; i < std::min(kLanes, w.rows - panel * kLanes); ++i)
    for (std::size_t p = 0; p < columns.size(); ++p)
      lane(out[p], i) = w(panel * kLanes + i, columns[p]);
  return out;
}

/// target[t] -= sum_j source[j] * factors[j * stride + t]: one step of a triangular update, or a
/// product with a symmetric matrix. The sum runs in the order of j.
inline void subtract_products(std::span<const Lanes> source, const float* factors, std::size_t stride,
                              std::span<Lanes> target) {
  static_assert(sizeof(Lanes) == kLanes * sizeof(float) && kLanes == kernels::kPanel);
  if (source.empty() || target.empty()) return;
  kernels::active().subtract_products(source.front().data(), source.size(), factors, stride, target.front().data(),
                                      target.size());
}

/// Codes of one column of a panel, and the values they stand for.
inline Lanes round_column(const Lanes& values, const PanelGrid& grid,
                          std::array<std::int32_t, kLanes>& codes) {
  Lanes out;
  for (std::size_t i = 0; i < kLanes; ++i) {
    codes[i] = encode(lane(values, i), grid[i]);
    lane(out, i) = decode(codes[i], grid[i]);
  }
  return out;
}

}  // namespace qeff::calib
