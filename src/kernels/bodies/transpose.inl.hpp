/// @file
/// 16 registers of 16 lanes, transposed.
#pragma once

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

/// v[i] lane j becomes v[j] lane i. A round interleaves registers 8 apart, which turns the eight bits of register and
/// lane around by one: after four, they have changed places.
template <class S>
QEFF_INLINE void transpose(typename S::I32 (&v)[16]) noexcept {
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    typename S::I32 next[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) S::interleave(v[i], v[i + 8], next[2 * i], next[2 * i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) v[i] = next[i];
  }
}

}  // namespace qeff::kernels
