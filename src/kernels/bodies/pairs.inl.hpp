/// @file
/// Weights as pairs of bf16 where that takes no arithmetic: bf16 itself, and FP8 with one scale a column through a
/// table of its 128 magnitudes. Few rows multiply them without storing them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/epilogue.inl.hpp"
#include "kernels/bodies/row_form.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// Low and high bytes of the bf16 values of the codes 0..127 of an FP8 format; the sign is bit 7 of both.
struct Fp8Bytes {
  alignas(64) std::uint8_t low[128], high[128];

  template <class Format>
  static consteval Fp8Bytes of() {
    Fp8Bytes bytes{};
    for (unsigned code = 0; code < 128; ++code) {
      const unsigned bits = to_bits<BF16>(to_float<Format>(static_cast<std::uint8_t>(code)));
      bytes.low[code] = static_cast<std::uint8_t>(bits);
      bytes.high[code] = static_cast<std::uint8_t>(bits >> 8);
    }
    return bytes;
  }
};

/// @pre S::kBf16
template <class S>
class PairLines {
  using F32 = typename S::F32;
  using Pair = typename S::Pair;
  /// So many that the sums of one row hardly wait for each other; more streams of memory cost more than they save.
  static constexpr int kStreamPanels = 4;
  static constexpr Fp8Bytes kE4M3 = Fp8Bytes::of<E4M3>(), kE5M2 = Fp8Bytes::of<E5M2>();

 public:
  /// Rows that stream multiplies at most.
  static constexpr std::size_t kRows = kStreamingRows;

  static bool serve(const PackedView& w) noexcept {
    if (w.activations != Activations::bf16) return false;
    if (w.format == WeightFormat::bf16) return true;
    return (w.format == WeightFormat::e4m3 || w.format == WeightFormat::e5m2) && w.groups() == 1;
  }

  /// Panel `panel` as the tiles take it: [k / 2][16][2].
  static void expand(const PackedView& w, std::size_t panel, std::byte* out) noexcept {
    with_lines(w, panel, [&](const auto lines) QEFF_INLINE_LAMBDA {
      for (std::size_t l = 0; l < w.k_padded() / 4; ++l, out += 128) {
        Pair first, second;
        lines.read(0, l, kAhead, first, second);
        S::store_pair(out, first);
        S::store_pair(out + 64, second);
      }
    });
  }

  /// Rows [m_begin, m_end), kRows at most, of panels [p, end).
  static void stream(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p,
                     std::size_t end) noexcept {
    by_rows<static_cast<int>(kRows)>(m_end - m_begin, [&]<int kR>() QEFF_INLINE_LAMBDA {
      for (; p + kStreamPanels <= end; p += kStreamPanels) rows_of<kR, kStreamPanels>(args, m_begin, p);
      for (; p + 2 <= end; p += 2) rows_of<kR, 2>(args, m_begin, p);
      if (p < end) rows_of<kR, 1>(args, m_begin, p);
    });
  }

 private:
  struct Stored {
    static constexpr std::size_t kLineBytes = 128;
    const std::byte* codes;
    std::size_t pitch;
    QEFF_INLINE void read(int panel, std::size_t l, std::size_t distance, Pair& first, Pair& second) const noexcept {
      const std::byte* at = codes + static_cast<std::size_t>(panel) * pitch + l * kLineBytes;
      prefetch(at, distance);
      prefetch(at + 64, distance);
      first = S::load_pair(at);
      second = S::load_pair(at + 64);
    }
  };
  struct Fp8 {
    static constexpr std::size_t kLineBytes = 64;
    const std::byte* codes;
    std::size_t pitch;
    typename S::PairTable table;
    QEFF_INLINE void read(int panel, std::size_t l, std::size_t distance, Pair& first, Pair& second) const noexcept {
      const std::byte* at = codes + static_cast<std::size_t>(panel) * pitch + l * kLineBytes;
      prefetch(at, distance);
      S::look_up_pairs(table, S::load_bytes(at), first, second);
    }
  };

  template <class F>
  QEFF_INLINE static void with_lines(const PackedView& w, std::size_t panel, F&& f) noexcept {
    const std::size_t pitch = panel_bytes(w.format, w.k_padded());
    const std::byte* codes = w.codes + panel * pitch;
    if (w.format == WeightFormat::bf16) return f(Stored{codes, pitch});
    const Fp8Bytes& bytes = w.format == WeightFormat::e4m3 ? kE4M3 : kE5M2;
    f(Fp8{codes, pitch, S::load_pair_table(bytes.low, bytes.high)});
  }

  template <int kR, int kP>
  static void rows_of(const GemmArgs& args, std::size_t m, std::size_t panel) noexcept {
    const PackedView& w = *args.weights;
    const std::size_t pitch = Rows<S>::bytes(w, args.rows);
    const std::byte* rows = args.a + m * pitch;
    F32 sums[kP][kR];
    for (auto& of_panel : sums)
      for (auto& s : of_panel) s = S::set1(0.0f);
    with_lines(w, panel, [&](const auto lines) QEFF_INLINE_LAMBDA {
      for (std::size_t l = 0; l < w.k_padded() / 4; ++l) {
        const std::size_t distance = ahead(l * lines.kLineBytes, lines.pitch, kP);
        Pair first[kP], second[kP];
#pragma GCC unroll 4
        for (int p = 0; p < kP; ++p) lines.read(p, l, distance, first[p], second[p]);
#pragma GCC unroll 4
        for (int r = 0; r < kR; ++r) {
          const auto* x = reinterpret_cast<const std::uint16_t*>(rows + static_cast<std::size_t>(r) * pitch) + l * 4;
          const Pair a = S::broadcast_pair(x), b = S::broadcast_pair(x + 2);
#pragma GCC unroll 4
          for (int p = 0; p < kP; ++p) sums[p][r] = S::dot_bf16(sums[p][r], a, first[p]);
#pragma GCC unroll 4
          for (int p = 0; p < kP; ++p) sums[p][r] = S::dot_bf16(sums[p][r], b, second[p]);
        }
      }
    });
    for (int p = 0; p < kP; ++p) {
      alignas(64) float block[kR * kPanel];
      for (int r = 0; r < kR; ++r) S::store(block + r * kPanel, sums[p][r]);
      const std::size_t at = panel + static_cast<std::size_t>(p);
      finish<S>(args, m, kR, at, block, w.scales != nullptr ? w.scales + at * kPanel : nullptr);
    }
  }
};

}  // namespace qeff::kernels
