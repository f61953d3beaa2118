// KernelTable::pack_columns and add_column_products with every kernel table, against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

constexpr std::size_t kLanes = kernels::kPanel, kStride = 70, kRight = 4;

class ColumnProductsOnIsa : public test::IsaTest {
 protected:
  AlignedBuffer packed(const std::vector<float>& x, std::size_t rows) {
    AlignedBuffer aligned(x.size() * sizeof(float)), panel(kernels::active().column_panel_bytes(rows));
    std::ranges::copy(x, aligned.as<float>());
    kernels::active().pack_columns(aligned.as<float>(), rows, panel.data());
    return panel;
  }
};

TEST_P(ColumnProductsOnIsa, AddsTheProductsOfAllPairsOfColumnsAndStaysInBounds) {
  const double rounding = kernels::active().multiplies_bf16 ? 0x1p-8 : 1e-6;  // of a product
  for (const std::size_t rows : {1u, 2u, 3u, 64u, 511u}) {
    test::Rng rng(static_cast<unsigned>(rows));
    std::vector<float> left(rows * kLanes), right(kRight * rows * kLanes);
    for (float& v : left) v = rng.normal();
    for (float& v : right) v = rng.normal();
    const std::size_t size_of_sums = (kLanes - 1) * kStride + kRight * kLanes;
    const test::GuardedFloats sums(size_of_sums);
    for (float& v : std::span(sums.data, size_of_sums)) v = 3.0f;
    const std::size_t bytes = kernels::active().column_panel_bytes(rows);
    AlignedBuffer b(kRight * bytes);
    for (std::size_t p = 0; p < kRight; ++p) {
      const auto first = right.begin() + static_cast<std::ptrdiff_t>(p * rows * kLanes);
      const AlignedBuffer one = packed({first, first + static_cast<std::ptrdiff_t>(rows * kLanes)}, rows);
      std::ranges::copy(one.bytes(), b.data() + p * bytes);
    }
    const AlignedBuffer a = packed(left, rows);
    kernels::active().add_column_products(a.data(), b.data(), kRight, rows, sums.data, kStride);
    for (std::size_t i = 0; i < kLanes; ++i) {
      for (std::size_t j = 0; j < kRight * kLanes; ++j) {
        double expected = 3, size = 3;
        for (std::size_t r = 0; r < rows; ++r) {
          const double product = static_cast<double>(left[r * kLanes + i]) * static_cast<double>(right[(j / kLanes * rows + r) * kLanes + j % kLanes]);
          expected += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(static_cast<double>(sums.data[i * kStride + j]), expected, rounding * size) << rows << ": " << i << ", " << j;
      }
      if (i + 1 == kLanes) break;
      for (std::size_t j = kRight * kLanes; j < kStride; ++j) ASSERT_EQ(sums.data[i * kStride + j], 3.0f) << rows << ": " << i;
    }
  }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(ColumnProductsOnIsa);

}  // namespace
}  // namespace qeff
