/// @file
/// Scales of groups as bfloat16: half the bytes. A group's scale moves by at most one part in 256, which adds about
/// 3e-6 of the squared weights to an error that 4 bits make a hundredth and 8 bits some 4e-5 of them.
#pragma once

#include <cmath>

#include "qeff/core/minifloat.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

[[nodiscard]] inline float nearest_bf16(float x) noexcept { return to_float<BF16>(to_bits<BF16>(x, false)); }

/// Rounds the scales of `q` to bfloat16 if rows have more than one, and keeps the codes. A scale stays where rounding
/// would make a code infinite.
inline void round_scales(QuantizedMatrix& q) noexcept {
  if (q.groups() == 1) return;
  for (float& scale : q.scales) {
    const float rounded = nearest_bf16(scale);
    if (std::isfinite(rounded * 255.0F)) scale = rounded;
  }
}

}  // namespace qeff
