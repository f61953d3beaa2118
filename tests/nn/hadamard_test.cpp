// The rotation of heads: orthogonal, its own inverse, and it spreads what stands out.
#include "nn/hadamard.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/packed_problem.hpp"

namespace qeff::nn {
namespace {

TEST(Hadamard, TwiceIsNothingAndProductsOfHeadsStay) {
  for (const std::size_t dim : {1u, 2u, 7u, 48u, 64u, 80u, 128u}) {
    const std::size_t heads = 3;
    test::Rng rng(1);
    std::vector<float> a(heads * dim), b(heads * dim);
    for (float& x : a) x = rng.normal();
    for (float& x : b) x = rng.normal();
    auto ra = a, rb = b;
    rotate_heads(ra.data(), heads, dim);
    rotate_heads(rb.data(), heads, dim);
    for (std::size_t h = 0; h < heads; ++h) {
      double before = 0, after = 0;
      for (std::size_t i = h * dim; i < (h + 1) * dim; ++i)
        before += static_cast<double>(a[i]) * b[i], after += static_cast<double>(ra[i]) * rb[i];
      EXPECT_NEAR(before, after, 1e-4) << dim;
    }
    rotate_heads(ra.data(), heads, dim);
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(ra[i], a[i], 1e-5) << dim;
  }
}

TEST(Hadamard, OneLargeValueIsSharedByItsBlock) {
  std::vector<float> x(96);  // blocks of 32
  x[40] = 8;
  rotate_heads(x.data(), 1, 96);
  for (std::size_t i = 0; i < 96; ++i)
    EXPECT_FLOAT_EQ(std::abs(x[i]), i / 32 == 1 ? 8 / std::sqrt(32.0f) : 0.0f) << i;
}

}  // namespace
}  // namespace qeff::nn
