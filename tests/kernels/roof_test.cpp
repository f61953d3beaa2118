// The roof: its loops do the work they claim on every ISA, and what is measured has the shape of a
// machine. How fast is nowhere tested.
#include "qeff/kernels/roof.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/explain.hpp"
#include "qeff/kernels/pack.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

using kernels::Isa;
using kernels::KernelTable;
using kernels::Product;

constexpr Product kProducts[] = {Product::int8, Product::u4, Product::i16, Product::bf16, Product::f32};

/// 64 bytes of sums as 16 integers or floats.
struct Sums {
  alignas(64) std::byte bytes[64] = {};
  [[nodiscard]] double first(bool floats) const {
    std::int32_t integer;
    float real;
    std::memcpy(&integer, bytes, 4);
    std::memcpy(&real, bytes, 4);
    return floats ? static_cast<double>(real) : integer;
  }
};

/// Operands as measure_roof fills them: 63 as a code, 15 as a nibble, about 0.75 as a float.
AlignedBuffer operands(std::size_t bytes) {
  AlignedBuffer buffer(bytes);
  std::memset(buffer.data(), 0x3f, bytes);
  return buffer;
}
double term(Product product) {
  if (product == Product::int8) return 63 * 63;
  if (product == Product::u4) return 63 * 15;
  if (product == Product::i16) return 0x3f3f * 15;
  const std::uint32_t bits = product == Product::bf16 ? 0x3f3f0000 : 0x3f3f3f3f;
  float value;
  std::memcpy(&value, &bits, 4);
  return static_cast<double>(value) * static_cast<double>(value);
}
bool has_floats(Product product) { return product == Product::bf16 || product == Product::f32; }

class RoofLoops : public test::IsaTest {};

TEST_P(RoofLoops, ProductsOfRegistersAreDoneAsOftenAsCounted) {
  const KernelTable& t = *GetParam();
  const AlignedBuffer x = operands(kernels::kRoofOperands);
  for (const Product product : kProducts) {
    Sums once, more;
    const double operations = t.roof_registers(product, x.data(), 3, once.bytes);
    EXPECT_EQ(t.roof_registers(product, x.data(), 21, more.bytes), 7 * operations);
    if (operations == 0) {
      EXPECT_TRUE(product == Product::bf16 || product == Product::i16) << "only these may be missing";
      continue;
    }
    const double sum = once.first(has_floats(product));
    EXPECT_NEAR(more.first(has_floats(product)), 7 * sum, 1e-4 * sum);
    // Every sum takes the same number of products a round; there are whole vectors of sums.
    const double products_a_sum = std::round(sum / term(product));
    EXPECT_NEAR(sum, products_a_sum * term(product), 1e-4 * sum);
    EXPECT_GT(products_a_sum, 0);
    EXPECT_EQ(std::fmod(operations, 2 * products_a_sum), 0);
  }
}

TEST_P(RoofLoops, TheFedTileMultipliesItsWholeDepth) {
  const KernelTable& t = *GetParam();
  const AlignedBuffer x = operands(kernels::kRoofOperands), w = operands(2 * kernels::kRoofUnit);
  for (const Product product : {Product::int8, Product::bf16, Product::f32}) {
    const std::size_t size = product == Product::int8 ? 1 : product == Product::bf16 ? 2 : 4;
    Sums once, twice;
    const double operations = t.roof_fed(product, x.data(), w.data(), kernels::kRoofUnit, once.bytes);
    EXPECT_EQ(t.roof_fed(product, x.data(), w.data(), 2 * kernels::kRoofUnit, twice.bytes), 2 * operations);
    if (operations == 0) {
      EXPECT_EQ(product, Product::bf16);
      continue;
    }
    double expected = term(product) * static_cast<double>(kernels::kRoofDepth / size);
    // Where products take codes as unsigned, the tile leaves 128 times the activations to its caller.
    const bool vnni = t.isa == Isa::avx_vnni || t.isa == Isa::avx512_vnni || t.isa == Isa::avx512_bf16;
    if (product == Product::int8 && vnni) expected *= (63.0 + 128.0) / 63.0;
    EXPECT_NEAR(once.first(has_floats(product)), expected, 1e-4 * expected);
    EXPECT_EQ(once.first(has_floats(product)), twice.first(has_floats(product)));
  }
  Sums none;
  for (const Product product : {Product::u4, Product::i16})
    EXPECT_EQ(t.roof_fed(product, x.data(), w.data(), kernels::kRoofUnit, none.bytes), 0);
}

TEST_P(RoofLoops, ReadingSeesEveryByte) {
  const KernelTable& t = *GetParam();
  AlignedBuffer data(4096);
  for (const std::size_t at : {0u, 63u, 64u, 255u, 2048u, 4095u})
    for (const std::size_t ahead : {0u, 1024u}) {
      data.data()[at] = std::byte{8};
      Sums sums;
      t.roof_read(data.data(), data.size(), ahead, sums.bytes);
      for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(sums.bytes[i], std::byte(i == at % 64 ? 8 : 0)) << at;
      data.data()[at] = std::byte{0};
    }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(RoofLoops);

TEST(Roof, EveryFigureThatExistsIsMeasured) {
  Executor executor(2);
  const kernels::Roof roof = kernels::measure_roof(0.05, executor);
  EXPECT_EQ(roof.isa, kernels::active().isa);
  EXPECT_EQ(roof.threads, executor.threads());
  const auto positive = [](kernels::Rate r) { return r.one > 0 && r.all > 0 && std::isfinite(r.one + r.all); };
  for (const auto& p : {roof.int8, roof.f32})
    EXPECT_TRUE(positive(p.registers) && positive(p.fed_l1) && positive(p.fed_l2));
  EXPECT_TRUE(positive(roof.u4.registers) && roof.u4.fed_l1.one == 0);
  EXPECT_EQ(positive(roof.bf16.registers), positive(roof.bf16.fed_l2));
  EXPECT_TRUE(positive(roof.l1) && positive(roof.l2) && positive(roof.memory));
  EXPECT_EQ(roof.caches.l3 > roof.caches.l2, positive(roof.l3));
}

TEST(Roof, ALengthThatIsNoneIsRefused) {
  Executor executor(1);
  for (const double seconds : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(static_cast<void>(kernels::measure_roof(seconds, executor)), InvalidArgument);
}

TEST(Roof, CachesHaveTheOrderOfCaches) {
  const kernels::CacheSizes sizes = kernels::cache_sizes();
  EXPECT_GE(sizes.l1, 4096u);
  EXPECT_GE(sizes.l2, sizes.l1);
  EXPECT_TRUE(sizes.l3 == 0 || sizes.l3 >= sizes.l1);
}

/// A machine of round numbers.
kernels::Roof invented(std::size_t threads) {
  kernels::Roof roof;
  roof.threads = threads;
  roof.caches = {1000, 10'000, 100'000};
  roof.int8.registers = {10, 20};
  roof.u4.registers = {15, 30};
  roof.f32.registers = {2, 4};
  roof.l1 = {100, 200}, roof.l2 = {50, 100}, roof.l3 = {20, 30}, roof.memory = {5, 8};
  return roof;
}

TEST(Roof, LevelsAndPeaksAreThoseOfAllThreads) {
  kernels::Roof roof = invented(2);
  EXPECT_STREQ(roof.level(2000), "L1");
  EXPECT_STREQ(roof.level(2001), "L2");
  EXPECT_STREQ(roof.level(20'001), "L3");
  EXPECT_STREQ(roof.level(100'001), "memory");
  EXPECT_EQ(roof.bandwidth(1), 200);
  EXPECT_EQ(roof.bandwidth(20'000), 100);
  EXPECT_EQ(roof.bandwidth(100'000), 30);
  EXPECT_EQ(roof.bandwidth(1'000'000), 8);
  using kernels::Activations;
  using kernels::WeightFormat;
  EXPECT_EQ(roof.peak(WeightFormat::i8, Activations::int8), 20);
  EXPECT_EQ(roof.peak(WeightFormat::u4, Activations::int8), 30);
  EXPECT_EQ(roof.peak(WeightFormat::u4, Activations::bf16), 4) << "no bf16 products: float32 does it";
  roof.bf16.registers = {4, 9};
  EXPECT_EQ(roof.peak(WeightFormat::u4, Activations::bf16), 9);
  roof.i16.registers = {5, 10};
  EXPECT_EQ(roof.peak(WeightFormat::u4, Activations::bf16), 10);
  EXPECT_EQ(roof.peak(WeightFormat::e4m3, Activations::bf16), 9);
  EXPECT_EQ(roof.peak(WeightFormat::f32, Activations::f32), 4);
}

TEST(Roof, TheRoofOfATeamIsMeasuredOnce) {
  Executor executor(1);
  EXPECT_EQ(&kernels::measured_roof(executor), &kernels::measured_roof(executor));
}

TEST(Explain, APlanCountsBytesAndOperationsAndObeysTheRoof) {
  const auto p = test::random_problem(test::Scheme::i8, 1, 64, 128, 0);
  const kernels::PackedView& w = p.packed.view;
  ASSERT_EQ(weight_bytes(w), 64u * 128 + 64 * 4);
  const kernels::Roof roof = invented(1);  // 200 and 100 bytes or 20 products a nanosecond, 30 below L2
  const MatmulPlan one = plan_matmul(w, 1, roof);
  EXPECT_EQ(one.bytes, 8448 + 768);
  EXPECT_EQ(one.operations, 2 * 64 * 128);
  EXPECT_EQ(one.bound, "products");
  EXPECT_DOUBLE_EQ(one.least_seconds, 2 * 64 * 128 / 20e9);
  EXPECT_EQ(one.kernel, kernel_name(w, 1));
  EXPECT_EQ(one.seconds, 0);
  EXPECT_EQ(one.roof_share(), 0);
  kernels::Roof slow = roof;
  slow.int8.registers.all = 1e6;
  EXPECT_EQ(plan_matmul(w, 1, slow).bound, "L2");
  EXPECT_DOUBLE_EQ(plan_matmul(w, 1, slow).least_seconds, (8448 + 768) / 100e9);
  EXPECT_EQ(plan_matmul(w, 100, slow).bound, "L3");
  EXPECT_EQ(plan_matmul(w, 1000, slow).bound, "memory");
  EXPECT_DOUBLE_EQ(plan_matmul(w, 1000, slow).least_seconds, (8448 + 768e3) / 8e9);
  EXPECT_THROW(static_cast<void>(plan_matmul(w, 0, roof)), InvalidArgument);
}

TEST(Explain, AMeasuredPlanHasATimeAndAShare) {
  Executor executor(1);
  const auto p = test::random_problem(test::Scheme::u4, 1, 40, 96, 32);
  const MatmulPlan plan = explain_matmul(p.packed.view, 5, executor, true);
  EXPECT_GT(plan.seconds, 0);
  EXPECT_DOUBLE_EQ(plan.roof_share(), plan.least_seconds / plan.seconds);
  EXPECT_EQ(explain_matmul(p.packed.view, 5, executor, false).seconds, 0);
}

}  // namespace
}  // namespace qeff
