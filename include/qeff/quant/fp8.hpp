/// @file
/// FP8 weights: E4M3 or E5M2 codes with a scale per tensor, row, group of columns or square block.
///
///     scale = max |x| / max_value(format)        code = RNE(x / scale), saturating
///     x'    = scale * decode(code)
///
/// |x - x'| <= 2^-(M+1) |x| for values not subnormal in the format, M mantissa bits, and at most
/// half its smallest subnormal times scale for the others. Zero is exact; zeros alone get scale 1.
///
/// Source: P. Micikevicius et al., "FP8 formats for deep learning", 2022; blocks of 128 x 128:
/// DeepSeek-V3 technical report, 2024, section 3.3.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qeff/core/dtype.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/quant/granularity.hpp"
#include "qeff/quant/quantized_matrix.hpp"
#include "qeff/quant/read_values.hpp"

namespace qeff {

struct Fp8Config {
  DType format = DType::e4m3;  ///< e4m3 or e5m2
  Granularity granularity = Granularity::per_channel;
  std::size_t group_size = 128;  ///< per_group: columns; per_block: rows and columns of a block.
};

/// The scale that puts `absmax` on the largest value of the format; 1 for 0, never subnormal.
[[nodiscard]] constexpr float fp8_scale(float absmax, DType format) noexcept {
  const float largest = format == DType::e5m2 ? max_value<E5M2> : max_value<E4M3>;
  if (absmax == 0.0f) return 1.0f;
  return std::max(absmax / largest, std::numeric_limits<float>::min());
}

/// Code of a value on a scale.
[[nodiscard]] constexpr std::uint8_t fp8_code(float x, float scale, DType format) noexcept {
  return format == DType::e5m2 ? to_bits<E5M2>(x / scale, true) : to_bits<E4M3>(x / scale, true);
}

namespace detail {

/// Rows that share their scales.
template <class T>
[[nodiscard]] std::size_t rows_per_scale(MatrixView<const T> w, const Fp8Config& config) noexcept {
  if (config.granularity == Granularity::per_tensor) return w.rows;
  return config.granularity == Granularity::per_block ? config.group_size : 1;
}

/// Largest magnitude of each group, over rows [begin, end) of `w`.
template <class T>
[[nodiscard]] std::vector<float> group_absmax(MatrixView<const T> w, std::size_t begin,
                                              std::size_t end, std::size_t group_size) {
  std::vector<float> absmax((w.cols + group_size - 1) / group_size, 0.0f);
  std::vector<float> row(w.cols);
  for (std::size_t r = begin; r < end; ++r) {
    read_row(w, r, std::span(row), "quantize_fp8");
    for (std::size_t c = 0; c < w.cols; ++c)
      absmax[c / group_size] = std::max(absmax[c / group_size], std::fabs(row[c]));
  }
  return absmax;
}

}  // namespace detail

/// Quantizes `w`. Scales are stored for each row: those of a tensor or block are repeated.
/// @throws InvalidArgument for another format, an empty matrix, group_size 0, and NaN or infinity.
template <class T>
[[nodiscard]] QuantizedMatrix quantize_fp8(MatrixView<const T> w, const Fp8Config& config) {
  require(config.format == DType::e4m3 || config.format == DType::e5m2,
          "quantize_fp8: format must be e4m3 or e5m2, not ", info(config.format).name);
  require_elements(w, "quantize_fp8");
  QuantizedMatrix q;
  q.kind = CodeKind::minifloat;
  q.bits = 8;
  q.float_format = config.format;
  q.rows = w.rows;
  q.cols = w.cols;
  q.group_size = columns_per_scale(config.granularity, config.group_size, w.cols, "quantize_fp8");
  q.codes.resize(w.rows * w.cols);
  q.scales.reserve(w.rows * q.groups());

  const std::size_t stripe = detail::rows_per_scale(w, config);
  for (std::size_t begin = 0; begin < w.rows; begin += std::min(stripe, w.rows - begin)) {
    const std::size_t end = begin + std::min(stripe, w.rows - begin);
    std::vector<float> scales = detail::group_absmax(w, begin, end, q.group_size);
    for (float& s : scales) s = fp8_scale(s, config.format);
    for (std::size_t r = begin; r < end; ++r) {
      q.scales.insert(q.scales.end(), scales.begin(), scales.end());
      for (std::size_t c = 0; c < w.cols; ++c)
        q.codes[r * w.cols + c] =
            fp8_code(static_cast<float>(w(r, c)), scales[c / q.group_size], config.format);
    }
  }
  return q;
}

}  // namespace qeff
