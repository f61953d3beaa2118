/// @file
/// Rows of x to the form the tiles read: quantized to 8 or 16 bits, rounded to bf16, or copied; padded with zeros
/// to a multiple of 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/row_form.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::kernels {

template <class S>
class PrepareRows {
  using F32 = typename S::F32;
  using I32 = typename S::I32;

 public:
  /// Rows [first, last) of the `rows` that are multiplied together; see KernelTable::prepare_rows.
  static void run(const PackedView& w, std::size_t rows, const float* x, std::size_t x_stride, std::size_t first,
                  std::size_t last, std::byte* a, float* a_scales) noexcept {
    const RowForm form = Rows<S>::form(w, rows);
    const std::size_t bytes = Rows<S>::bytes(w, rows);
    for (std::size_t r = first; r < last; ++r) {
      const float* row = x + r * x_stride;
      std::byte* out = a + r * bytes;
      switch (form) {
        case RowForm::floats: copy(w, row, out); break;
        case RowForm::quantized:
          quantize(w, row, 127.0f, a_scales + r * w.groups(), [&](std::size_t i, I32 q) QEFF_INLINE_LAMBDA {
            S::store_act(reinterpret_cast<typename S::ActI8*>(out) + i, q);
          });
          if constexpr (S::kUnsignedCodes) add_up_groups(w, reinterpret_cast<typename S::ActI8*>(out), -128);
          break;
        case RowForm::words:
          if constexpr (S::kWide)
            quantize(w, row, 127.0f, a_scales + r * w.groups(), [&](std::size_t i, I32 q) QEFF_INLINE_LAMBDA {
              S::store_words(reinterpret_cast<std::int16_t*>(out) + i, q);
            });
          break;
        case RowForm::nibbles: {
          auto* codes = reinterpret_cast<std::int8_t*>(out);
          quantize(w, row, 127.0f, a_scales + r * w.groups(),
                   [&](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_nibble_act(codes + i, q); });
          add_up_groups(w, codes, -1);
          break;
        }
        case RowForm::nibble_words:
          if constexpr (S::kNibbleWords) {
            auto* codes = reinterpret_cast<std::int16_t*>(out);
            quantize(w, row, Rows<S>::word_limit(w), a_scales + r * w.groups(),
                     [&](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_nibble_words(codes + i, q); });
            add_up_groups(w, codes, -1);
          }
          break;
      }
    }
  }

 private:
  /// 16 values from index i, zeros beyond k. @pre input_scale is padded to k_padded
  QEFF_INLINE static F32 values(const float* x, std::size_t i, std::size_t k, const float* input_scale) noexcept {
    const F32 v = i + 16 <= k ? S::load(x + i) : i < k ? S::load_part(x + i, k - i) : S::set1(0.0f);
    return input_scale != nullptr ? S::mul(v, S::load(input_scale + i)) : v;
  }

  /// A row by groups; gives 16 codes in [-limit, limit] at a time to store(index, codes). A group with NaN or Inf
  /// gets scale NaN and codes 0, so that outputs are NaN and never plausible numbers.
  template <class Store>
  static void quantize(const PackedView& w, const float* x, float limit, float* scales, Store&& store) noexcept {
    F32 poison = S::set1(0.0f);  // NaN once any value is NaN or Inf
    each_group(w, scales, [&](std::size_t first, std::size_t k, std::size_t end) QEFF_INLINE_LAMBDA {
      return quantize_group(w, x, limit, first, k, end, store, poison);
    });
    if (S::sum(poison) == 0.0f) return;
    each_group(w, scales, [&](std::size_t first, std::size_t k, std::size_t end) QEFF_INLINE_LAMBDA {
      poison = S::set1(0.0f);
      const float scale = quantize_group(w, x, limit, first, k, end, store, poison);
      if (S::sum(poison) == 0.0f) return scale;
      for (std::size_t i = first; i < end; i += 16) store(i, S::set1(std::int32_t{0}));
      return __builtin_nanf("");
    });
  }

  /// scales[g] = scale_of(first, end of values, end with padding) for all groups that have a scale of their own.
  template <class ScaleOf>
  QEFF_INLINE static void each_group(const PackedView& w, float* scales, ScaleOf&& scale_of) noexcept {
    const std::size_t groups = w.groups(), own = w.activation_groups();
    for (std::size_t g = 0; g < own; ++g) {
      const std::size_t first = g * w.group_size, end = first + w.group_size;
      const bool last = g + 1 == own;
      scales[g] = scale_of(first, last ? w.k : end, last ? w.k_padded() : end);
    }
    for (std::size_t g = own; g < groups; ++g) scales[g] = scales[0];
  }

  /// Values [first, k) and padding up to k_padded. Returns the scale max|x| / limit (1 for zeros).
  template <class Store>
  QEFF_INLINE static float quantize_group(const PackedView& w, const float* x, float limit, std::size_t first,
                                          std::size_t k, std::size_t k_padded, Store&& store, F32& poison) noexcept {
    const float* input_scale = w.input_scale;
    F32 most = S::set1(0.0f);
    for (std::size_t i = first; i < k; i += 16) {
      const F32 v = values(x, i, k, input_scale);
      most = S::max(most, Math<S>::abs(v));
      poison = S::fma(v, S::set1(0.0f), poison);
    }
    const float max = S::max_lane(most);
    const float scale = max > 0.0f ? max / limit : 1.0f;
    // A denormal maximum makes limit / max infinite: such values round to zeros.
    const F32 inverse = S::set1(scale >= 0x1p-126f ? 1.0f / scale : 0.0f);
    for (std::size_t i = first; i < k_padded; i += 16) {
      const F32 v = S::mul(values(x, i, k, input_scale), inverse);
      store(i, S::round(S::min(S::max(v, S::set1(-limit)), S::set1(limit))));
    }
    return scale;
  }

  /// Behind the codes of a row, `times` the sum of those of each group; padding is zero and adds nothing.
  template <class Code>
  static void add_up_groups(const PackedView& w, Code* codes, std::int32_t times) noexcept {
    auto* sums = reinterpret_cast<std::int32_t*>(codes + w.k_padded());
    for (std::size_t g = 0; g < w.groups(); ++g) {
      const std::size_t end = g + 1 == w.groups() ? w.k_padded() : (g + 1) * w.group_size;
      std::int32_t sum = 0;
      for (std::size_t k = g * w.group_size; k < end; ++k) sum += codes[k];
      sums[g] = times * sum;
    }
  }

  static void copy(const PackedView& w, const float* x, std::byte* out) noexcept {
    const Activations mode = w.activations;
    for (std::size_t i = 0; i < w.k_padded(); i += 16) {
      F32 v = values(x, i, w.k, w.input_scale);
      if constexpr (S::kBf16) {
        if (mode == Activations::bf16) {
          S::store_bf16(reinterpret_cast<std::uint16_t*>(out) + i, v);
          continue;
        }
      }
      if (mode == Activations::bf16) v = Math<S>::round_bf16(v);
      S::store(reinterpret_cast<float*>(out) + i, v);
    }
  }
};

}  // namespace qeff::kernels
