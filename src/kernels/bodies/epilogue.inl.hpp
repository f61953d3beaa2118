/// @file
/// From sums to y: bias, activation, residual, store.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// Mirrors qeff::Activation, which per-ISA code does not include.
enum class EpilogueActivation : std::uint8_t { none, relu, gelu, gelu_tanh, silu };

template <class S>
QEFF_INLINE typename S::F32 activate(EpilogueActivation f, typename S::F32 v) noexcept {
  switch (f) {
    case EpilogueActivation::none: return v;
    case EpilogueActivation::relu: return S::max(S::set1(0.0f), v);  // in this order NaN stays NaN
    case EpilogueActivation::gelu: return Math<S>::gelu(v);
    case EpilogueActivation::gelu_tanh: return Math<S>::gelu_tanh(v);
    case EpilogueActivation::silu: return Math<S>::silu(v);
  }
  return v;
}

/// Calls use.operator()<f>(), with f known to the compiler.
template <class Use>
QEFF_INLINE void with_activation(EpilogueActivation f, Use&& use) noexcept {
  using enum EpilogueActivation;
  switch (f) {
    case none: return use.template operator()<none>();
    case relu: return use.template operator()<relu>();
    case gelu: return use.template operator()<gelu>();
    case gelu_tanh: return use.template operator()<gelu_tanh>();
    case silu: return use.template operator()<silu>();
  }
}

/// finish with an activation known to the compiler.
template <class S, EpilogueActivation kActivation>
void finish_with(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t panel, const float* block,
                 const float* column_scales) noexcept {
  using F32 = typename S::F32;
  const std::size_t column = panel * kPanel;
  const std::size_t left = args.weights->n - column;
  const bool whole = left >= kPanel;
  const auto load = [=](const float* p) QEFF_INLINE_LAMBDA { return whole ? S::load(p) : S::load_part(p, left); };
  const F32 scale = column_scales != nullptr ? S::load(column_scales) : S::set1(1.0f);
  const F32 bias = args.bias != nullptr ? load(args.bias + column) : S::set1(0.0f);
  const float* residual = args.residual != nullptr ? args.residual + m * args.residual_stride + column : nullptr;
  const std::size_t residual_stride = args.residual_stride, y_stride = args.y_stride;
  float* y = args.y + m * y_stride + column;
  for (std::size_t r = 0; r < rows; ++r, block += kPanel, y += y_stride) {
    F32 v = activate<S>(kActivation, S::fma(S::load(block), scale, bias));
    if (residual != nullptr) v = S::add(v, load(residual + r * residual_stride));
    if (whole)
      S::store(y, v);
    else
      S::store_part(y, v, left);
  }
}

/// y[m + r][16 columns of panel] = activation(block[r] * column_scales + bias) + residual.
/// column_scales (of this panel) may be null: 1.
template <class S>
void finish(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t panel, const float* block,
            const float* column_scales) noexcept {
  with_activation(static_cast<EpilogueActivation>(args.activation), [&]<EpilogueActivation kActivation>() QEFF_INLINE_LAMBDA {
    finish_with<S, kActivation>(args, m, rows, panel, block, column_scales);
  });
}

/// The sums themselves, of one row and panel, where a caller asked for them instead of y.
template <class S>
void store_accumulators(const GemmArgs& args, std::size_t m, std::size_t panel, typename S::I32 sums) noexcept {
  alignas(64) std::int32_t row[kPanel];
  S::store(row, sums);
  const std::size_t left = args.weights->n - panel * kPanel, n = left < kPanel ? left : kPanel;
  for (std::size_t j = 0; j < n; ++j) args.accumulators[m * args.weights->n + panel * kPanel + j] = row[j];
}

}  // namespace qeff::kernels
