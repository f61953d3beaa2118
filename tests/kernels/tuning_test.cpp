#include "qeff/kernels/tuning.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/emulation/emulated_tables.hpp"
#include "../support/packed_problem.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {
namespace {

using kernels::Tuning;

TEST(Tuning, ATextIsReadOverTheDefaultsAndWritten) {
  const Tuning read = kernels::parse_tuning("byte_rows=3, part_work = 77\nbyte_rows=4\n\n", {}, "here");
  EXPECT_EQ(read.byte_rows, 4u);
  EXPECT_EQ(read.part_work, 77u);
  EXPECT_EQ(read.nibble_rows, Tuning{}.nibble_rows);
  EXPECT_EQ(kernels::parse_tuning(kernels::to_string(read), {}, "here"), read);
}

TEST(Tuning, WhatMakesNoSenseIsNamed) {
  for (const char* text : {"rows=3", "byte_rows", "byte_rows=", "byte_rows=-1", "byte_rows=3x", "part_work=0",
                           "part_work=99999999999999999999999"}) {
    try {
      (void)kernels::parse_tuning(text, {}, "that file");
      FAIL() << text;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("that file"), std::string::npos) << error.what();
    }
  }
}

/// Values after which no tuning outlives the test.
struct Tuned {
  explicit Tuned(const Tuning& tuning) { kernels::set_tuning(tuning); }
  ~Tuned() { kernels::set_tuning({}); }
};

class TuningOnIsa : public test::IsaTest {};

TEST_P(TuningOnIsa, ResultsDoNotDependOnIt) {
  Executor executor(2);
  const auto product = [&](const test::Problem& p, std::size_t rows, const Tuning& tuning) {
    const Tuned tuned(tuning);
    std::vector<float> y(rows * p.packed.view.n);
    matmul({p.x.data(), rows, p.packed.view.k}, p.packed.view, {y.data(), rows, p.packed.view.n}, {}, executor);
    return y;
  };
  for (const test::Scheme scheme : {test::Scheme::i8, test::Scheme::u4, test::Scheme::u4_int8, test::Scheme::nf4})
    for (const std::size_t k : {192u, 200u}) {
      const std::size_t rows = 37;
      const auto p = test::random_problem(scheme, rows, 80, k, 64);
      const auto right = product(p, rows, {});
      EXPECT_EQ(product(p, rows, {.byte_rows = 0, .nibble_rows = 0, .decode_rows = 0, .parallel_work = 1, .part_work = 1000}), right);
      EXPECT_EQ(product(p, rows, {.byte_rows = 100, .nibble_rows = 100, .decode_rows = 100, .activation_bytes = 1}), right);
    }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(TuningOnIsa);

TEST(Tuning, MeasuringEndsWithAValueAmongThoseTried) {
  Executor executor(1);
  (void)kernels::active();
  const Tuning before = kernels::tuning();
  const Tuning found = kernels::measure_tuning(0.1, executor);
  EXPECT_LE(found.byte_rows, 32u);
  EXPECT_GE(found.part_work, 500'000u);
  EXPECT_EQ(kernels::tuning(), before) << "measuring must not leave its last trial in use";
}

}  // namespace
}  // namespace qeff
