/// @file
/// Hadamard rotation of attention heads, before keys and values become few bits.
///
/// H / sqrt(b) is orthogonal and symmetric: (H q)(H k) = q k and H(H v) = v, so scores and context stay what they
/// were, while a coordinate that is always large is spread over all b and no longer sets the scale.
/// Source: S. Ashkboos et al., "QuaRot", 2024, section 4 (attention).
#pragma once

#include <cmath>
#include <cstddef>

namespace qeff::nn {

/// x: (heads, head_dim) in place, each head in blocks of the largest power of two that divides head_dim.
/// Done twice it changes nothing but roundings.
inline void rotate_heads(float* x, std::size_t heads, std::size_t head_dim) noexcept {
  const std::size_t block = head_dim & ~(head_dim - 1);
  const float scale = 1.0f / std::sqrt(static_cast<float>(block));
  for (float* const end = x + heads * head_dim; x < end; x += block) {
    for (std::size_t half = 1; half < block; half *= 2)
      for (std::size_t i = 0; i < block; i += 2 * half)
        for (std::size_t j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b, x[j + half] = a - b;
        }
    for (std::size_t i = 0; i < block; ++i) x[i] *= scale;
  }
}

}  // namespace qeff::nn
