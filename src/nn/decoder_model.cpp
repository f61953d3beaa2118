#include "nn/decoder_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qeff/core/minifloat.hpp"
#include "qeff/kernels/pack.hpp"

namespace qeff::nn {

void unpack_row(const kernels::PackedView& w, std::size_t row, float* out) noexcept {
  using kernels::kPanel;
  using kernels::WeightFormat;
  const std::size_t column = row % kPanel;
  const std::byte* panel = w.codes + row / kPanel * kernels::panel_bytes(w.format, w.k_padded());
  if (w.format == WeightFormat::i8) {
    const auto* codes = reinterpret_cast<const std::int8_t*>(panel) + column * 4;
    std::size_t at = row / kPanel * kPanel * w.groups() + column;
    for (std::size_t begin = 0; begin < w.k; begin += w.group_size, at += kPanel) {
      const float scale = packed_scale(w, at);
      for (std::size_t i = begin; i < std::min(w.k, begin + w.group_size); ++i)
        out[i] = scale * static_cast<float>(codes[i / 4 * 64 + i % 4]);
    }
  } else if (w.format == WeightFormat::bf16) {
    const auto* values = reinterpret_cast<const bf16_t*>(panel) + column * 2;
    for (std::size_t i = 0; i < w.k; ++i)
      out[i] = static_cast<float>(values[i / 2 * 32 + i % 2]);
  } else {
    const auto* values = reinterpret_cast<const float*>(panel) + column;
    for (std::size_t i = 0; i < w.k; ++i) out[i] = values[i * kPanel];
  }
}

RopeTables::RopeTables(const DecoderShape& shape, std::size_t positions)
    : half_(shape.rotary_dim / 2) {
  if (!shape.architecture().rotary) return;
  for (const RopeShape& rope : shape.ropes) {
    const auto frequencies = rope_frequencies(rope, shape.rotary_dim);
    std::vector<float>& table = tables_.emplace_back(positions * 2 * half_);
    for (std::size_t p = 0; p < positions; ++p)
      for (std::size_t i = 0; i < half_; ++i) {
        // transformers rounds the frequency and the angle to float32; so does the model's training.
        const float angle = static_cast<float>(p) * static_cast<float>(frequencies[i]);
        float* at = table.data() + p * 2 * half_ + i;
        at[0] = static_cast<float>(std::cos(static_cast<double>(angle)) * rope.attention_factor);
        at[half_] = static_cast<float>(std::sin(static_cast<double>(angle)) * rope.attention_factor);
      }
  }
}

}  // namespace qeff::nn
