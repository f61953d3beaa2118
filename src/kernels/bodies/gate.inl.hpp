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
    with_activation(static_cast<EpilogueActivation>(activation), [&]<EpilogueActivation kActivation>() QEFF_INLINE_LAMBDA {
      rows<kActivation>(x, n, out, m);
    });
  }

 private:
  template <EpilogueActivation kActivation>
  static void rows(const float* x, std::size_t n, float* out, std::size_t m) noexcept {
    for (std::size_t r = 0; r < m; ++r, x += 2 * n, out += n) {
      std::size_t i = 0;
      for (; i + 16 <= n; i += 16)
        S::store(out + i, S::mul(activate<S>(kActivation, S::load(x + i)), S::load(x + n + i)));
      if (const std::size_t left = n - i; left != 0)
        S::store_part(out + i, S::mul(activate<S>(kActivation, S::load_part(x + i, left)), S::load_part(x + n + i, left)), left);
    }
  }
};

}  // namespace qeff::kernels
