/// @file
/// y = epilogue(x W^T) over the policy's tile: decode a panel, run every row block over it, scale, finish.
///
/// The order of float operations of one output depends on the weights only, never on the range of
/// rows and panels of a call; the executor may cut the work anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/bodies/decode.inl.hpp"
#include "kernels/bodies/epilogue.inl.hpp"
#include "kernels/bodies/grouped.inl.hpp"
#include "kernels/bodies/pairs.inl.hpp"
#include "kernels/bodies/row_form.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "kernels/bodies/wide.inl.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class Gemm {
  using Tile = typename TileOf<S>::type;
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  static constexpr std::size_t kPanels = Tile::kPanels;
  static constexpr bool kVectors = std::is_same_v<Tile, VectorTile<S>>;
  static_assert(kPanels == S::kPanels, "vectors and tiles of a policy take the same panels at a time");
  /// Up to so many rows, decoding in registers costs less than a decoded panel in memory. Not where
  /// tiles multiply bf16: they add in an order of their own.
  static constexpr std::size_t kDirectRows = kVectors || !S::kBf16 ? 2 : 0;

 public:
  static std::size_t scratch_bytes(const PackedView& w, std::size_t rows) noexcept {
    const std::size_t k = w.k_padded();
    if (decodes_words(w, rows)) return kPanels * (k / 4 * 128);
    if (w.activations != Activations::int8) return kPanels * Decode<S>::float_panel_bytes(w.activations, k);
    return kPanels * (Rows<S>::form(w, rows) == RowForm::words ? k / 4 * (64 + 128) : k / 4 * 64);
  }

  /// What multiplies `rows` rows, for people to read.
  static const char* name(const PackedView& w, std::size_t rows) noexcept {
    switch (Rows<S>::form(w, rows)) {
      case RowForm::quantized: return kPanels > 1 && !streams_groups(w, rows) ? "int8 tiles" : "int8 lines";
      case RowForm::words: return "int8 lines as words";
      case RowForm::nibbles: return "4-bit lines";
      case RowForm::nibble_words: return decodes_words(w, rows) ? "4-bit codes decoded to 16 bits" : "4-bit lines by 16 bits";
      case RowForm::floats: break;
    }
    if (streams_pairs(w, rows)) return w.format == WeightFormat::bf16 ? "bf16 lines" : "decoded in registers";
    if (rows <= kDirectRows) return "decoded in registers";
    return S::kBf16 && w.activations == Activations::bf16 ? "decoded to bf16 panels" : "decoded to float32 panels";
  }

  static void run(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel_begin,
                  std::size_t panel_end, std::byte* scratch) noexcept {
    const RowForm form = Rows<S>::form(*args.weights, args.rows);
    if constexpr (S::kBf16)
      if (streams_pairs(*args.weights, args.rows)) return PairLines<S>::stream(args, m_begin, m_end, panel_begin, panel_end);
    for (std::size_t p = panel_begin; p < panel_end; p += kPanels) {
      const std::size_t panels = least(panel_end - p, kPanels);
      // What this thread takes next: if all of them take turns, the parts of the others lie between.
      const std::size_t others = p + kPanels < panel_end ? 0 : (panel_end - panel_begin) * (args.threads - 1);
      const std::size_t next = least(p + kPanels + others, args.weights->panels());
      switch (form) {
        case RowForm::quantized:
          if (streams_groups(*args.weights, args.rows))
            signed_groups(args, m_begin, m_end, p, panels);
          else
            int8_panels(args, m_begin, m_end, p, panels, next, scratch);
          break;
        case RowForm::words:
          if constexpr (S::kWide) wide_panel(args, m_begin, m_end, p, next, scratch);
          break;
        case RowForm::nibbles: Grouped<S, ByteProducts<S>>::panels(args, m_begin, m_end, p, panels); break;
        case RowForm::nibble_words:
          if (args.weights->format == WeightFormat::cb4)
            nibble_words<CodebookWords<S>>(args, m_begin, m_end, p, panels, next, scratch);
          else
            nibble_words<PlainWords<S>>(args, m_begin, m_end, p, panels, next, scratch);
          break;
        case RowForm::floats:
          if (args.rows <= kDirectRows)
            for (std::size_t i = 0; i < panels; ++i) direct_panel(args, m_begin, m_end, p + i);
          else
            float_panels(args, m_begin, m_end, p, panels, scratch);
          break;
      }
    }
  }

 private:
  /// Rows of a register tile of at most `most`, where `rows` are multiplied.
  static constexpr std::size_t tile_rows(std::size_t rows, std::size_t most) noexcept {
    return kVectors ? even_rows(rows, most) : most;
  }

  static bool streams_pairs([[maybe_unused]] const PackedView& w, [[maybe_unused]] std::size_t rows) noexcept {
    if constexpr (S::kBf16) return kDirectRows > 0 && rows <= PairLines<S>::kRows && PairLines<S>::serve(w);
    return false;
  }

  /// Few rows of 8-bit codes in groups, or of a codebook: the sums of all groups stay in registers.
  static bool streams_groups(const PackedView& w, std::size_t rows) noexcept {
    if (rows > kStreamingRows || (w.groups() > 1 && w.group_size % kNibbleUnit != 0)) return false;
    return w.format == WeightFormat::cb4 || (w.format == WeightFormat::i8 && w.groups() > 1);
  }

  /// Many rows of activations of 16 bits: a panel of 4-bit codes becomes words once, which costs twice what bytes do.
  static bool decodes_words([[maybe_unused]] const PackedView& w, [[maybe_unused]] std::size_t rows) noexcept {
    if constexpr (S::kNibbleWords && S::kDecodesNibbles)
      return rows / 2 > tuning().decode_rows && Rows<S>::form(w, rows) == RowForm::nibble_words;
    return false;
  }

  // --- integers --------------------------------------------------------------------------------

  /// The signed bytes of panels [p, p + panels): as they are packed, or decoded into scratch.
  static const std::byte* signed_bytes(const PackedView& w, std::size_t p, std::size_t panels,
                                       std::byte* scratch) noexcept {
    const std::size_t pitch = w.k_padded() * kPanel;
    if (w.format == WeightFormat::i8) return w.codes + p * pitch;
    for (std::size_t i = 0; i < panels; ++i) Decode<S>::expand_nibbles(w, p + i, scratch + i * pitch);
    return scratch;
  }

  static void int8_panels(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                          std::size_t panels, std::size_t next, std::byte* scratch) noexcept {
    const PackedView& w = *args.weights;
    const std::byte* b = signed_bytes(w, p, panels, scratch);
    const float step = Decode<S>::codebook_step(w);
    if constexpr (kVectors)
      if (w.format == WeightFormat::i8 && args.rows <= kPrefetchRows)
        return int8_rows<VectorTile<S, true>>(args, m_begin, m_end, p, panels, w.panels(), b, step);
    int8_rows<Tile>(args, m_begin, m_end, p, panels, next, b, step);
  }

  static void signed_groups(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                            std::size_t panels) noexcept {
    if (args.weights->format == WeightFormat::cb4)
      Grouped<S, CodebookProducts<S>>::panels(args, m_begin, m_end, p, panels);
    else
      Grouped<S, SignedProducts<S>>::panels(args, m_begin, m_end, p, panels);
  }

  /// kWide means signed codes and one panel at a time.
  static void wide_panel(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                         std::size_t next, std::byte* scratch) noexcept {
    const PackedView& w = *args.weights;
    std::byte* words = scratch + w.k_padded() * kPanel;
    WideTile<S>::widen(signed_bytes(w, p, 1, scratch), w.k_padded() / 4, words);
    int8_rows<WideTile<S>>(args, m_begin, m_end, p, 1, next, words, Decode<S>::codebook_step(w));
  }

  template <class Codes>
  static void nibble_words(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                           std::size_t panels, [[maybe_unused]] std::size_t next,
                           [[maybe_unused]] std::byte* scratch) noexcept {
    if constexpr (S::kNibbleWords && S::kDecodesNibbles) {
      const PackedView& w = *args.weights;
      if (decodes_words(w, args.rows)) {
        const Codes codes(w);
        for (std::size_t i = 0; i < panels; ++i) codes.expand(w, p + i, scratch + i * (w.k_padded() / 4 * 128));
        return int8_rows<WideTile<S>>(args, m_begin, m_end, p, panels, next, scratch, codes.step);
      }
    }
    if constexpr (S::kNibbleWords) Grouped<S, WordProducts<S, Codes>>::panels(args, m_begin, m_end, p, panels);
  }

  /// All rows with the panels at b, in the form that tile T takes. next: the panel whose codes are asked for meanwhile,
  /// w.panels() if none. step: what a product of 1 and 1 stands for before the scales.
  template <class T>
  static void int8_rows(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                        std::size_t panels, std::size_t next, const std::byte* b, float step) noexcept {
    constexpr std::size_t kBlock = T::kDotRows * kPanel;
    const PackedView& w = *args.weights;
    const std::size_t all_lines = w.k_padded() / 4, groups = w.groups(), pitch = Rows<S>::bytes(w, args.rows);
    alignas(64) float block[T::kPanels * kBlock];
    alignas(64) float scales[T::kPanels * kPanel];
    TakeGroup<T> take(args, p, panels, step, block, scales);
    const std::size_t panel_size = panel_bytes(w.format, w.k_padded()), most = tile_rows(m_end - m_begin, T::kDotRows);
    Request codes(w.codes + next * panel_size, least(w.panels() - next, T::kPanels) * panel_size,
                  groups * ((m_end - m_begin + most - 1) / most));
    for (std::size_t m = m_begin; m < m_end; m += most) {
      const std::size_t rows = least(m_end - m, most);
      const auto* a = reinterpret_cast<const typename T::Act*>(args.a + m * pitch);
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t l = g * w.group_size / 4, end = g + 1 == groups ? all_lines : l + w.group_size / 4;
        take.begin(m, g);
        codes.go_on();
        T::int8(a + l * 4, pitch / sizeof *a, b + l * T::kLineBytes, all_lines * T::kLineBytes, panels, end - l, rows, take);
      }
      if (args.accumulators != nullptr) continue;
      for (std::size_t i = 0; i < panels; ++i)
        finish<S>(args, m, rows, p + i, block + i * kBlock, nullptr);
    }
  }

  /// block[panel][T::kDotRows][16] += to_f32(sums) * scales of a group; or hands the sums themselves out.
  /// Its scales stay in memory: the products need the registers.
  template <class T>
  struct TakeGroup {
    alignas(64) static constexpr float kZeros[T::kPanels * T::kDotRows * kPanel] = {};
    /// Where codes were taken as unsigned, sums come with the rows: see RowForm::quantized.
    static constexpr bool kAddsSums = S::kUnsignedCodes && std::is_same_v<typename T::Act, typename S::ActI8>;

    const GemmArgs& args;
    const bool hands_out;
    const std::size_t panel, panels, groups, pitch;
    const F32 step;
    float *const block, *const scales;
    std::size_t m = 0, group = 0;
    const std::byte* row_sum = nullptr;
    const float* a_scale = nullptr;
    const float* before = nullptr;  ///< block, or zeros for the first group

    TakeGroup(const GemmArgs& all, std::size_t first_panel, std::size_t panel_count, float product, float* totals,
              float* group_scales) noexcept
        : args(all),
          hands_out(all.accumulators != nullptr),
          panel(first_panel),
          panels(panel_count),
          groups(all.weights->groups()),
          pitch(Rows<S>::bytes(*all.weights, all.rows)),
          step(S::set1(product)),
          block(totals),
          scales(group_scales) {}

    /// What comes are the sums of the rows from first_row on over group g.
    QEFF_INLINE void begin(std::size_t first_row, std::size_t g) noexcept {
      const PackedView& w = *args.weights;
      m = first_row, group = g;
      if constexpr (kAddsSums) row_sum = args.a + m * pitch + w.k_padded() * sizeof(typename S::ActI8) + g * sizeof(std::int32_t);
      a_scale = args.a_scales + m * groups + g;
      for (std::size_t i = 0; i < panels; ++i)
        S::store(scales + i * kPanel, S::mul(Decode<S>::scales(w, ((panel + i) * groups + g) * kPanel), step));
      before = g == 0 ? kZeros : block;
    }

    QEFF_INLINE void operator()(std::size_t p, std::size_t r, I32 sums) const noexcept {
      if constexpr (kAddsSums) sums = S::add(sums, S::set1(Rows<S>::group_sum(row_sum + r * pitch, 0)));
      if (hands_out) {
        if (group == args.group) store_accumulators<S>(args, m + r, panel + p, sums);
        return;
      }
      const std::size_t at = (p * T::kDotRows + r) * kPanel;
      const F32 both = S::mul(S::load(scales + p * kPanel), S::set1(a_scale[r * groups]));
      S::store(block + at, S::fma(S::to_f32(sums), both, S::load(before + at)));
    }
  };

  // --- floats ----------------------------------------------------------------------------------

  /// Scales of the columns of a panel where they come after the sums, else null.
  QEFF_INLINE static const float* column_scales(const PackedView& w, std::size_t panel) noexcept {
    return Decode<S>::scale_last(w) ? w.scales + panel * kPanel : nullptr;
  }

  static void direct_panel(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel) noexcept {
    if constexpr (kDirectRows > 0)
      for (std::size_t m = m_begin; m < m_end; m += kDirectRows)
        by_rows<kDirectRows>(least(m_end - m, kDirectRows),
                             [&]<int kR>() QEFF_INLINE_LAMBDA { direct_rows<kR>(args, m, panel); });
  }

  /// The sums of VectorTile, each in the same order, with weights that never leave the registers.
  template <int kR>
  static void direct_rows(const GemmArgs& args, std::size_t m, std::size_t panel) noexcept {
    const PackedView& w = *args.weights;
    F32 sums[kR];
    for (auto& s : sums) s = S::set1(0.0f);
    const std::size_t pitch = Rows<S>::bytes(w, args.rows);
    const std::byte* a = args.a + m * pitch;
    const std::size_t line = panel_bytes(w.format, 4);
    const std::byte* codes = w.codes + panel * panel_bytes(w.format, w.k_padded());
    Decode<S>::each_line(w, panel, [&](std::size_t k, F32 (&v)[4]) QEFF_INLINE_LAMBDA {
      for (std::size_t i = 0; i < line; i += 64) prefetch(codes + k / 4 * line + i);
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) {
        const std::byte* row = a + static_cast<std::size_t>(r) * pitch;
        if constexpr (S::kBf16) {
          if (w.activations == Activations::bf16) {
            const auto* x = reinterpret_cast<const std::uint16_t*>(row) + k;
            sums[r] = S::dot_bf16(sums[r], S::broadcast_pair(x), S::as_pair(Decode<S>::pair(v[0], v[1])));
            sums[r] = S::dot_bf16(sums[r], S::broadcast_pair(x + 2), S::as_pair(Decode<S>::pair(v[2], v[3])));
            continue;
          }
        }
        const auto* x = reinterpret_cast<const float*>(row) + k;
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) sums[r] = S::fma(S::set1(x[j]), v[j], sums[r]);
      }
    });
    alignas(64) float block[kR * kPanel];
    for (int r = 0; r < kR; ++r) S::store(block + r * kPanel, sums[r]);
    finish<S>(args, m, kR, panel, block, column_scales(w, panel));
  }

  static void float_panels(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                           std::size_t panels, std::byte* scratch) noexcept {
    const PackedView& w = *args.weights;
    const bool pairs = S::kBf16 && w.activations == Activations::bf16;
    const bool packed = (w.format == WeightFormat::f32 && w.activations == Activations::f32) ||
                        (w.format == WeightFormat::bf16 && pairs);
    const std::size_t pitch = Decode<S>::float_panel_bytes(w.activations, w.k_padded());
    const std::byte* b = packed ? w.codes + p * pitch : scratch;
    if (!packed)
      for (std::size_t i = 0; i < panels; ++i) expand(w, p + i, scratch + i * pitch);
    const std::size_t most = tile_rows(m_end - m_begin, Tile::kRows);
    for (std::size_t m = m_begin; m < m_end; m += most) {
      const std::size_t rows = least(m_end - m, most);
      alignas(64) float c[kPanels * Tile::kRows * kPanel];
      if (pairs)
        bf16_block(args, m, rows, panels, b, pitch, c);
      else
        f32_block(args, m, rows, panels, b, pitch, c);
      for (std::size_t i = 0; i < panels; ++i)
        finish<S>(args, m, rows, p + i, c + i * Tile::kRows * kPanel, column_scales(w, p + i));
    }
  }

  static void expand(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    if constexpr (S::kBf16)
      if (PairLines<S>::serve(w)) return PairLines<S>::expand(w, panel, out);
    Decode<S>::expand_float(w, panel, out);
  }

  static void f32_block(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t panels,
                        const std::byte* b, std::size_t pitch, float* c) noexcept {
    using Vector = VectorTile<S>;
    const std::size_t a_pitch = Rows<S>::bytes(*args.weights, args.rows);
    for (std::size_t r = 0; r < rows; r += Vector::kRows)
      Vector::f32(reinterpret_cast<const float*>(args.a + (m + r) * a_pitch), a_pitch / sizeof(float),
                  reinterpret_cast<const float*>(b), kPanel, pitch / sizeof(float), panels, args.weights->k_padded(),
                  rows - r < Vector::kRows ? rows - r : Vector::kRows, StoreSums<S, float>{c + r * kPanel, Tile::kRows});
  }

  static void bf16_block([[maybe_unused]] const GemmArgs& args, [[maybe_unused]] std::size_t m,
                         [[maybe_unused]] std::size_t rows, [[maybe_unused]] std::size_t panels,
                         [[maybe_unused]] const std::byte* b, [[maybe_unused]] std::size_t pitch,
                         [[maybe_unused]] float* c) noexcept {
    if constexpr (S::kBf16) {
      const std::size_t a_pitch = Rows<S>::bytes(*args.weights, args.rows);
      Tile::bf16(reinterpret_cast<const std::uint16_t*>(args.a + m * a_pitch), a_pitch / 2, b, pitch, panels,
                 args.weights->k_padded(), rows, StoreSums<S, float>{c, Tile::kRows});
    }
  }
};

}  // namespace qeff::kernels
