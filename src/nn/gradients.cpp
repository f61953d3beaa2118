#include "nn/gradients.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "qeff/kernels/table.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kRowsPerTask = 16;

template <class F>
void for_rows(std::size_t m, Team team, F&& f) {
  team.executor->run((m + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task) {
    for (std::size_t r = task * kRowsPerTask; r < std::min(m, (task + 1) * kRowsPerTask); ++r) f(r);
  });
}

void rms_gradient(const float* gamma, float eps, const float* x, const float* dy, std::size_t n, float* dx) {
  float square = 0, product = 0;
  for (std::size_t i = 0; i < n; ++i) {
    square += x[i] * x[i];
    product += x[i] * gamma[i] * dy[i];
  }
  const auto count = static_cast<float>(n);
  const float r = 1.0f / std::sqrt(square / count + eps), along = product / count * r * r;
  for (std::size_t i = 0; i < n; ++i) dx[i] = r * (gamma[i] * dy[i] - x[i] * along);
}

void layer_norm_gradient(const float* gamma, float eps, const float* x, const float* dy, std::size_t n, float* dx) {
  const auto count = static_cast<float>(n);
  float mean = 0, variance = 0, level = 0, product = 0;
  for (std::size_t i = 0; i < n; ++i) mean += x[i] / count;
  for (std::size_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / count;
  const float r = 1.0f / std::sqrt(variance + eps);
  for (std::size_t i = 0; i < n; ++i) {
    level += gamma[i] * dy[i] / count;
    product += (x[i] - mean) * r * gamma[i] * dy[i] / count;
  }
  for (std::size_t i = 0; i < n; ++i) dx[i] = r * (gamma[i] * dy[i] - level - (x[i] - mean) * r * product);
}

struct ValueAndSlope {
  float value, slope;
};

ValueAndSlope gelu(float x) {
  const float below = 0.5f * (1.0f + std::erf(x / std::numbers::sqrt2_v<float>));
  const float density = std::exp(-0.5f * x * x) * std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  return {x * below, below + x * density};
}

ValueAndSlope gelu_tanh(float x) {
  constexpr float kInner = std::numbers::inv_sqrtpi_v<float> * std::numbers::sqrt2_v<float>, kCubic = 0.044715f;
  const float t = std::tanh(kInner * (x + kCubic * x * x * x)), half = 0.5f * (1.0f + t);
  return {x * half, half + 0.5f * x * (1.0f - t * t) * kInner * (1.0f + 3.0f * kCubic * x * x)};
}

ValueAndSlope silu(float x) {
  const float s = 1.0f / (1.0f + std::exp(-x));
  return {x * s, s * (1.0f + x * (1.0f - s))};
}

ValueAndSlope activate(Activation f, float x) {
  switch (f) {
    case Activation::none: break;
    case Activation::relu: return x > 0 ? ValueAndSlope{x, 1} : ValueAndSlope{0, 0};
    case Activation::gelu: return gelu(x);
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::silu: return silu(x);
  }
  return {x, 1};
}

}  // namespace

void norm_gradient(const Norm& norm, float eps, const float* x, const float* dy, std::size_t m, std::size_t n,
                   float* dx, Team team) {
  const auto of_row = norm.beta ? layer_norm_gradient : rms_gradient;
  for_rows(m, team, [&](std::size_t r) { of_row(norm.gamma, eps, x + r * n, dy + r * n, n, dx + r * n); });
}

void activate_plain(const DecoderShape& s, const float* up, std::size_t m, float* inner, Team team) {
  const std::size_t n = s.intermediate;
  for_rows(m, team, [&](std::size_t r) {
    for (std::size_t i = r * n; i < (r + 1) * n; ++i) inner[i] = activate(s.activation, up[i]).value;
  });
}

void activation_gradient(const DecoderShape& s, const float* up, const float* d_inner, std::size_t m, float* d_up,
                         Team team) {
  const std::size_t n = s.intermediate;
  for_rows(m, team, [&](std::size_t r) {
    const float* dy = d_inner + r * n;
    const float* x = up + r * (s.gated() ? 2 * n : n);
    float* dx = d_up + (x - up);
    for (std::size_t i = 0; i < n; ++i) {
      const auto [value, slope] = activate(s.activation, x[i]);
      dx[i] = dy[i] * slope * (s.gated() ? x[n + i] : 1.0f);
      if (s.gated()) dx[n + i] = dy[i] * value;
    }
  });
}

void undo_place_keys(const DecoderModel& model, std::size_t layer, const RopeTables& ropes,
                     std::span<const TokenRun> runs, const float* raw, float* d_qkv, Team team) {
  const DecoderShape& s = model.shape;
  const DecoderLayer& l = model.layers[layer];
  const DecoderLayerShape& how = s.layer[layer];
  const Team alone{team.executor, 1};
  team.executor->run(runs.size(), [&](std::size_t run) {
    std::vector<float> minus_sin(ropes.half());
    for (std::size_t t = 0; t < runs[run].count; ++t) {
      const std::size_t at = (runs[run].row + t) * s.qkv_size();
      float *q = d_qkv + at, *k = q + s.q_size();
      if (how.rotary) {
        const std::size_t position = runs[run].first + t;
        std::transform(ropes.sin(how.rope, position), ropes.sin(how.rope, position) + ropes.half(), minus_sin.begin(),
                       [](float x) { return -x; });
        kernels::active().rope(q, s.heads + s.kv_heads, s.head_dim, ropes.cos(how.rope, position), minus_sin.data(),
                               ropes.half());
      }
      if (l.q_norm.gamma) norm_gradient(l.q_norm, s.eps, raw + at, q, s.heads, s.head_dim, q, alone);
      if (l.k_norm.gamma) norm_gradient(l.k_norm, s.eps, raw + at + s.q_size(), k, s.kv_heads, s.head_dim, k, alone);
    }
  });
}

}  // namespace qeff::nn
