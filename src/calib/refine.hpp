/// @file
/// Descent on the loss of a quantized panel: what GPTQ's single pass over the columns leaves.
///
///     loss(row) = e H e^T,  e = w - s (q - z)
///
/// Step one solves for the scale of each group with the codes fixed, step two for each code with
/// everything else fixed. Both are exact one-dimensional minima, so the loss never rises.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "calib/panel.hpp"

namespace qeff::calib {

/// One panel with its columns in natural order.
struct PanelState {
  std::span<const Lanes> weights;                       ///< (k)
  std::vector<std::array<std::int32_t, kLanes>> codes;  ///< (k)
  std::vector<PanelGrid> grids;                         ///< (groups)
  std::size_t group_size = 0;
};

/// The loss of each row under `hessian`, (k, k) symmetric, without `added` on its diagonal.
[[nodiscard]] Lanes panel_loss(const PanelState& state, std::span<const float> hessian,
                               std::span<const float> added);

/// `sweeps` times scales, then codes.
void refine_panel(PanelState& state, std::span<const float> hessian, int sweeps);

}  // namespace qeff::calib
