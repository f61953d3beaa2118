#include "calib/error_feedback.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "qeff/calib/hessian.hpp"

namespace qeff {
namespace {

constexpr std::size_t kRows = 600, kInputs = 40, kOutputs = 9;

std::vector<float> random(std::size_t count, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(rng);
  return values;
}

/// Inputs of a float model, and what is left of them behind layers that lose something.
struct Inputs {
  std::vector<float> x_float = random(kRows * kInputs, 1), x = random(kRows * kInputs, 2);
  std::vector<float> hessian, drift;
  Executor executor{2};

  Inputs() {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.9F * x_float[i] + 0.2F * x[i];
    HessianAccumulator seen(kInputs);
    seen.add({x.data(), kRows, kInputs}, {x_float.data(), kRows, kInputs}, executor);
    hessian = seen.hessian(), drift = seen.drift();
  }
  std::vector<float> fed_back(const std::vector<float>& w, double share, double damping = 1e-6) {
    return calib::fed_back({w.data(), kOutputs, kInputs}, {hessian.data(), kInputs, kInputs},
                           {drift.data(), kInputs, kInputs}, share, damping, executor);
  }
  /// Mean of |w~ x - w x_float|^2.
  [[nodiscard]] double error(const std::vector<float>& changed, const std::vector<float>& w) const {
    double sum = 0;
    for (std::size_t r = 0; r < kRows; ++r)
      for (std::size_t n = 0; n < kOutputs; ++n) {
        double difference = 0;
        for (std::size_t k = 0; k < kInputs; ++k)
          difference += static_cast<double>(changed[n * kInputs + k]) * static_cast<double>(x[r * kInputs + k]) -
                        static_cast<double>(w[n * kInputs + k]) * static_cast<double>(x_float[r * kInputs + k]);
        sum += difference * difference;
      }
    return sum / kRows;
  }
};

TEST(ErrorFeedback, IsTheBestEstimateOfWhatTheFloatModelComputes) {
  Inputs inputs;
  const std::vector<float> w = random(kOutputs * kInputs, 3), best = inputs.fed_back(w, 1);
  const double least = inputs.error(best, w);
  EXPECT_LT(least, 0.9 * inputs.error(w, w));
  for (const std::size_t at : {0u, 41u, 200u, 359u})
    for (const float change : {-0.01F, 0.01F}) {
      std::vector<float> other = best;
      other[at] += change;
      EXPECT_GT(inputs.error(other, w), least) << at;
    }
}

TEST(ErrorFeedback, GoesAShareOfTheWay) {
  Inputs inputs;
  const std::vector<float> w = random(kOutputs * kInputs, 3), all = inputs.fed_back(w, 1),
                           half = inputs.fed_back(w, 0.5), none = inputs.fed_back(w, 0);
  EXPECT_EQ(none, w);
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(half[i], (w[i] + all[i]) / 2, 1e-5);
}

TEST(ErrorFeedback, LeavesWeightsAloneWithoutDriftOrWithoutAHessian) {
  Inputs inputs;
  const std::vector<float> w = random(kOutputs * kInputs, 3);
  inputs.drift.assign(inputs.drift.size(), 0.0F);
  EXPECT_EQ(inputs.fed_back(w, 1), w);
  inputs.drift.assign(inputs.drift.size(), 1.0F);
  inputs.hessian.assign(inputs.hessian.size(), 0.0F);
  EXPECT_EQ(inputs.fed_back(w, 1), w);
}

}  // namespace
}  // namespace qeff
