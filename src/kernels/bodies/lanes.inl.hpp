/// @file
/// The 16 lanes at an address, or those of them that are there.
#pragma once

#include <cstddef>

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

/// The first `left` of them if there are fewer than 16; the others are 0.
template <class S>
QEFF_INLINE typename S::F32 load_lanes(const float* p, std::size_t left) noexcept {
  return left >= 16 ? S::load(p) : S::load_part(p, left);
}

/// The others are not written.
template <class S>
QEFF_INLINE void store_lanes(float* p, typename S::F32 v, std::size_t left) noexcept {
  if (left >= 16)
    S::store(p, v);
  else
    S::store_part(p, v, left);
}

}  // namespace qeff::kernels
