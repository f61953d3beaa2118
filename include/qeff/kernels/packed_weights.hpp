/// @file
/// Weights in the one packed order of qeff: ready for every ISA, mapped from disk as they are.
///
/// A weight matrix (n, k) is cut into panels of 16 rows of W (16 output columns of y = x W^T) and
/// padded to n_padded = 16 * panels, k_padded = multiple of 64. Inside a panel the reduction index
/// runs slowest, in lines of 4 consecutive k:
///
///     8-bit  line r (64 bytes):  column 0: k 4r..4r+3, column 1: k 4r..4r+3, ..., column 15
///     4-bit  line pair (64 bytes) of a 64-k tile (512 bytes): byte l*64 + c*4 + j, l in 0..7, holds
///            line l in its low nibble and line l + 8 in its high nibble
///     bf16   line r (64 bytes): 16 columns x k 2r, 2r+1     f32 line r (64 bytes): 16 columns of k r
///
/// 16 eight-bit lines are one AMX int8 B tile and 16 VNNI operands. Scales and zero points are
/// stored per panel: [panel][group][16], scales as float32 or, where weights have groups and nothing is
/// lost, as bfloat16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/macros.hpp"

namespace qeff::kernels {

inline constexpr std::size_t kPanel = 16;  ///< Columns of y in a panel.
inline constexpr std::size_t kTileK = 64;  ///< Reduction indices in a tile; k is padded to it.

/// Stored form of the codes. The values are part of the artifact format: never reorder.
enum class WeightFormat : std::uint8_t {
  i8,    ///< signed, in [-127, 127]; scale per group
  u8,    ///< unsigned 8-bit codes, scale and zero point per group
  u4,    ///< unsigned 4-bit codes, scale and zero point per group
  cb4,   ///< index into a codebook of 16 values, scale per group
  e4m3,  ///< FP8 E4M3FN, scale per group
  e5m2,  ///< FP8 E5M2, scale per group
  bf16,  ///< no scale
  f32    ///< no scale
};

/// What x is turned into before the products; a property of the weights, never of the CPU, so that
/// an artifact means the same numbers everywhere. The values are part of the artifact format.
enum class Activations : std::uint8_t {
  int8,  ///< symmetric int8 with a scale per row and group of the weights (see activation_groups), int32
         ///< sums; for i8, u4 and cb4 weights
  bf16,  ///< rounded to bfloat16 (weights too), float32 sums, or something closer to f32 that is faster
  f32    ///< float32 throughout
};

/// Bytes of one panel's codes for `k` padded reduction indices.
[[nodiscard]] QEFF_INLINE constexpr std::size_t panel_bytes(WeightFormat format, std::size_t k_padded) noexcept {
  switch (format) {
    case WeightFormat::u4:
    case WeightFormat::cb4: return k_padded * kPanel / 2;
    case WeightFormat::bf16: return k_padded * kPanel * 2;
    case WeightFormat::f32: return k_padded * kPanel * 4;
    default: return k_padded * kPanel;
  }
}

/// Packed weights wherever they live; all pointers 64-byte aligned. A plain struct: it crosses the
/// border to the per-ISA code, where a function that is not inlined would be a weak symbol compiled
/// for one ISA and linked into all; hence QEFF_INLINE.
struct PackedView {
  WeightFormat format = WeightFormat::f32;
  Activations activations = Activations::f32;
  std::size_t n = 0;           ///< Output features.
  std::size_t k = 0;           ///< Input features.
  std::size_t group_size = 0;  ///< 1..k; `k` is per channel.
  const std::byte* codes = nullptr;           ///< panels * panel_bytes(format, k_padded)
  const float* scales = nullptr;              ///< [panel][group][16]; null for bf16, f32
  const std::uint16_t* bf16_scales = nullptr; ///< Instead of scales; with more than one group only
  const std::uint8_t* zero_points = nullptr;  ///< [panel][group][16]; u8, u4 only
  const float* codebook = nullptr;            ///< [16]; cb4 only
  const float* input_scale = nullptr;         ///< [k_padded] or null: x is multiplied by it first

  [[nodiscard]] QEFF_INLINE constexpr std::size_t panels() const noexcept { return (n + kPanel - 1) / kPanel; }
  [[nodiscard]] QEFF_INLINE constexpr std::size_t n_padded() const noexcept { return panels() * kPanel; }
  [[nodiscard]] QEFF_INLINE constexpr std::size_t k_padded() const noexcept { return (k + kTileK - 1) / kTileK * kTileK; }
  [[nodiscard]] QEFF_INLINE constexpr std::size_t groups() const noexcept { return (k + group_size - 1) / group_size; }
  [[nodiscard]] QEFF_INLINE constexpr std::size_t code_bytes() const noexcept {
    return panels() * panel_bytes(format, k_padded());
  }
  /// Scales of a row of int8 activations: one a group, so that an outlier costs its own group its bits
  /// and not the whole row; one for all groups whose size is not a multiple of 16.
  [[nodiscard]] QEFF_INLINE constexpr std::size_t activation_groups() const noexcept {
    return group_size % 16 == 0 ? groups() : 1;
  }
  [[nodiscard]] QEFF_INLINE constexpr bool has_scales() const noexcept { return scales != nullptr || bf16_scales != nullptr; }
  /// Elements of scales and of zero_points.
  [[nodiscard]] QEFF_INLINE constexpr std::size_t scale_count() const noexcept { return n_padded() * groups(); }
  /// Bytes of scales, in whichever form.
  [[nodiscard]] QEFF_INLINE constexpr std::size_t scale_bytes() const noexcept {
    return has_scales() ? scale_count() * (scales != nullptr ? sizeof(float) : sizeof(std::uint16_t)) : 0;
  }
};

/// Packed weights that own their memory. view().codes etc. point into it.
struct PackedMatrix {
  PackedView view;
  AlignedBuffer codes, scales, zero_points, codebook, input_scale;
  /// Bytes of all buffers.
  [[nodiscard]] std::size_t nbytes() const noexcept {
    return codes.size() + scales.size() + zero_points.size() + codebook.size() + input_scale.size();
  }
};

}  // namespace qeff::kernels
