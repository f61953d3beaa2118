// KernelTable::rounding_errors with every kernel table, against quant/affine_grid.hpp in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/quant/affine_grid.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

constexpr std::size_t kLanes = kernels::kPanel;

class RoundingErrorsOnIsa : public test::IsaTest {};

AffineGrid grid_of(std::size_t candidate, std::size_t row) {
  const auto c = static_cast<float>(candidate), r = static_cast<float>(row);
  return fit_affine(-1.0F - 0.1F * r, 2.0F - 0.15F * c, 4, candidate % 2 == 0, false);
}

TEST_P(RoundingErrorsOnIsa, AreThoseOfTheAffineGridsAndStayInBounds) {
  for (const std::size_t columns : {1u, 32u, 67u})
    for (const std::size_t count : {1u, 2u, 4u, 5u, 12u}) {
      test::Rng rng(1);
      const test::GuardedFloats values(columns * kLanes), weights(columns), errors(count * kLanes);
      for (float& v : std::span(values.data, columns * kLanes)) v = rng.normal();
      for (float& w : std::span(weights.data, columns)) w = 0.1F + std::abs(rng.normal());
      std::vector<kernels::RoundingGrid> grids(count);
      for (std::size_t c = 0; c < count; ++c)
        for (std::size_t i = 0; i < kLanes; ++i) {
          const AffineGrid grid = grid_of(c, i);
          grids[c].scale[i] = grid.scale;
          grids[c].first[i] = static_cast<float>(grid.qmin - grid.zero_point);
          grids[c].last[i] = static_cast<float>(grid.qmax - grid.zero_point);
        }
      kernels::active().rounding_errors(values.data, weights.data, columns, grids.data(), count, errors.data);
      for (std::size_t c = 0; c < count; ++c)
        for (std::size_t i = 0; i < kLanes; ++i) {
          double right = 0;
          for (std::size_t j = 0; j < columns; ++j) {
            const float x = values.data[j * kLanes + i];
            const double error = static_cast<double>(decode(encode(x, grid_of(c, i)), grid_of(c, i))) - static_cast<double>(x);
            right += error * error * static_cast<double>(weights.data[j]);
          }
          ASSERT_NEAR(static_cast<double>(errors.data[c * kLanes + i]), right, 1e-5 * right + 1e-12)
              << columns << " columns, candidate " << c << ", row " << i;
        }
    }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(RoundingErrorsOnIsa);

}  // namespace
}  // namespace qeff
