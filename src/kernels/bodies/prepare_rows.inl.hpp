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
  static constexpr std::size_t kChains = 4;  ///< Maxima that do not wait for each other.

 public:
  /// Rows [first, last) of the `rows` that are multiplied together; see KernelTable::prepare_rows.
  static void run(const PackedView& w, std::size_t rows, const float* x, std::size_t x_stride, std::size_t first,
                  std::size_t last, std::byte* a, float* a_scales) noexcept {
    const RowForm form = Rows<S>::form(w, rows);
    const std::size_t bytes = Rows<S>::bytes(w, rows);
    for (std::size_t r = first; r < last; ++r) {
      const float* row = x + r * x_stride;
      if (w.input_scale != nullptr)
        prepare<true>(w, form, row, a + r * bytes, a_scales + r * w.groups());
      else
        prepare<false>(w, form, row, a + r * bytes, a_scales + r * w.groups());
    }
  }

 private:
  template <bool kScaled>
  static void prepare(const PackedView& w, RowForm form, const float* x, std::byte* out, float* scales) noexcept {
    auto* bytes = reinterpret_cast<std::int8_t*>(out);
    [[maybe_unused]] auto* words = reinterpret_cast<std::int16_t*>(out);
    switch (form) {
      case RowForm::floats: copy<kScaled>(w, x, out); break;
      case RowForm::quantized: {
        auto* codes = reinterpret_cast<typename S::ActI8*>(out);
        const auto store = [=](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_act(codes + i, q); };
        quantize<kScaled, S::kUnsignedCodes ? -128 : 0>(w, x, 127.0f, scales, codes, store);
        break;
      }
      case RowForm::words:
        if constexpr (S::kWide)
          quantize<kScaled, 0>(w, x, 127.0f, scales, words,
                               [=](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_words(words + i, q); });
        break;
      case RowForm::nibbles:
        quantize<kScaled, -1>(w, x, 127.0f, scales, bytes,
                              [=](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_nibble_act(bytes + i, q); });
        break;
      case RowForm::nibble_words:
        if constexpr (S::kNibbleWords)
          quantize<kScaled, -1>(w, x, Rows<S>::word_limit(w), scales, words,
                                [=](std::size_t i, I32 q) QEFF_INLINE_LAMBDA { S::store_nibble_words(words + i, q); });
        break;
    }
  }

  /// 16 values from index i, zeros beyond k. @pre input_scale is padded to k_padded
  template <bool kScaled>
  QEFF_INLINE static F32 values(const PackedView& w, const float* x, std::size_t i) noexcept {
    const F32 v = i + 16 <= w.k ? S::load(x + i) : i < w.k ? S::load_part(x + i, w.k - i) : S::set1(0.0f);
    return kScaled ? S::mul(v, S::load(w.input_scale + i)) : v;
  }

  /// A row by groups; gives 16 codes in [-limit, limit] at a time to store(index, codes). Behind the codes it leaves
  /// kTimes (if not 0) the sum of those of each group. A group with NaN or Inf gets scale NaN and codes 0, so that
  /// outputs are NaN and never plausible numbers.
  template <bool kScaled, std::int32_t kTimes, class Code, class Store>
  static void quantize(const PackedView& w, const float* x, float limit, float* scales, Code* codes,
                       const Store store) noexcept {
    const std::size_t groups = w.groups(), own = w.activation_groups();
    auto* sums = reinterpret_cast<std::int32_t*>(codes + w.k_padded());
    for (std::size_t g = 0; g < own; ++g) {
      const std::size_t first = g * w.group_size, end = g + 1 == own ? w.k_padded() : first + w.group_size;
      I32 sum = S::set1(std::int32_t{0});
      scales[g] = quantize_group<kScaled>(w, x, limit, first, end, store, sum);
      if constexpr (kTimes != 0) sums[g] = kTimes * lanes(sum);
    }
    for (std::size_t g = own; g < groups; ++g) scales[g] = scales[0];
    if constexpr (kTimes != 0)
      if (own != groups) add_up_groups(w, codes, kTimes, sums);
  }

  /// Values [first, end), of which those from k on are padding. Returns the scale max|x| / limit (1 for zeros).
  template <bool kScaled, class Store>
  QEFF_INLINE static float quantize_group(const PackedView& w, const float* x, float limit, std::size_t first,
                                          std::size_t end, const Store store, I32& sum) noexcept {
    const std::size_t k = w.k < end ? w.k : end;
    F32 most[kChains], poison[kChains];  // the latter NaN once any value is NaN or Inf
    for (auto& m : most) m = S::set1(0.0f);
    for (auto& p : poison) p = S::set1(0.0f);
    const auto see = [&](std::size_t i, std::size_t chain) QEFF_INLINE_LAMBDA {
      const F32 v = values<kScaled>(w, x, i);
      most[chain] = S::max(most[chain], Math<S>::abs(v));
      poison[chain] = S::fma(v, S::set1(0.0f), poison[chain]);
    };
    std::size_t i = first;
    for (; i + 16 * kChains <= k; i += 16 * kChains)
#pragma GCC unroll 4
      for (std::size_t c = 0; c < kChains; ++c) see(i + 16 * c, c);
    for (; i < k; i += 16) see(i, 0);
    for (std::size_t c = 1; c < kChains; ++c) {
      most[0] = S::max(most[0], most[c]);
      poison[0] = S::add(poison[0], poison[c]);
    }
    if (S::sum(poison[0]) != 0.0f) {
      for (i = first; i < end; i += 16) store(i, S::set1(std::int32_t{0}));
      return __builtin_nanf("");
    }
    const float max = S::max_lane(most[0]);
    const float scale = max > 0.0f ? max / limit : 1.0f;
    // A denormal maximum makes limit / max infinite: such values round to zeros.
    const F32 inverse = S::set1(scale >= 0x1p-126f ? 1.0f / scale : 0.0f);
    for (i = first; i < end; i += 16) {
      const I32 q = S::round(S::mul(values<kScaled>(w, x, i), inverse));
      sum = S::add(sum, q);
      store(i, q);
    }
    return scale;
  }

  QEFF_INLINE static std::int32_t lanes(I32 v) noexcept {
    alignas(64) std::int32_t lane[16];
    S::store(lane, v);
    std::int32_t sum = 0;
    for (const std::int32_t one : lane) sum += one;
    return sum;
  }

  /// sums[g] = `times` the sum of the codes of group g; padding is zero and adds nothing.
  template <class Code>
  static void add_up_groups(const PackedView& w, const Code* codes, std::int32_t times, std::int32_t* sums) noexcept {
    for (std::size_t g = 0; g < w.groups(); ++g) {
      const std::size_t end = g + 1 == w.groups() ? w.k_padded() : (g + 1) * w.group_size;
      std::int32_t sum = 0;
      for (std::size_t k = g * w.group_size; k < end; ++k) sum += codes[k];
      sums[g] = times * sum;
    }
  }

  template <bool kScaled>
  static void copy(const PackedView& w, const float* x, std::byte* out) noexcept {
    const Activations mode = w.activations;
    for (std::size_t i = 0; i < w.k_padded(); i += 16) {
      F32 v = values<kScaled>(w, x, i);
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
