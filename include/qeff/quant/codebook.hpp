/// @file
/// Codebook quantization: 4-bit indices into 16 fixed values, scaled by the largest magnitude of a
/// group.
///
///     scale = max |x|        code = argmin_i |x / scale - codebook[i]|        x' = scale *
///     codebook[code]
///
/// A value half-way between two entries gets the lower one. A group of zeros gets scale 1. Both
/// codebooks hold 0, -1 and 1: zeros and the largest magnitudes are exact.
///
/// Source: T. Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023,
/// section 3; the values are bitsandbytes', FP4 in ascending order.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/granularity.hpp"
#include "qeff/quant/quantized_matrix.hpp"
#include "qeff/quant/range.hpp"
#include "qeff/quant/read_values.hpp"

namespace qeff {

/// 16 ascending values in [-1, 1].
using Codebook = std::array<float, 16>;

/// Quantiles of a normal distribution, with an exact zero.
inline constexpr Codebook kNf4{-1.0f,
                               -0.6961928009986877f,
                               -0.5250730514526367f,
                               -0.39491748809814453f,
                               -0.28444138169288635f,
                               -0.18477343022823334f,
                               -0.09105003625154495f,
                               0.0f,
                               0.07958029955625534f,
                               0.16093020141124725f,
                               0.24611230194568634f,
                               0.33791524171829224f,
                               0.44070982933044434f,
                               0.5626170039176941f,
                               0.7229568362236023f,
                               1.0f};

/// {0, 0.0625, 2, 3, 4, 6, 8, 12} / 12 and negatives; its two zeros are codes 7 and 8, 7 is used.
inline constexpr Codebook kFp4{
    -1.0f, -8.0f / 12,   -6.0f / 12, -4.0f / 12, -3.0f / 12, -2.0f / 12, -0.0625f / 12, 0.0f,
    0.0f,  0.0625f / 12, 2.0f / 12,  3.0f / 12,  4.0f / 12,  6.0f / 12,  8.0f / 12,     1.0f};

/// Index of the entry nearest to `x`; of two equally near or equal ones the lower.
[[nodiscard]] constexpr std::uint8_t nearest_entry(float x, const Codebook& codebook) noexcept {
  std::uint8_t code = 0;
  for (std::size_t i = 0; i + 1 < codebook.size(); ++i) {
    const double middle = (static_cast<double>(codebook[i]) + codebook[i + 1]) / 2;
    code = static_cast<std::uint8_t>(code + (static_cast<double>(x) > middle));
  }
  return code;
}

struct CodebookConfig {
  Codebook codebook = kNf4;
  std::size_t group_size =
      64;  ///< Columns that share a scale; 0: whole row. The last may be short.
};

/// Largest magnitude of a group that is normal and has a normal reciprocal; 1 for zeros.
[[nodiscard]] inline float absmax_scale(std::span<const float> values) noexcept {
  const Range range = minmax_range(values);
  const float absmax = std::max(-range.lo, range.hi);
  return absmax > 0.0f ? std::max(absmax, std::numeric_limits<float>::min()) : 1.0f;
}

/// Quantizes every group of every row of `w`.
/// @throws InvalidArgument for an empty matrix, NaN or infinity, and a codebook that is not
/// ascending
///         within [-1, 1].
template <class T>
[[nodiscard]] QuantizedMatrix quantize_codebook(MatrixView<const T> w,
                                                const CodebookConfig& config) {
  const Codebook& book = config.codebook;
  require(std::ranges::is_sorted(book) && book.front() >= -1.0f && book.back() <= 1.0f,
          "quantize_codebook: the codebook must ascend within [-1, 1]");
  require_elements(w, "quantize_codebook");
  QuantizedMatrix q;
  q.kind = CodeKind::codebook;
  q.bits = 4;
  q.rows = w.rows;
  q.cols = w.cols;
  q.group_size = config.group_size == 0 ? w.cols : std::min(config.group_size, w.cols);
  q.codebook = book;
  q.codes.reserve(w.rows * w.cols);
  q.scales.reserve(w.rows * q.groups());

  std::vector<float> row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    read_row(w, r, std::span(row), "quantize_codebook");
    for (std::size_t g = 0; g < q.groups(); ++g) {
      const auto values = group_of(std::span<const float>(row), g, q.group_size);
      const float scale = absmax_scale(values);
      q.scales.push_back(scale);
      for (const float x : values) q.codes.push_back(nearest_entry(x / scale, book));
    }
  }
  return q;
}

}  // namespace qeff
