/// @file
/// The middle of a gated feed-forward block: activation(gate) * up. See KernelTable::gate.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/epilogue.inl.hpp"

namespace qeff::kernels {

template <class S>
struct Gate {
  static void run(const float* x, std::size_t n, std::uint8_t activation, float* out, std::size_t m) noexcept {
    const auto f = static_cast<EpilogueActivation>(activation);
    for (std::size_t r = 0; r < m; ++r, x += 2 * n, out += n)
      for (std::size_t i = 0; i < n; i += 16) {
        const std::size_t left = n - i;
        const auto load = [&](const float* p) QEFF_INLINE_LAMBDA { return left >= 16 ? S::load(p) : S::load_part(p, left); };
        const auto v = S::mul(activate<S>(f, load(x + i)), load(x + n + i));
        if (left >= 16)
          S::store(out + i, v);
        else
          S::store_part(out + i, v, left);
      }
  }
};

}  // namespace qeff::kernels
