/// @file
/// A tiny random decoder as a llama2.c file, and calibration tokens for it. Seeded: the same bytes everywhere.
#pragma once

#include <cstdint>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "qeff/nn/token_batch.hpp"

namespace qeff::test {

inline constexpr std::int32_t kDecoderLayers = 6, kDecoderVocab = 48;

/// Legacy llama2.c: 7 sizes, then the tensors (src/io/llama2c.cpp).
inline std::string write_tiny_decoder(const std::string& path, std::int32_t dim = 64, std::int32_t inner = 128,
                                      std::int32_t positions = 32) {
  const std::int32_t heads = 4;
  const std::int32_t header[] = {dim, inner, kDecoderLayers, heads, heads, kDecoderVocab, positions};
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 0.15f);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(header), sizeof header);
  const auto put = [&](std::int32_t count, float mean) {
    for (std::int32_t i = 0; i < count; ++i) {
      const float value = mean + normal(random);
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
  };
  put(kDecoderVocab * dim, 0);
  put(kDecoderLayers * dim, 1);            // attention norms
  put(kDecoderLayers * 4 * dim * dim, 0);  // wq wk wv wo
  put(kDecoderLayers * dim, 1);            // feed-forward norms
  put(kDecoderLayers * 3 * dim * inner, 0);
  put(dim, 1);
  put(positions * dim / heads, 0);  // cos and sin, not read
  return path;
}

inline TokenBatch tiny_decoder_tokens(std::uint32_t seed = 5) {
  std::mt19937 random(seed);
  TokenBatch batch;
  batch.offsets = {0, 24, 44, 64};
  for (int i = 0; i < 64; ++i) batch.ids.push_back(static_cast<std::int32_t>(random() % kDecoderVocab));
  return batch;
}

}  // namespace qeff::test
