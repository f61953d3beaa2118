/// @file
/// Sums over many rows of products of their columns: the inner loop of Hessians. See KernelTable::add_column_products.
///
/// A panel holds 16 columns: [rows][16] float32, or where the policy multiplies pairs of bf16, [rows / 2][16][2].
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/decode.inl.hpp"
#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"

namespace qeff::kernels {

template <class S>
class ColumnProducts {
  using F32 = typename S::F32;
  /// Columns of the left panel by right panels at a time: fewer loads than products.
  static constexpr int kColumns = S::kPanels > 1 ? 8 : S::kRows, kRight = S::kPanels > 1 ? 3 : 1;
  static constexpr std::size_t kStep = S::kBf16 ? 2 : 1;           // rows of a line

 public:
  static std::size_t bytes(std::size_t rows) noexcept { return (rows + kStep - 1) / kStep * 64; }

  /// x: [rows][16]
  static void pack(const float* x, std::size_t rows, std::byte* panel) noexcept {
    for (std::size_t r = 0; r < rows; r += kStep, panel += 64) {
      const F32 v = S::load(x + r * kPanel);
      if constexpr (S::kBf16) {
        const F32 next = r + 1 < rows ? S::load(x + (r + 1) * kPanel) : S::set1(0.0f);
        const auto pair = Decode<S>::pair(Math<S>::round_bf16(v), Math<S>::round_bf16(next));
        S::store(reinterpret_cast<std::int32_t*>(panel), pair);
      } else {
        S::store(reinterpret_cast<float*>(panel), v);
      }
    }
  }

  static void add(const std::byte* left, const std::byte* right, std::size_t panels, std::size_t rows, float* sums,
                  std::size_t stride) noexcept {
    for (std::size_t p = 0; p < panels; p += kRight)
      by_rows<kRight>(panels - p < kRight ? panels - p : kRight, [&]<int kP>() QEFF_INLINE_LAMBDA {
        for (std::size_t t = 0; t < kPanel; t += kColumns)
          by_rows<kColumns>(kPanel - t < kColumns ? kPanel - t : kColumns, [&]<int kT>() QEFF_INLINE_LAMBDA {
            columns<kT, kP>(left + t * 4, right + p * bytes(rows), bytes(rows), sums + t * stride + p * kPanel, stride);
          });
      });
  }

 private:
  template <int kT, int kP>
  static void columns(const std::byte* left, const std::byte* right, std::size_t bytes, float* sums,
                      std::size_t stride) noexcept {
    F32 s[kP][kT];
    for (auto& of_panel : s)
      for (auto& one : of_panel) one = S::set1(0.0f);
    for (std::size_t i = 0; i < bytes; i += 64) {
      if constexpr (S::kBf16) {
        typename S::Pair lines[kP];
#pragma GCC unroll 3
        for (int p = 0; p < kP; ++p) lines[p] = S::load_pair(right + static_cast<std::size_t>(p) * bytes + i);
#pragma GCC unroll 16
        for (int t = 0; t < kT; ++t) {
          const auto pair = S::broadcast_pair(reinterpret_cast<const std::uint16_t*>(left + i + t * 4));
#pragma GCC unroll 3
          for (int p = 0; p < kP; ++p) s[p][t] = S::dot_bf16(s[p][t], pair, lines[p]);
        }
      } else {
        F32 lines[kP];
#pragma GCC unroll 3
        for (int p = 0; p < kP; ++p)
          lines[p] = S::load(reinterpret_cast<const float*>(right + static_cast<std::size_t>(p) * bytes + i));
#pragma GCC unroll 16
        for (int t = 0; t < kT; ++t) {
          const F32 x = S::set1(reinterpret_cast<const float*>(left + i)[t]);
#pragma GCC unroll 3
          for (int p = 0; p < kP; ++p) s[p][t] = S::fma(x, lines[p], s[p][t]);
        }
      }
    }
    for (int p = 0; p < kP; ++p)
      for (int t = 0; t < kT; ++t) {
        float* out = sums + static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(p) * kPanel;
        S::store(out, S::add(S::load(out), s[p][t]));
      }
  }
};

}  // namespace qeff::kernels
