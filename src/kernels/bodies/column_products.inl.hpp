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
  static constexpr int kColumns = S::kPanels > 1 ? 16 : S::kRows;  // of the left panel, at a time
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

  static void add(const std::byte* left, const std::byte* right, std::size_t rows, float* sums,
                  std::size_t stride) noexcept {
    for (std::size_t t = 0; t < kPanel; t += kColumns)
      by_rows<kColumns>(kPanel - t < kColumns ? kPanel - t : kColumns, [&]<int kT>() QEFF_INLINE_LAMBDA {
        columns<kT>(left + t * 4, right, bytes(rows), sums + t * stride, stride);
      });
  }

 private:
  template <int kT>
  static void columns(const std::byte* left, const std::byte* right, std::size_t bytes, float* sums,
                      std::size_t stride) noexcept {
    F32 s[kT];
    for (auto& one : s) one = S::set1(0.0f);
    for (std::size_t i = 0; i < bytes; i += 64) {
      if constexpr (S::kBf16) {
        const auto line = S::load_pair(right + i);
#pragma GCC unroll 16
        for (int t = 0; t < kT; ++t)
          s[t] = S::dot_bf16(s[t], S::broadcast_pair(reinterpret_cast<const std::uint16_t*>(left + i + t * 4)), line);
      } else {
        const F32 line = S::load(reinterpret_cast<const float*>(right + i));
#pragma GCC unroll 16
        for (int t = 0; t < kT; ++t) s[t] = S::fma(S::set1(reinterpret_cast<const float*>(left + i)[t]), line, s[t]);
      }
    }
    for (int t = 0; t < kT; ++t) {
      float* out = sums + static_cast<std::size_t>(t) * stride;
      S::store(out, S::add(S::load(out), s[t]));
    }
  }
};

}  // namespace qeff::kernels
