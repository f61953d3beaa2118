// KernelTable::subtract_products with every kernel table, against double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

class PanelUpdateOnIsa : public test::IsaTest {};

TEST_P(PanelUpdateOnIsa, SubtractsTheProductsOfEverySourceAndStaysInBounds) {
  constexpr std::size_t lanes = kernels::kPanel, stride = 137;
  for (const std::size_t sources : {1u, 2u, 63u, 64u, 130u})
    for (const std::size_t targets : {1u, 5u, 6u, 13u, 137u}) {
      test::Rng rng(1);
      const test::GuardedFloats source(sources * lanes), factors((sources - 1) * stride + targets), target(targets * lanes);
      const auto fill = [&](const test::GuardedFloats& values, std::size_t n) {
        for (float& v : std::span(values.data, n)) v = rng.normal();
      };
      fill(source, sources * lanes);
      fill(factors, (sources - 1) * stride + targets);
      fill(target, targets * lanes);
      const std::vector<float> before(target.data, target.data + targets * lanes);
      kernels::active().subtract_products(source.data, sources, factors.data, stride, target.data, targets);
      for (std::size_t t = 0; t < targets; ++t)
        for (std::size_t i = 0; i < lanes; ++i) {
          double right = static_cast<double>(before[t * lanes + i]), size = std::abs(right);
          for (std::size_t j = 0; j < sources; ++j) {
            const double product = static_cast<double>(source.data[j * lanes + i]) * static_cast<double>(factors.data[j * stride + t]);
            right -= product;
            size += std::abs(product);
          }
          ASSERT_NEAR(static_cast<double>(target.data[t * lanes + i]), right, 1e-6 * size) << sources << " to " << targets << ": " << t;
        }
    }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(PanelUpdateOnIsa);

}  // namespace
}  // namespace qeff
