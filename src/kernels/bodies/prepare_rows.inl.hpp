/// @file
/// Rows of x to the form the tiles read: quantized to int8, rounded to bf16, or copied; padded with zeros
/// to a multiple of 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::kernels {

template <class S>
class PrepareRows {
  using F32 = typename S::F32;

 public:
  static std::size_t row_bytes(Activations mode, std::size_t k_padded) noexcept {
    if (mode == Activations::int8) return k_padded * sizeof(typename S::ActI8);
    return k_padded * (mode == Activations::bf16 && S::kBf16 ? 2 : 4);
  }

  static void run(Activations mode, const float* x, std::size_t x_stride, std::size_t m, std::size_t k,
                  const float* input_scale, std::byte* a, float* a_scales) noexcept {
    const std::size_t k_padded = (k + kTileK - 1) / kTileK * kTileK;
    const std::size_t bytes = row_bytes(mode, k_padded);
    for (std::size_t r = 0; r < m; ++r) {
      const float* row = x + r * x_stride;
      std::byte* out = a + r * bytes;
      if (mode == Activations::int8)
        a_scales[r] = quantize(row, k, k_padded, input_scale, out);
      else
        copy(mode, row, k, k_padded, input_scale, out);
    }
  }

 private:
  /// 16 values from index i, zeros beyond k. @pre input_scale is padded to k_padded
  QEFF_INLINE static F32 values(const float* x, std::size_t i, std::size_t k, const float* input_scale) noexcept {
    const F32 v = i + 16 <= k ? S::load(x + i) : i < k ? S::load_part(x + i, k - i) : S::set1(0.0f);
    return input_scale != nullptr ? S::mul(v, S::load(input_scale + i)) : v;
  }

  /// Returns the scale max|x| / 127 (1 for zeros). A row with NaN or Inf gets scale NaN and codes 0, so
  /// that its outputs are NaN and never plausible numbers.
  static float quantize(const float* x, std::size_t k, std::size_t k_padded, const float* input_scale,
                        std::byte* out) noexcept {
    F32 most = S::set1(0.0f), poison = S::set1(0.0f);
    for (std::size_t i = 0; i < k; i += 16) {
      const F32 v = values(x, i, k, input_scale);
      most = S::max(most, Math<S>::abs(v));
      poison = S::fma(v, S::set1(0.0f), poison);  // NaN once any value is NaN or Inf
    }
    auto* codes = reinterpret_cast<typename S::ActI8*>(out);
    const float max = S::max_lane(most), poisoned = S::sum(poison);
    const bool finite = poisoned == 0.0f;
    const float scale = max > 0.0f ? max / 127.0f : 1.0f;
    // A denormal maximum makes 127 / max infinite: such a row rounds to zeros.
    const float inverse = finite && scale >= 0x1p-126f ? 1.0f / scale : 0.0f;
    for (std::size_t i = 0; i < k_padded; i += 16) {
      const F32 v = finite ? values(x, i, k, input_scale) : S::set1(0.0f);
      const F32 limited = S::min(S::max(S::mul(v, S::set1(inverse)), S::set1(-127.0f)), S::set1(127.0f));
      S::store_act(codes + i, S::round(limited));
    }
    return finite ? scale : __builtin_nanf("");
  }

  static void copy(Activations mode, const float* x, std::size_t k, std::size_t k_padded,
                   const float* input_scale, std::byte* out) noexcept {
    for (std::size_t i = 0; i < k_padded; i += 16) {
      F32 v = values(x, i, k, input_scale);
      if (mode == Activations::bf16) v = Math<S>::round_bf16(v);
      if (S::kBf16 && mode == Activations::bf16) {
        alignas(64) std::int32_t bits[16];
        S::store(bits, S::as_i32(v));
        auto* half = reinterpret_cast<std::uint16_t*>(out) + i;
        for (int j = 0; j < 16; ++j) half[j] = static_cast<std::uint16_t>(static_cast<std::uint32_t>(bits[j]) >> 16);
      } else {
        S::store(reinterpret_cast<float*>(out) + i, v);
      }
    }
  }
};

}  // namespace qeff::kernels
