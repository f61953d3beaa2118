/// @file
/// The register tile of signed codes widened to words (16 bits), for policies where a product of words
/// takes fewer instructions than one of bytes; a panel is widened once for many rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/tile.inl.hpp"

namespace qeff::kernels {

/// See VectorTile.
template <class S>
struct WideTile {
  static constexpr std::size_t kDotRows = S::kRows, kPanels = 1, kLineBytes = 128;
  using Act = std::int16_t;

  /// Lines of a panel of signed bytes to the form int8 takes.
  static void widen(const std::byte* codes, std::size_t lines, std::byte* out) noexcept {
    for (std::size_t l = 0; l < lines; ++l) {
      S::store_words(out + l * kLineBytes, S::template widen<0>(codes + l * 64));
      S::store_words(out + l * kLineBytes + 64, S::template widen<1>(codes + l * 64));
    }
  }

  template <class Take>
  QEFF_INLINE static void int8(const Act* a, std::size_t a_stride, const std::byte* b, std::size_t /*b_pitch*/,
                               std::size_t /*panels*/, std::size_t lines, std::size_t rows,
                               const Take& take) noexcept {
    by_rows<kDotRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { int8_rows<kR>(a, a_stride, b, lines, take); });
  }

 private:
  template <int kR, class Take>
  static void int8_rows(const Act* a, std::size_t a_stride, const std::byte* b, std::size_t lines,
                        const Take& take) noexcept {
    typename S::I32 sums[kR];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    for (std::size_t k = 0; k < lines * 4; k += 2) {
      const auto words = S::load_words(b + k * 32);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r)
        sums[r] = S::dot_words(sums[r], a + static_cast<std::size_t>(r) * a_stride + k, words);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r) take(0, static_cast<std::size_t>(r), sums[r]);
  }
};

}  // namespace qeff::kernels
