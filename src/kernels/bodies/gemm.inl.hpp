/// @file
/// y = epilogue(x W^T) over the policy's tile: decode a panel, run every row block over it, scale, finish.
///
/// The order of float operations of one output depends on the weights only, never on the range of
/// rows and panels of a call; the executor may cut the work anywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/decode.inl.hpp"
#include "kernels/bodies/epilogue.inl.hpp"
#include "kernels/bodies/prepare_rows.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class Gemm {
  using Tile = typename TileOf<S>::type;
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  static constexpr std::size_t kRows = Tile::kRows, kPanels = Tile::kPanels;
  /// Up to so many rows, widening a panel into scratch costs more than doing it in registers.
  static constexpr std::size_t kDirectRows = 2;

 public:
  static std::size_t scratch_bytes(const PackedView& w) noexcept {
    const std::size_t floats = Decode<S>::float_panel_bytes(w.activations, w.k_padded());
    const std::size_t ints = steps_bytes(w) + w.groups() * kPanel * sizeof(std::int32_t);
    return kPanels * (w.activations == Activations::int8 ? ints : floats);
  }

  static void run(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel_begin,
                  std::size_t panel_end, std::byte* scratch) noexcept {
    for (std::size_t p = panel_begin; p < panel_end; p += kPanels) {
      const std::size_t panels = panel_end - p < kPanels ? panel_end - p : kPanels;
      if (args.weights->activations == Activations::int8)
        int8_panels(args, m_begin, m_end, p, panels, scratch);
      else
        float_panels(args, m_begin, m_end, p, panels, scratch);
    }
  }

 private:
  /// Bytes of one widened integer panel.
  QEFF_INLINE static std::size_t steps_bytes(const PackedView& w) noexcept {
    return w.k_padded() / 4 * S::kSteps * S::kStepBytes;
  }

  // --- integers --------------------------------------------------------------------------------

  static void int8_panels(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                          std::size_t panels, std::byte* scratch) noexcept {
    const PackedView& w = *args.weights;
    const bool packed =
        w.format == WeightFormat::i8 && (!S::kExpand || m_end - m_begin <= kDirectRows);
    const std::size_t pitch = packed ? panel_bytes(w.format, w.k_padded()) : steps_bytes(w);
    const std::byte* b = packed ? w.codes + p * pitch : scratch;
    if (!packed) {
      for (std::size_t i = 0; i < panels; ++i) {
        if (w.format == WeightFormat::u4)
          Decode<S>::expand_u4(w, p + i, scratch + i * pitch);
        else
          Decode<S>::expand_i8(w.codes + (p + i) * panel_bytes(w.format, w.k_padded()), w.k_padded() / 4,
                               scratch + i * pitch);
      }
    }
    std::int32_t* sums = reinterpret_cast<std::int32_t*>(scratch + kPanels * steps_bytes(w));
    if constexpr (S::kActOffset != 0)
      for (std::size_t i = 0; i < panels; ++i)
        column_sums(w, b + i * pitch, sums + i * w.groups() * kPanel);
    for (std::size_t m = m_begin; m < m_end; m += kRows) {
      const std::size_t rows = m_end - m < kRows ? m_end - m : kRows;
      if (packed)
        int8_block<true>(args, m, rows, p, panels, b, pitch, sums);
      else
        int8_block<false>(args, m, rows, p, panels, b, pitch, sums);
    }
  }

  /// Lines [first, last) of group g; the last group takes the padding too.
  QEFF_INLINE static std::size_t first_line(const PackedView& w, std::size_t g) noexcept {
    return g == w.groups() ? w.k_padded() / 4 : g * w.group_size / 4;
  }

  /// kActOffset times the sum of each column's codes in each group: what stored activations add.
  /// @pre a step in scratch is a packed line (all policies with an offset)
  static void column_sums(const PackedView& w, const std::byte* b, std::int32_t* sums) noexcept {
    alignas(64) const typename S::ActI8 ones[4] = {1, 1, 1, 1};
    const auto one = S::load_act(ones);
    for (std::size_t g = 0; g < w.groups(); ++g) {
      I32 s = S::set1(std::int32_t{0});
      for (std::size_t l = first_line(w, g); l < first_line(w, g + 1); ++l)
        s = S::dot(s, one, S::load_step(b + l * S::kStepBytes));
      S::store(sums + g * kPanel, S::template shl<7>(s));
    }
  }
  static_assert(S::kActOffset == 0 || S::kActOffset == 128, "column_sums multiplies by 128");

  template <bool kPacked>
  static void int8_block(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t p,
                         std::size_t panels, const std::byte* b, std::size_t pitch,
                         const std::int32_t* sums) noexcept {
    using Act = typename S::ActI8;
    const PackedView& w = *args.weights;
    const Act* a = reinterpret_cast<const Act*>(args.a) + m * w.k_padded();
    alignas(64) std::int32_t c[kPanels * kRows * kPanel];
    alignas(64) float block[kPanels * kRows * kPanel];
    constexpr std::size_t kLine = kPacked ? 64 : S::kSteps * S::kStepBytes;
    for (std::size_t g = 0; g < w.groups(); ++g) {
      const std::size_t l = first_line(w, g), lines = first_line(w, g + 1) - l;
      Tile::template int8<kPacked>(a + l * 4, w.k_padded(), b + l * kLine, pitch, panels, lines, rows, c);
      if (args.accumulators != nullptr && g != args.group) continue;
      for (std::size_t i = 0; i < panels; ++i)
        scale_group(args, m, rows, p + i, g, sums + (i * w.groups() + g) * kPanel, c + i * kRows * kPanel,
                    block + i * kRows * kPanel);
    }
    if (args.accumulators != nullptr) return;
    for (std::size_t i = 0; i < panels; ++i)
      finish<S>(args, m, rows, p + i, block + i * kRows * kPanel, args.a_scales + m);
  }

  /// block (+)= to_f32(c - offset sums) * scale of group g; or hands the sums themselves out.
  static void scale_group(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t panel,
                          std::size_t g, const std::int32_t* sums, const std::int32_t* c,
                          float* block) noexcept {
    const PackedView& w = *args.weights;
    const F32 scale = S::load(w.scales + (panel * w.groups() + g) * kPanel);
    for (std::size_t r = 0; r < rows; ++r) {
      I32 v = S::load(c + r * kPanel);
      if constexpr (S::kActOffset != 0) v = S::sub(v, S::load(sums));
      if (args.accumulators != nullptr) {
        alignas(64) std::int32_t row[kPanel];
        S::store(row, v);
        const std::size_t n = w.n - panel * kPanel < kPanel ? w.n - panel * kPanel : kPanel;
        for (std::size_t j = 0; j < n; ++j) args.accumulators[(m + r) * w.n + panel * kPanel + j] = row[j];
        continue;
      }
      const F32 f = S::to_f32(v);
      float* out = block + r * kPanel;
      S::store(out, g == 0 ? S::mul(f, scale) : S::fma(f, scale, S::load(out)));
    }
  }

  // --- floats ----------------------------------------------------------------------------------

  static void float_panels(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                           std::size_t panels, std::byte* scratch) noexcept {
    const PackedView& w = *args.weights;
    const bool pairs = S::kBf16 && w.activations == Activations::bf16;
    const bool packed = (w.format == WeightFormat::f32 && w.activations == Activations::f32) ||
                        (w.format == WeightFormat::bf16 && pairs);
    const std::size_t pitch = Decode<S>::float_panel_bytes(w.activations, w.k_padded());
    const std::byte* b = packed ? w.codes + p * pitch : scratch;
    if (!packed)
      for (std::size_t i = 0; i < panels; ++i) Decode<S>::expand_float(w, p + i, scratch + i * pitch);
    for (std::size_t m = m_begin; m < m_end; m += kRows) {
      const std::size_t rows = m_end - m < kRows ? m_end - m : kRows;
      alignas(64) float c[kPanels * kRows * kPanel];
      if (pairs)
        bf16_block(args, m, rows, panels, b, pitch, c);
      else
        f32_block(args, m, rows, panels, b, pitch, c);
      for (std::size_t i = 0; i < panels; ++i)
        finish<S>(args, m, rows, p + i, c + i * kRows * kPanel, nullptr);
    }
  }

  static void f32_block(const GemmArgs& args, std::size_t m, std::size_t rows, std::size_t panels,
                        const std::byte* b, std::size_t pitch, float* c) noexcept {
    using Vector = VectorTile<S>;
    const std::size_t k = args.weights->k_padded();
    const float* a = reinterpret_cast<const float*>(args.a) + m * k;
    for (std::size_t i = 0; i < panels; ++i)
      for (std::size_t r = 0; r < rows; r += Vector::kRows) {
        const std::size_t part = rows - r < Vector::kRows ? rows - r : Vector::kRows;
        Vector::f32(a + r * k, k, reinterpret_cast<const float*>(b + i * pitch), kPanel, k, part,
                    c + (i * kRows + r) * kPanel);
      }
  }

  static void bf16_block([[maybe_unused]] const GemmArgs& args, [[maybe_unused]] std::size_t m,
                         [[maybe_unused]] std::size_t rows, [[maybe_unused]] std::size_t panels,
                         [[maybe_unused]] const std::byte* b, [[maybe_unused]] std::size_t pitch,
                         [[maybe_unused]] float* c) noexcept {
    if constexpr (S::kBf16) {
      const std::size_t k = args.weights->k_padded();
      const auto* a = reinterpret_cast<const std::uint16_t*>(args.a) + m * k;
      Tile::bf16(a, k, b, pitch, panels, k, rows, c);
    }
  }
};

}  // namespace qeff::kernels
