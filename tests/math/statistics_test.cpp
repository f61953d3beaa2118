// The promises of math/statistics.hpp.
#include "qeff/math/statistics.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace qeff::math {
namespace {

TEST(Percentile, LiesBetweenTheTwoNearestValues) {
  std::vector<float> values{4, 1, 3, 2, 5};
  EXPECT_EQ(percentile(values, 0), 1.0f);
  EXPECT_EQ(percentile(values, 100), 5.0f);
  EXPECT_EQ(percentile(values, 50), 3.0f);
  EXPECT_FLOAT_EQ(percentile(values, 90), 4.6f);
  EXPECT_FLOAT_EQ(percentile(values, 12.5), 1.5f);
}

TEST(Percentile, OfOneValueIsThatValue) {
  std::vector<float> values{-7};
  EXPECT_EQ(percentile(values, 99.9), -7.0f);
}

}  // namespace
}  // namespace qeff::math
