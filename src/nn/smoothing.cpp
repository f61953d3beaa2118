#include "nn/smoothing.hpp"

#include <algorithm>
#include <cmath>

namespace qeff::nn {
namespace {

constexpr std::size_t kSampleSequences = 16, kSampleTokens = 32;
constexpr double kLeastRms =
    0.01;  // of the mean: a channel that is almost never used stays in bounds

}  // namespace

bool wants_smoothing(const QuantizationConfig& c) {
  if (c.smooth == 0 || c.bits <= 4 || (c.method != Method::affine && c.method != Method::gptq))
    return false;
  if (c.activations) return *c.activations == kernels::Activations::int8;
  return c.symmetric;  // packed as i8, whose default is int8 activations
}

TokenBatch vocabulary_sample(const EncoderShape& shape) {
  TokenBatch batch;
  batch.offsets.push_back(0);
  std::uint32_t state = 1;  // a linear congruential generator: the same ids everywhere
  for (std::size_t s = 0; s < kSampleSequences; ++s) {
    for (std::size_t t = 0; t < std::min(kSampleTokens, shape.max_positions()); ++t) {
      state = state * 1664525u + 1013904223u;
      batch.ids.push_back(static_cast<std::int32_t>(std::uint64_t{state} * shape.vocab >> 32));
    }
    batch.offsets.push_back(batch.ids.size());
  }
  return batch;
}

std::vector<float> smoothing_scales(const InputStatistics& inputs, double alpha) {
  const std::size_t k = inputs.mean_abs.size();
  std::vector<double> rms(k);
  double mean = 0;
  for (std::size_t j = 0; j < k; ++j) {
    rms[j] = std::sqrt(std::max(0.0, static_cast<double>(inputs.hessian[j * k + j])));
    mean += rms[j] / static_cast<double>(k);
  }
  std::vector<float> scales(k, 1.0f);
  if (!(mean > 0)) return scales;
  double log_sum = 0;
  for (double& r : rms) {
    r = std::max(r, kLeastRms * mean);
    log_sum += std::log(r);
  }
  const double center = log_sum / static_cast<double>(k);
  for (std::size_t j = 0; j < k; ++j)
    scales[j] = static_cast<float>(std::exp(alpha * (std::log(rms[j]) - center)));
  return scales;
}

std::vector<NamedWeight> scaled(std::span<const NamedWeight> weights,
                                std::span<const float> scales) {
  std::vector<NamedWeight> result(weights.begin(), weights.end());
  for (NamedWeight& w : result)
    for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] *= scales[i % w.cols];
  return result;
}

InputStatistics scaled(const InputStatistics& inputs, std::span<const float> scales) {
  InputStatistics result = inputs;
  const std::size_t k = scales.size();
  for (std::size_t i = 0; i < k; ++i) {
    result.mean_abs[i] /= scales[i];
    for (std::size_t j = 0; j < k; ++j) result.hessian[i * k + j] /= scales[i] * scales[j];
  }
  return result;
}

}  // namespace qeff::nn
