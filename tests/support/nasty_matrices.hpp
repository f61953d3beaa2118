/// @file
/// Matrices that break careless quantizers, each with the name of what is nasty about it.
#pragma once

#include <cstddef>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "qeff/core/matrix_view.hpp"

namespace qeff::test {

struct NamedMatrix {
  std::string name;
  std::size_t rows;
  std::size_t cols;
  std::vector<float> values;

  [[nodiscard]] MatrixView<const float> view() const noexcept {
    return {values.data(), rows, cols};
  }
};

[[nodiscard]] inline NamedMatrix normal_matrix(std::size_t rows, std::size_t cols,
                                               float scale = 1.0f) {
  std::mt19937 generator(static_cast<unsigned>(rows * 1000 + cols));
  std::normal_distribution<float> normal;
  NamedMatrix m{"normal", rows, cols, std::vector<float>(rows * cols)};
  for (float& x : m.values) x = normal(generator) * scale;
  return m;
}

[[nodiscard]] inline NamedMatrix filled(std::string name, float value) {
  return {std::move(name), 3, 70, std::vector<float>(3 * 70, value)};
}

/// No magnitude is above FLT_MAX / 2, where a grid cannot keep its error bound and be finite.
[[nodiscard]] inline std::vector<NamedMatrix> nasty_matrices() {
  constexpr float kHuge = std::numeric_limits<float>::max() / 2;
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  std::vector<NamedMatrix> all{normal_matrix(3, 70),
                               normal_matrix(5, 1),
                               normal_matrix(1, 1),
                               normal_matrix(4, 70, 1e-38f),
                               normal_matrix(4, 70, 1e-41f),
                               filled("zeros", 0.0f),
                               filled("negative zeros", -0.0f),
                               filled("constant", 0.3f),
                               filled("negative constant", -0.3f),
                               filled("denormal", kTiny),
                               filled("20 denormals", 20 * kTiny),
                               filled("huge", kHuge)};
  NamedMatrix outlier = normal_matrix(3, 70, 1e-3f);
  outlier.name = "outlier";
  outlier.values[17] = 1e6f;
  NamedMatrix extremes = filled("both extremes", kHuge);
  for (std::size_t i = 0; i < extremes.values.size(); i += 2) extremes.values[i] = -kHuge;
  NamedMatrix negative = normal_matrix(3, 70);
  negative.name = "negative";
  for (float& x : negative.values) x = x > 0 ? -x : x;
  NamedMatrix offset = normal_matrix(3, 70, 1e-3f);
  offset.name = "far from zero";
  for (float& x : offset.values) x += 100.0f;
  for (auto* m : {&outlier, &extremes, &negative, &offset}) all.push_back(*m);
  return all;
}

}  // namespace qeff::test
