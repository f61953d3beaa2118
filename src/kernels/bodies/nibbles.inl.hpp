/// @file
/// Products of 4-bit codes as they are stored, exact in int32: without their zero points,
/// sum a (q - z) = sum a q - z sum a, where the sums of a come with the prepared rows; or as integers that stand for
/// the values of a codebook.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/decode.inl.hpp"
#include "kernels/bodies/epilogue.inl.hpp"
#include "kernels/bodies/row_form.inl.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// u4 by activations of 8 bits: RowForm::nibbles.
template <class S>
struct ByteProducts {
  using Code = std::int8_t;
  static constexpr bool kZeroPoints = true;

  static constexpr float step = 1.0f;  ///< What a product of 1 and 1 stands for before the scales.

  explicit ByteProducts(const PackedView&) noexcept {}

  /// sums += 8 lines, in the low or the high nibbles of `lines`, times the activations at `a`.
  template <int kR, bool kHigh>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines) const noexcept {
    typename S::Part parts[kR];
    for (auto& p : parts) p = S::no_part();
    for (std::size_t l = 0; l < 8; ++l) {
      if constexpr (kR < kStreamingRows && !kHigh) prefetch(lines + l * 64);
      const auto both = S::load_bytes(lines + l * 64);
      const auto codes = kHigh ? S::high_nibbles(both) : S::low_nibbles(both);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto* row = reinterpret_cast<const Code*>(a + static_cast<std::size_t>(r) * pitch);
        parts[r] = S::nibble_dot(parts[r], S::load_nibble_act(row + l * 4), codes);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r) sums[r] = S::add_part(sums[r], parts[r]);
  }
};

/// Codes by activations of 16 bits: RowForm::nibble_words. Codes turns nibbles into words.
template <class S, class Codes>
struct WordProducts : Codes {
  using Code = std::int16_t;
  using Codes::Codes;

  /// See ByteProducts.
  template <int kR, bool kHigh>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines) const noexcept {
    for (std::size_t l = 0; l < 8; ++l) {
      if constexpr (kR < kStreamingRows && !kHigh) prefetch(lines + l * 64);
      typename S::Words even, odd;
      Codes::template words<kHigh>(S::load_bytes(lines + l * 64), even, odd);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto* row = reinterpret_cast<const Code*>(a + static_cast<std::size_t>(r) * pitch) + l * 4;
        sums[r] = S::dot_words(S::dot_words(sums[r], row, even), row + 2, odd);
      }
    }
  }
};

/// u4 as they are.
template <class S>
struct PlainWords {
  static constexpr bool kZeroPoints = true;
  static constexpr float step = 1.0f;

  explicit PlainWords(const PackedView&) noexcept {}

  template <bool kHigh>
  QEFF_INLINE static void words(typename S::Bytes both, typename S::Words& even, typename S::Words& odd) noexcept {
    even = S::template even_nibbles<kHigh>(both);
    odd = S::template odd_nibbles<kHigh>(both);
  }
};

/// cb4: round(kCodebookWord value / largest value).
template <class S>
struct CodebookWords {
  static constexpr bool kZeroPoints = false;
  float step;
  typename S::Bytes low, high;  // tables of the integers' bytes

  explicit CodebookWords(const PackedView& w) noexcept : step(Decode<S>::codebook_step(w, kCodebookWord)) {
    std::int16_t codes[16];
    std::int8_t low_bytes[16], high_bytes[16];
    Decode<S>::round_codebook(w, step, codes);
    for (int i = 0; i < 16; ++i) {
      low_bytes[i] = static_cast<std::int8_t>(codes[i]);
      high_bytes[i] = static_cast<std::int8_t>(codes[i] >> 8);
    }
    low = S::load_table(low_bytes);
    high = S::load_table(high_bytes);
  }

  template <bool kHigh>
  QEFF_INLINE void words(typename S::Bytes both, typename S::Words& even, typename S::Words& odd) const noexcept {
    const auto index = kHigh ? S::high_nibbles(both) : S::low_nibbles(both);
    S::join_bytes(S::lookup(low, index), S::lookup(high, index), even, odd);
  }
};

template <class S, class Products>
class Nibbles {
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  using Code = typename Products::Code;
  static constexpr int kRows = S::kDotRows;

 public:
  /// Rows [m_begin, m_end) of panel `panel`.
  static void panel(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel) noexcept {
    const Products products(*args.weights);
    for (std::size_t m = m_begin; m < m_end; m += kRows) {
      const std::size_t rows = m_end - m < kRows ? m_end - m : kRows;
      alignas(64) float block[kRows * kPanel];
      by_rows<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { block_of<kR>(args, products, m, panel, block); });
      if (args.accumulators == nullptr) finish<S>(args, m, rows, panel, block, nullptr);
    }
  }

 private:
  template <int kR>
  static void block_of(const GemmArgs& args, const Products products, std::size_t m, std::size_t panel,
                       float* block) noexcept {
    const PackedView& w = *args.weights;
    const std::size_t pitch = Rows<S>::bytes(w, args.rows), groups = w.groups();
    const std::byte* a = args.a + m * pitch;
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    F32 total[kR];
    for (auto& t : total) t = S::set1(0.0f);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t at = (panel * groups + g) * kPanel;
      I32 sums[kR];
      if constexpr (Products::kZeroPoints)
        begin_group<kR>(args, pitch, m, panel, g, sums);
      else
        for (auto& s : sums) s = S::set1(std::int32_t{0});
      const std::size_t end = g + 1 == groups ? w.k_padded() : (g + 1) * w.group_size;
      for (std::size_t k = g * w.group_size; k < end; k += kNibbleUnit) {
        const std::byte* lines = codes + k / kTileK * (kTileK * kPanel / 2);
        if (k % kTileK == 0)
          products.template add_unit<kR, false>(sums, a + k * sizeof(Code), pitch, lines);
        else
          products.template add_unit<kR, true>(sums, a + k * sizeof(Code), pitch, lines);
      }
      if (args.accumulators != nullptr && g == args.group)
        for (int r = 0; r < kR; ++r) store_accumulators<S>(args, m + static_cast<std::size_t>(r), panel, sums[r]);
      const F32 scale = S::mul(S::load(w.scales + at), S::set1(products.step));
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const F32 both = S::mul(scale, S::set1(args.a_scales[(m + static_cast<std::size_t>(r)) * groups + g]));
        total[r] = S::fma(S::to_f32(sums[r]), both, total[r]);
      }
    }
    for (int r = 0; r < kR; ++r) S::store(block + r * kPanel, total[r]);
  }

  /// sums = what the zero points of group g add.
  template <int kR>
  QEFF_INLINE static void begin_group(const GemmArgs& args, std::size_t pitch, std::size_t m, std::size_t panel,
                                      std::size_t g, I32 (&sums)[kR]) noexcept {
    const PackedView& w = *args.weights;
    const std::byte* minus_sums = args.a + m * pitch + w.k_padded() * sizeof(Code) + g * sizeof(std::int32_t);
    const I32 zero = S::load_u8(w.zero_points + (panel * w.groups() + g) * kPanel);
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r, minus_sums += pitch) {
      std::int32_t minus_sum;
      __builtin_memcpy(&minus_sum, minus_sums, sizeof minus_sum);
      sums[r] = S::mul(zero, S::set1(minus_sum));
    }
  }
};

}  // namespace qeff::kernels
