#include "qeff/nn/pooling.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

constexpr std::array<std::string_view, 4> kNames{"none", "mean", "cls", "max"};

}  // namespace

std::string_view name(Pooling pooling) noexcept {
  return kNames[static_cast<std::size_t>(pooling)];
}

Pooling pooling_from_name(std::string_view text) {
  const auto it = std::ranges::find(kNames, text);
  require(it != kNames.end(), "pooling \"", text, "\" is unknown; there is: none, mean, cls, max");
  return static_cast<Pooling>(it - kNames.begin());
}

void pool(Pooling pooling, const float* states, std::size_t tokens, std::size_t n,
          float* out) noexcept {
  std::copy_n(states, n, out);
  if (pooling == Pooling::cls) return;
  for (std::size_t t = 1; t < tokens; ++t) {
    const float* row = states + t * n;
    if (pooling == Pooling::mean)
      for (std::size_t j = 0; j < n; ++j) out[j] += row[j];
    else
      for (std::size_t j = 0; j < n; ++j) out[j] = std::max(out[j], row[j]);
  }
  if (pooling == Pooling::mean)
    for (std::size_t j = 0; j < n; ++j) out[j] /= static_cast<float>(tokens);
}

void normalize_l2(float* x, std::size_t n) noexcept {
  double sum = 0;
  for (std::size_t j = 0; j < n; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  const auto norm = static_cast<float>(std::max(std::sqrt(sum), 1e-12));
  for (std::size_t j = 0; j < n; ++j) x[j] /= norm;
}

}  // namespace qeff
