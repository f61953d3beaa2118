// Names, choice and first-use check of the kernel tables.
#include "qeff/kernels/isa.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "kernels/self_test.hpp"
#include "qeff/core/error.hpp"
#include "support/emulation/emulated_tables.hpp"

namespace qeff::kernels {
namespace {

constexpr Isa kAll[] = {Isa::portable,    Isa::avx2, Isa::avx_vnni, Isa::avx512_vnni,
                        Isa::avx512_bf16, Isa::amx,  Isa::neon_dot, Isa::neon_i8mm};

TEST(IsaNames, AreReadBackAsWritten) {
  for (const Isa isa : kAll) EXPECT_EQ(isa_from_name(name(isa)), isa) << name(isa);
  EXPECT_EQ(name(Isa::avx512_bf16), "avx512_bf16");
  EXPECT_EQ(isa_from_name("AVX2"), std::nullopt);
  EXPECT_EQ(isa_from_name(""), std::nullopt);
}

TEST(IsaChoice, PortableIsAlwaysThereAndWeakest) {
  ASSERT_FALSE(supported_isas().empty());
  EXPECT_EQ(supported_isas().front(), Isa::portable);
  EXPECT_TRUE(std::is_sorted(supported_isas().begin(), supported_isas().end()));
}

TEST(IsaChoice, EveryTableSaysItsOwnIsa) {
  for (const Isa isa : supported_isas()) EXPECT_EQ(table(isa).isa, isa);
}

TEST(IsaChoice, NoLimitTakesTheStrongest) {
  EXPECT_EQ(strongest(nullptr).isa, supported_isas().back());
  EXPECT_EQ(strongest("").isa, supported_isas().back());
}

#if defined(__aarch64__)
constexpr bool kArm = true;
#else
constexpr bool kArm = false;
#endif

TEST(IsaChoice, ALimitIsNeverExceeded) {
  for (const Isa limit : kAll) {
    const std::string text(name(limit));
    if (limit != Isa::portable && (limit >= Isa::neon_dot) != kArm) {
      EXPECT_THROW((void)strongest(text.c_str()), InvalidArgument) << text << " is of another architecture";
      continue;
    }
    const Isa got = strongest(text.c_str()).isa;
    EXPECT_LE(got, limit);
    for (const Isa isa : supported_isas()) EXPECT_TRUE(isa > limit || got >= isa);
  }
}

TEST(IsaChoice, AnUnknownLimitIsAnErrorThatListsTheNames) {
  try {
    (void)strongest("sse9");
    FAIL();
  } catch (const InvalidArgument& e) {
    EXPECT_STREQ(e.what(), "QEFF_MAX_ISA: unknown ISA \"sse9\"; known are portable, avx2, avx_vnni, avx512_vnni, "
                           "avx512_bf16, amx, neon_dot, neon_i8mm");
  }
}

TEST(IsaChoice, SetActiveOverridesUntilItIsTakenBack) {
  for (const Isa isa : supported_isas()) {
    set_active(isa);
    EXPECT_EQ(active().isa, isa);
  }
  set_active(std::nullopt);
  EXPECT_EQ(&active(), &strongest(std::getenv("QEFF_MAX_ISA")));
}

TEST(IsaChoice, AnIsaThisCpuLacksIsRefusedByNameAndChangesNothing) {
#if defined(__x86_64__)
  constexpr Isa kForeign = Isa::neon_dot;
#else
  constexpr Isa kForeign = Isa::avx2;
#endif
  const KernelTable* before = &active();
  try {
    set_active(kForeign);
    FAIL();
  } catch (const Unsupported& e) {
    EXPECT_NE(std::string(e.what()).find("cannot run " + std::string(name(kForeign)) + " kernels"), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(&active(), before);
}

class SelfTestOnIsa : public test::IsaTest {};
TEST_P(SelfTestOnIsa, CorrectKernelsPass) { EXPECT_TRUE(products_are_right(*GetParam())); }
QEFF_INSTANTIATE_FOR_ALL_KERNELS(SelfTestOnIsa);

// Portable kernels with one fault each.
using Mode = Activations;

void wrong_last_column(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p_begin,
                       std::size_t p_end, std::byte* scratch) noexcept {
  table(Isa::portable).gemm(args, m_begin, m_end, p_begin, p_end, scratch);
  args.y[args.weights->n - 1] += 1000.0f;
}
/// Wrong in the second half of a tile of 32 rows, as a broken matrix unit may be.
void wrong_row_17(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p_begin, std::size_t p_end,
                  std::byte* scratch) noexcept {
  table(Isa::portable).gemm(args, m_begin, m_end, p_begin, p_end, scratch);
  if (m_end > 17) args.y[17 * args.y_stride] = NAN;
}
void wrong_bf16_only(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t p_begin,
                     std::size_t p_end, std::byte* scratch) noexcept {
  table(Isa::portable).gemm(args, m_begin, m_end, p_begin, p_end, scratch);
  if (args.weights->activations == Mode::bf16) args.y[0] += 1.0f;
}
void rows_of_zeros(const PackedView& w, std::size_t rows, const float* x, std::size_t stride, std::size_t first,
                   std::size_t last, std::byte* a, float* scales) noexcept {
  static constexpr float kZeros[128] = {};
  PackedView zero = w;
  zero.input_scale = kZeros;
  table(Isa::portable).prepare_rows(zero, rows, x, stride, first, last, a, scales);
}

TEST(SelfTest, ATableWithAFaultFails) {
  const KernelTable good = table(Isa::portable);
  ASSERT_TRUE(products_are_right(good));
  for (const auto gemm : {&wrong_last_column, &wrong_row_17, &wrong_bf16_only}) {
    KernelTable broken = good;
    broken.gemm = gemm;
    EXPECT_FALSE(products_are_right(broken));
  }
  KernelTable broken = good;
  broken.prepare_rows = &rows_of_zeros;
  EXPECT_FALSE(products_are_right(broken));
}

}  // namespace
}  // namespace qeff::kernels
