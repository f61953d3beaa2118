/// @file
/// Simd policy for AMX (Sapphire Rapids 2023): AVX-512 BF16 for everything but the products of large
/// blocks, which go through 2 x 2 tiles: 32 rows by 2 panels of 16 columns.
///
/// Tiles 0..3 hold sums (row half + 2 * panel), 4 and 5 rows of activations, 6 and 7 weights. A
/// tile of weights is 16 lines of a panel as they are stored. int8 tiles multiply signed by signed.
#pragma once

#include "kernels/bodies/tile.inl.hpp"
#include "kernels/simd/avx512_bf16.hpp"

namespace qeff::kernels::simd {

struct Amx : Avx512Bf16 {
  static constexpr Isa kIsa = Isa::amx;

  static constexpr bool kUnsignedCodes = false;
  static constexpr bool kNibbleWords = false;

  QEFF_INLINE static Bytes load_codes(const std::byte* p) noexcept { return load_bytes(p); }
  /// Signed times signed with an instruction that wants its first operand unsigned: |a| * (w with the
  /// sign of a). Exact within -127..127.
  QEFF_INLINE static I32 dot(I32 sum, Act a, Bytes codes) noexcept {
    const __mmask64 negative = _mm512_movepi8_mask(a);
    const __m512i flipped = _mm512_mask_sub_epi8(codes.v, negative, _mm512_setzero_si512(), codes.v);
    return {dpbusd(sum.v, _mm512_abs_epi8(a), flipped)};
  }

  struct Tile {
    static constexpr std::size_t kRows = 32, kDotRows = 32, kPanels = 2, kLineBytes = 64;
    using Act = std::int8_t;
    using Vector = VectorTile<Amx, true>;
    /// Up to so many rows vectors are faster than mostly empty tiles.
    static constexpr std::size_t kVectorRows = 4;

    template <class Take>
    QEFF_INLINE static void int8(const std::int8_t* a, std::size_t a_stride, const std::byte* b,
                                 std::size_t b_pitch, std::size_t panels, std::size_t lines, std::size_t rows,
                                 const Take& take) noexcept {
      if (rows <= kVectorRows || lines % 16 != 0) {
        by_vectors(panels, rows, [&](std::size_t p, std::size_t r, std::size_t part) QEFF_INLINE_LAMBDA {
          Vector::int8(a + r * a_stride, a_stride, b + p * b_pitch, 0, 1, lines, part,
                       [&](std::size_t, std::size_t i, I32 sums) QEFF_INLINE_LAMBDA { take(p, r + i, sums); });
        });
        return;
      }
      alignas(64) std::int32_t c[kPanels * kRows * 16];
      const auto* bytes = reinterpret_cast<const std::byte*>(a);
      multiply(bytes, a_stride, b, b_pitch, panels, lines * 4, rows, reinterpret_cast<std::byte*>(c),
               [](int tile) QEFF_INLINE_LAMBDA {
                 if (tile == 0) _tile_dpbssd(0, 4, 6);
                 if (tile == 1) _tile_dpbssd(1, 5, 6);
                 if (tile == 2) _tile_dpbssd(2, 4, 7);
                 if (tile == 3) _tile_dpbssd(3, 5, 7);
               });
      give(c, panels, rows, take);
    }

    template <class Take>
    QEFF_INLINE static void bf16(const std::uint16_t* a, std::size_t a_stride, const std::byte* b,
                                 std::size_t b_pitch, std::size_t panels, std::size_t k, std::size_t rows,
                                 const Take& take) noexcept {
      alignas(64) float c[kPanels * kRows * 16];
      const auto* bytes = reinterpret_cast<const std::byte*>(a);
      multiply(bytes, a_stride * 2, b, b_pitch, panels, k * 2, rows, reinterpret_cast<std::byte*>(c),
               [](int tile) QEFF_INLINE_LAMBDA {
                 if (tile == 0) _tile_dpbf16ps(0, 4, 6);
                 if (tile == 1) _tile_dpbf16ps(1, 5, 6);
                 if (tile == 2) _tile_dpbf16ps(2, 4, 7);
                 if (tile == 3) _tile_dpbf16ps(3, 5, 7);
               });
      give(c, panels, rows, take);
    }

    /// For the roof: the operations of a round of int8 products (half as many of bf16) of tiles loaded once.
    static constexpr double kRegisterOperations = 4 * 2.0 * 16 * 16 * 64;

    /// out: 16 sums. operands: one tile, for rows and weights.
    template <bool kInt8>
    QEFF_INLINE static void registers(const std::byte* operands, std::size_t rounds, std::byte* out) noexcept {
      configure(32);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      _tile_loadd(4, operands, 64);
      _tile_loadd(5, operands, 64);
      _tile_loadd(6, operands, 64);
      _tile_loadd(7, operands, 64);
      for (std::size_t i = 0; i < rounds; ++i) {
        if constexpr (kInt8) {
          _tile_dpbssd(0, 4, 6);
          _tile_dpbssd(1, 5, 6);
          _tile_dpbssd(2, 4, 7);
          _tile_dpbssd(3, 5, 7);
        } else {
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(1, 5, 6);
          _tile_dpbf16ps(2, 4, 7);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      alignas(64) std::byte sums[1024];
      _tile_stored(0, sums, 64);
      _tile_release();
      __builtin_memcpy(out, sums, 64);
    }

   private:
    struct alignas(64) Config {
      std::uint8_t palette, start_row, reserved[14];
      std::uint16_t row_bytes[16];
      std::uint8_t rows[16];
    };
    static_assert(sizeof(Config) == 64);

    template <class Sum, class Take>
    QEFF_INLINE static void give(const Sum* c, std::size_t panels, std::size_t rows, const Take& take) noexcept {
      for (std::size_t p = 0; p < panels; ++p)
        for (std::size_t r = 0; r < rows; ++r) take(p, r, load(c + (p * kRows + r) * 16));
    }

    template <class F>
    QEFF_INLINE static void by_vectors(std::size_t panels, std::size_t rows, F&& f) noexcept {
      for (std::size_t p = 0; p < panels; ++p)
        for (std::size_t r = 0; r < rows; r += Vector::kRows)  // kDotRows is the same
          f(p, r, rows - r < Vector::kRows ? rows - r : Vector::kRows);
    }

    /// Tile shapes for `rows` rows in halves of 16.
    QEFF_INLINE static void configure(std::size_t rows) noexcept {
      Config config;
      __builtin_memset(&config, 0, sizeof config);
      config.palette = 1;
      const std::size_t first = rows < 16 ? rows : 16, second = rows > 16 ? rows - 16 : 0;
      for (int t = 0; t < 8; ++t) {
        const bool weights = t >= 6, lower = t == 1 || t == 3 || t == 5;
        const std::size_t n = weights ? 16 : lower ? (second ? second : 1) : first;
        config.rows[t] = static_cast<std::uint8_t>(n);
        config.row_bytes[t] = 64;
      }
      // GCC 12 tells the optimizer that 8 bytes of the operand are read: without this the stores vanish.
      asm volatile("" : : "r"(&config) : "memory");
      _tile_loadconfig(&config);
    }

    /// c[panel][kRows][16] of 4-byte sums = a (rows of `row_bytes` bytes) times b, 64 bytes of the
    /// reduction at a time.
    template <class F>
    QEFF_INLINE static void multiply(const std::byte* a, std::size_t a_stride, const std::byte* b,
                                     std::size_t b_pitch, std::size_t panels, std::size_t row_bytes,
                                     std::size_t rows, std::byte* c, F&& product) noexcept {
      const bool lower = rows > 16, second = panels > 1;
      configure(rows);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (std::size_t k = 0; k < row_bytes; k += 64) {
        _tile_loadd(4, a + k, a_stride);
        _tile_loadd(6, b + k * 16, 64);
        product(0);
        if (lower) {
          _tile_loadd(5, a + 16 * a_stride + k, a_stride);
          product(1);
        }
        if (second) {
          _tile_loadd(7, b + b_pitch + k * 16, 64);
          product(2);
          if (lower) product(3);
        }
      }
      _tile_stored(0, c, 64);
      if (lower) _tile_stored(1, c + 16 * 64, 64);
      if (second) _tile_stored(2, c + kRows * 64, 64);
      if (second && lower) _tile_stored(3, c + (kRows + 16) * 64, 64);
      _tile_release();
    }
  };
};

}  // namespace qeff::kernels::simd
