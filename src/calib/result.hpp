/// @file
/// The empty result of a calibrated quantizer, and how a panel is written into it.
#pragma once

#include <span>

#include "calib/panel.hpp"
#include "qeff/quant/affine.hpp"

namespace qeff::calib {

/// A matrix of zeros: unsigned codes with zero points, or signed codes without.
[[nodiscard]] inline QuantizedMatrix empty_result(std::size_t rows, std::size_t cols, int bits,
                                                  std::size_t group_size, bool symmetric) {
  AffineConfig config{.bits = bits, .is_signed = symmetric, .symmetric = symmetric};
  config.granularity = group_size == 0 ? Granularity::per_channel : Granularity::per_group;
  config.group_size = group_size;
  return detail::affine_result(rows, cols, config);
}

/// Stores the grids of every group and the codes of every column of a panel.
inline void store_panel(std::size_t panel, std::span<const PanelGrid> grids,
                        std::span<const std::array<std::int32_t, kLanes>> codes,
                        QuantizedMatrix& out) {
  for (std::size_t i = 0; i < std::min(kLanes, out.rows - panel * kLanes); ++i) {
    const std::size_t row = panel * kLanes + i;
    for (std::size_t g = 0; g < grids.size(); ++g) {
      out.scales[row * grids.size() + g] = grids[g][i].scale;
      if (!out.zero_points.empty())
        out.zero_points[row * grids.size() + g] = grids[g][i].zero_point;
    }
    for (std::size_t c = 0; c < codes.size(); ++c)
      out.codes[row * out.cols + c] = static_cast<std::uint8_t>(codes[c][i]);
  }
}

}  // namespace qeff::calib
