/// @file
/// Products of codes as they are stored, group by group, the sums of all groups in registers. 4-bit codes, exact in
/// int32: without their zero points, sum a (q - z) = sum a q - z sum a, where the sums of a come with the prepared
/// rows; or as integers that stand for the values of a codebook. With few rows, which have no decoded panel to share,
/// 8-bit codes too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/bodies/decode.inl.hpp"
#include "kernels/bodies/epilogue.inl.hpp"
#include "kernels/bodies/row_form.inl.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// What comes with the prepared rows and is added to the sums of a group.
enum class Extra {
  none,
  row_sums,           ///< A number a row and group.
  zero_point_products ///< The same, times the zero points of the columns.
};

/// Which of the two units of kNibbleUnit reduction indices that share their bytes.
enum class Half { low, high, both };

/// Sums of one row and panel: which of kChains takes an even or odd line in the low or the high nibbles.
template <int kChains>
QEFF_INLINE constexpr int chain_of(bool high, bool odd) noexcept {
  return kChains == 4 ? 2 * high + odd : kChains == 2 ? high : 0;
}

/// What all products of 4-bit codes have in common.
template <class S>
struct NibbleLines {
  static constexpr int kRows = S::kDotRows;

  /// The 8 lines from k on, in the low or the high nibbles.
  QEFF_INLINE static const std::byte* unit(const std::byte* codes, std::size_t k) noexcept {
    return codes + k / kTileK * (kTileK * kPanel / 2);
  }

  /// use.operator()<kIsHigh, kIsOdd>(its bytes of each panel, its reduction index from that of the first line on) for
  /// all lines, a pair that shares its bytes at a time.
  template <int kP, Half kHalf, class Use>
  QEFF_INLINE static void each(const std::byte* lines, std::size_t panel_pitch, std::size_t distance, Use&& use) noexcept {
    const auto line = [&]<bool kOdd>(std::size_t l) QEFF_INLINE_LAMBDA {
      typename S::Bytes bytes[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) {
        const std::byte* from = lines + static_cast<std::size_t>(p) * panel_pitch + l * 64;
        if constexpr (kHalf != Half::high) prefetch(from, distance);
        bytes[p] = S::load_bytes(from);
      }
      if constexpr (kHalf != Half::high) use.template operator()<false, kOdd>(bytes, l * 4);
      if constexpr (kHalf != Half::low)
        use.template operator()<true, kOdd>(bytes, (kHalf == Half::both ? kNibbleUnit : 0) + l * 4);
    };
    for (std::size_t l = 0; l < 8; l += 2) {
      line.template operator()<false>(l);
      line.template operator()<true>(l + 1);
    }
  }
};

/// i8 by activations of 8 bits: RowForm::quantized.
template <class S>
struct SignedProducts {
  using Code = typename S::ActI8;
  static constexpr Extra kExtra = S::kUnsignedCodes ? Extra::row_sums : Extra::none;
  static constexpr int kRows = kStreamingRows;  ///< Most rows of a block.
  static constexpr float step = 1.0f;  ///< What a product of 1 and 1 stands for before the scales.

  explicit SignedProducts(const PackedView&) noexcept {}

  /// The lines of kNibbleUnit reduction indices from k on. @pre k is a multiple of it
  QEFF_INLINE static const std::byte* unit(const std::byte* codes, std::size_t k) noexcept { return codes + k * kPanel; }

  /// The 8 lines of each half, of each panel (panels `panel_pitch` bytes apart), times the activations at `a` (rows
  /// `pitch` bytes apart) are added to the sums. distance: to what will be read next.
  template <Half kHalf, int kR, int kP, int kChains>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kChains][kP][kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines, std::size_t panel_pitch, std::size_t distance) const noexcept {
#pragma GCC unroll 16
    for (std::size_t l = 0; l < (kHalf == Half::both ? 16 : 8); ++l) {
      typename S::Bytes codes[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) {
        const std::byte* from = lines + static_cast<std::size_t>(p) * panel_pitch + l * 64;
        prefetch(from, distance);
        codes[p] = S::load_codes(from);
      }
      add_line<kR, kP>(sums[chain_of<kChains>(l / 8, l % 2)], a + l * 4 * sizeof(Code), pitch, codes);
    }
  }

  /// sums += a line of each panel times the activations at a.
  template <int kR, int kP>
  QEFF_INLINE static void add_line(typename S::I32 (&sums)[kP][kR], const std::byte* a, std::size_t pitch,
                                   const typename S::Bytes (&codes)[kP]) noexcept {
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) {
      const auto x = S::load_act(reinterpret_cast<const Code*>(a + static_cast<std::size_t>(r) * pitch));
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) sums[p][r] = S::dot(sums[p][r], x, codes[p]);
    }
  }
};

/// cb4 likewise, as integers: round(127 value / largest value).
template <class S>
struct CodebookProducts : NibbleLines<S> {
  using Code = typename S::ActI8;
  static constexpr Extra kExtra = SignedProducts<S>::kExtra;
  static constexpr int kRows = kStreamingRows;
  float step;
  std::int8_t table[16];  ///< As S::load_codes gives signed bytes.

  explicit CodebookProducts(const PackedView& w) noexcept : step(Decode<S>::codebook_step(w)) {
    Decode<S>::round_codebook(w, step, table);
    if constexpr (S::kUnsignedCodes)
      for (auto& value : table) value = static_cast<std::int8_t>(value ^ -128);
  }

  /// See SignedProducts.
  template <Half kHalf, int kR, int kP, int kChains>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kChains][kP][kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines, std::size_t panel_pitch, std::size_t distance) const noexcept {
    const std::int8_t* values = table;
    NibbleLines<S>::template each<kP, kHalf>(
        lines, panel_pitch, distance,
        [&, values]<bool kHigh, bool kOdd>(const typename S::Bytes (&both)[kP], std::size_t k) QEFF_INLINE_LAMBDA {
      typename S::Bytes codes[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) codes[p] = S::lookup_bytes(values, kHigh ? S::high_nibbles(both[p]) : S::low_nibbles(both[p]));
      SignedProducts<S>::template add_line<kR, kP>(sums[chain_of<kChains>(kHigh, kOdd)], a + k * sizeof(Code), pitch, codes);
    });
  }
};

/// u4 by activations of 8 bits: RowForm::nibbles.
template <class S>
struct ByteProducts : NibbleLines<S> {
  using Code = std::int8_t;
  static constexpr Extra kExtra = Extra::zero_point_products;
  static constexpr float step = 1.0f;

  explicit ByteProducts(const PackedView&) noexcept {}

  /// See SignedProducts.
  template <Half kHalf, int kR, int kP, int kChains>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kChains][kP][kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines, std::size_t panel_pitch, std::size_t distance) const noexcept {
    constexpr bool kParts = !std::is_same_v<typename S::Part, typename S::I32>;
    if constexpr (kHalf == Half::both && (kParts || kChains == 1)) {  // bytes of both at a time need more registers
      add_unit<Half::low>(sums, a, pitch, lines, panel_pitch, distance);
      add_unit<Half::high>(sums, a + kNibbleUnit * sizeof(Code), pitch, lines, panel_pitch, distance);
    } else if constexpr (kParts) {
      typename S::Part parts[1][kP][kR];
      for (auto& panel : parts[0])
        for (auto& p : panel) p = S::no_part();
      add_lines<kHalf>(parts, a, pitch, lines, panel_pitch, distance);
      auto& into = sums[chain_of<kChains>(kHalf == Half::high, false)];
      for (int p = 0; p < kP; ++p)
#pragma GCC unroll 16
        for (int r = 0; r < kR; ++r) into[p][r] = S::add_part(into[p][r], parts[0][p][r]);
    } else {
      add_lines<kHalf>(sums, a, pitch, lines, panel_pitch, distance);
    }
  }

 private:
  template <Half kHalf, int kR, int kP, int kChains>
  QEFF_INLINE static void add_lines(typename S::Part (&parts)[kChains][kP][kR], const std::byte* a, std::size_t pitch,
                                    const std::byte* lines, std::size_t panel_pitch, std::size_t distance) noexcept {
    NibbleLines<S>::template each<kP, kHalf>(
        lines, panel_pitch, distance,
        [&]<bool kHigh, bool kOdd>(const typename S::Bytes (&both)[kP], std::size_t k) QEFF_INLINE_LAMBDA {
      auto& into = parts[chain_of<kChains>(kHigh, kOdd)];
      typename S::Bytes codes[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) codes[p] = kHigh ? S::high_nibbles(both[p]) : S::low_nibbles(both[p]);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto x = S::load_nibble_act(reinterpret_cast<const Code*>(a + static_cast<std::size_t>(r) * pitch) + k);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) into[p][r] = S::nibble_dot(into[p][r], x, codes[p]);
      }
    });
  }
};

/// Codes by activations of 16 bits: RowForm::nibble_words. Codes turns nibbles into words.
template <class S, class Codes>
struct WordProducts : NibbleLines<S>, Codes {
  using Code = std::int16_t;
  using Codes::Codes;

  /// See SignedProducts.
  template <Half kHalf, int kR, int kP, int kChains>
  QEFF_INLINE void add_unit(typename S::I32 (&sums)[kChains][kP][kR], const std::byte* a, std::size_t pitch,
                            const std::byte* lines, std::size_t panel_pitch, std::size_t distance) const noexcept {
    const Codes& of = *this;
    NibbleLines<S>::template each<kP, kHalf>(
        lines, panel_pitch, distance,
        [&]<bool kHigh, bool>(const typename S::Bytes (&both)[kP], std::size_t k) QEFF_INLINE_LAMBDA {
      auto &evens = sums[chain_of<kChains>(kHigh, false)], &odds = sums[chain_of<kChains>(kHigh, true)];
      typename S::Words even[kP], odd[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) of.template words<kHigh>(both[p], even[p], odd[p]);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto* row = reinterpret_cast<const Code*>(a + static_cast<std::size_t>(r) * pitch) + k;
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) evens[p][r] = S::dot_words(evens[p][r], row, even[p]);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) odds[p][r] = S::dot_words(odds[p][r], row + 2, odd[p]);
      }
    });
  }
};

/// u4 as they are.
template <class S>
struct PlainWords {
  static constexpr Extra kExtra = Extra::zero_point_products;
  static constexpr float step = 1.0f;

  explicit PlainWords(const PackedView&) noexcept {}

  template <bool kHigh>
  QEFF_INLINE static void words(typename S::Bytes both, typename S::Words& even, typename S::Words& odd) noexcept {
    even = S::template even_nibbles<kHigh>(both);
    odd = S::template odd_nibbles<kHigh>(both);
  }

  /// A panel as WideTile takes it, without its zero points.
  void expand(const PackedView& w, std::size_t panel, std::byte* out) const noexcept {
    Decode<S>::each_zeroed_line(w, panel, [&](std::size_t l, typename S::Bytes code, typename S::Bytes zero) QEFF_INLINE_LAMBDA {
      const auto zeros = S::template even_nibbles<false>(zero);
      S::store_words(out + l * 128, S::sub(S::template even_nibbles<false>(code), zeros));
      S::store_words(out + l * 128 + 64, S::sub(S::template odd_nibbles<false>(code), zeros));
    });
  }
};

/// cb4: round(kCodebookWord value / largest value).
template <class S>
struct CodebookWords {
  static constexpr Extra kExtra = Extra::none;
  float step;
  typename S::WordTable table;

  explicit CodebookWords(const PackedView& w) noexcept : step(Decode<S>::codebook_step(w, kCodebookWord)) {
    std::int16_t codes[16];
    Decode<S>::round_codebook(w, step, codes);
    table = S::load_word_table(codes);
  }

  template <bool kHigh>
  QEFF_INLINE void words(typename S::Bytes both, typename S::Words& even, typename S::Words& odd) const noexcept {
    S::template look_up_words<kHigh>(table, both, even, odd);
  }

  /// A panel as WideTile takes it.
  void expand(const PackedView& w, std::size_t panel, std::byte* out) const noexcept {
    Decode<S>::each_nibble_line(w, panel, [&](std::size_t l, typename S::Bytes code) QEFF_INLINE_LAMBDA {
      typename S::Words even, odd;
      words<false>(code, even, odd);
      S::store_words(out + l * 128, even);
      S::store_words(out + l * 128 + 64, odd);
    });
  }
};

template <class S, class Products>
class Grouped {
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  using Code = typename Products::Code;
  static constexpr int kRows = Products::kRows;

 public:
  /// Rows [m_begin, m_end) of panels [panel, panel + panels). @pre 1 <= panels <= S::kPanels
  static void panels(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel,
                     std::size_t panels) noexcept {
    const Products products(*args.weights);
    const std::size_t most = even_rows(m_end - m_begin, kRows);
    for (std::size_t m = m_begin; m < m_end; m += most) {
      const std::size_t rows = least(m_end - m, most);
      alignas(64) float block[S::kPanels * kRows * kPanel];
      by_tile<kRows, S::kPanels>(rows, panels, [&]<int kR, int kP>() QEFF_INLINE_LAMBDA {
        block_of<kR, kP>(args, products, m, panel, block);
      });
      if (args.accumulators != nullptr) continue;
      for (std::size_t i = 0; i < panels; ++i)
        finish<S>(args, m, rows, panel + i, block + i * kRows * kPanel, nullptr);
    }
  }

 private:
  template <int kR, int kP>
  static void block_of(const GemmArgs& args, const Products products, std::size_t m, std::size_t panel,
                       float* block) noexcept {
    constexpr int kChains = chains<S>(kR * kP);
    const PackedView& w = *args.weights;
    const std::size_t pitch = Rows<S>::bytes(w, args.rows), groups = w.groups();
    const std::size_t panel_pitch = panel_bytes(w.format, w.k_padded());
    const std::byte* a = args.a + m * pitch;
    const std::byte* codes = w.codes + panel * panel_pitch;
    F32 total[kP][kR];
    for (auto& of_panel : total)
      for (auto& t : of_panel) t = S::set1(0.0f);
    const auto begin = [&](std::size_t g, I32 (&sums)[kP][kR]) QEFF_INLINE_LAMBDA {
      begin_group(w, a + w.k_padded() * sizeof(Code), pitch, panel, g, sums);
    };
    const auto add = [&]<Half kHalf>(std::size_t k, auto& sums) QEFF_INLINE_LAMBDA {
      const std::byte* lines = Products::unit(codes, k);
      const std::size_t distance = ahead(static_cast<std::size_t>(lines - codes), panel_pitch, kP);
      products.template add_unit<kHalf>(sums, a + k * sizeof(Code), pitch, lines, panel_pitch, distance);
    };
    for (std::size_t g = 0; g < groups; ++g) {
      std::size_t k = g * w.group_size;
      if constexpr (kChains > 1) {
        if (w.group_size == kNibbleUnit && g % 2 == 0 && g + 1 < groups) {  // two groups share their bytes
          I32 sums[2][kP][kR];
          begin(g, sums[0]), begin(g + 1, sums[1]);
          add.template operator()<Half::both>(k, sums);
          end_group(args, products.step, m, panel, g, sums[0], total);
          end_group(args, products.step, m, panel, ++g, sums[1], total);
          continue;
        }
      }
      I32 sums[kChains][kP][kR];
      for (auto& chain : sums)
        for (auto& of_panel : chain)
          for (auto& s : of_panel) s = S::set1(std::int32_t{0});
      begin(g, sums[0]);
      const std::size_t end = g + 1 == groups ? w.k_padded() : k + w.group_size;
      while (k < end) {
        if (k % kTileK == 0 && end - k >= kTileK)
          add.template operator()<Half::both>(k, sums), k += kTileK;
        else if (k % kTileK == 0)
          add.template operator()<Half::low>(k, sums), k += kNibbleUnit;
        else
          add.template operator()<Half::high>(k, sums), k += kNibbleUnit;
      }
      for (int c = 1; c < kChains; ++c)
        for (int p = 0; p < kP; ++p)
          for (int r = 0; r < kR; ++r) sums[0][p][r] = S::add(sums[0][p][r], sums[c][p][r]);
      end_group(args, products.step, m, panel, g, sums[0], total);
    }
    for (int p = 0; p < kP; ++p)
      for (int r = 0; r < kR; ++r) S::store(block + (p * kRows + r) * static_cast<int>(kPanel), total[p][r]);
  }

  /// sums = what comes with the rows for group g. row_sums: those of the first row.
  template <int kR, int kP>
  QEFF_INLINE static void begin_group(const PackedView& w, const std::byte* row_sums, std::size_t pitch,
                                      std::size_t panel, std::size_t g, I32 (&sums)[kP][kR]) noexcept {
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) {
      I32 zero;
      if constexpr (Products::kExtra == Extra::zero_point_products)
        zero = S::load_u8(w.zero_points + ((panel + static_cast<std::size_t>(p)) * w.groups() + g) * kPanel);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        sums[p][r] = S::set1(Products::kExtra == Extra::none
                                 ? std::int32_t{0}
                                 : Rows<S>::group_sum(row_sums + static_cast<std::size_t>(r) * pitch, g));
        if constexpr (Products::kExtra == Extra::zero_point_products) sums[p][r] = S::mul(zero, sums[p][r]);
      }
    }
  }

  /// total += to_f32(sums) * scales of group g; and hands the sums out if asked to.
  template <int kR, int kP>
  QEFF_INLINE static void end_group(const GemmArgs& args, float step, std::size_t m, std::size_t panel, std::size_t g,
                                    const I32 (&sums)[kP][kR], F32 (&total)[kP][kR]) noexcept {
    const PackedView& w = *args.weights;
    const std::size_t groups = w.groups();
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) {
      const std::size_t at = panel + static_cast<std::size_t>(p);
      const F32 scale = S::mul(Decode<S>::scales(w, (at * groups + g) * kPanel), S::set1(step));
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const std::size_t row = m + static_cast<std::size_t>(r);
        const F32 both = S::mul(scale, S::set1(args.a_scales[row * groups + g]));
        total[p][r] = S::fma(S::to_f32(sums[p][r]), both, total[p][r]);
        if (args.accumulators != nullptr && g == args.group) store_accumulators<S>(args, row, at, sums[p][r]);
      }
    }
  }
};

}  // namespace qeff::kernels
