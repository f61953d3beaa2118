/// @file
/// Double quantization: the scales of a matrix as 8-bit codes with a scale of their own.
///
///     offset = mean(scales)        absmax_b = max |scale - offset| over block b of 256 scales
///     scale' = offset + absmax_b * map[code]
///
/// map is the signed dynamic map of bitsandbytes: seven decades with ever more entries. A block of
/// equal scales is exact. 4-bit codes with groups of 64 take 4.127 bits a weight instead of 4.5.
///
/// Source: T. Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023,
/// section 3; T. Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", ICLR 2016.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

/// Scales at rest.
struct DoubleQuantizedScales {
  static constexpr std::size_t kBlock = 256;

  std::vector<std::uint8_t> codes;  ///< one for each scale
  std::vector<float> absmax;        ///< one for each block of kBlock codes
  float offset = 0.0f;

  [[nodiscard]] std::size_t nbytes() const noexcept {
    return codes.size() + (absmax.size() + 1) * sizeof(float);
  }
};

/// The 256 values of the signed dynamic map, ascending.
[[nodiscard]] inline const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> map = [] {
    std::array<float, 256> values{};
    std::size_t n = 0;
    double decade = 1e-6;
    for (int i = 0; i < 7; ++i, decade *= 10) {
      const int count = 1 << i;
      for (int j = 0; j < count; ++j) {
        const double middle = 0.1 + 0.9 * (j + 0.5) / count;
        values[n++] = static_cast<float>(middle * decade);
        values[n++] = static_cast<float>(-middle * decade);
      }
    }
    values[n++] = 0.0f;
    values[n++] = 1.0f;
    std::ranges::sort(values);
    return values;
  }();
  return map;
}

namespace detail {

/// Index of the value of `map` nearest to `x`, of two the lower.
[[nodiscard]] inline std::uint8_t nearest_in(const std::array<float, 256>& map, float x) noexcept {
  const auto above = std::ranges::lower_bound(map, x);
  if (above == map.begin()) return 0;
  if (above == map.end()) return 255;
  const bool lower = x - *(above - 1) <= *above - x;
  return static_cast<std::uint8_t>(above - map.begin() - (lower ? 1 : 0));
}

}  // namespace detail

/// The stored form of `scales`, which are positive and finite.
[[nodiscard]] inline DoubleQuantizedScales double_quantize(std::span<const float> scales) {
  DoubleQuantizedScales stored;
  double sum = 0.0;
  for (const float s : scales) sum += s;
  stored.offset =
      scales.empty() ? 0.0f : static_cast<float>(sum / static_cast<double>(scales.size()));
  stored.codes.reserve(scales.size());
  for (std::size_t first = 0; first < scales.size(); first += DoubleQuantizedScales::kBlock) {
    const auto block =
        scales.subspan(first, std::min(DoubleQuantizedScales::kBlock, scales.size() - first));
    float absmax = 0.0f;
    for (const float s : block) absmax = std::max(absmax, std::fabs(s - stored.offset));
    stored.absmax.push_back(absmax);
    for (const float s : block)
      stored.codes.push_back(
          detail::nearest_in(dynamic_map(), absmax > 0.0f ? (s - stored.offset) / absmax : 0.0f));
  }
  return stored;
}

/// The scales that `stored` stands for; never below the smallest normal float.
[[nodiscard]] inline std::vector<float> reconstruct_scales(const DoubleQuantizedScales& stored) {
  std::vector<float> scales(stored.codes.size());
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const float s =
        dynamic_map()[stored.codes[i]] * stored.absmax[i / DoubleQuantizedScales::kBlock] +
        stored.offset;
    scales[i] = std::clamp(s, std::numeric_limits<float>::min(), std::numeric_limits<float>::max());
  }
  return scales;
}

/// Replaces the scales of `q` by what their stored form gives back, and returns that form.
/// Codes are kept, as bitsandbytes does: they were chosen with the exact scales.
inline DoubleQuantizedScales double_quantize_scales(QuantizedMatrix& q) {
  DoubleQuantizedScales stored = double_quantize(q.scales);
  q.scales = reconstruct_scales(stored);
  return stored;
}

}  // namespace qeff
