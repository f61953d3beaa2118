/// @file
/// Tests that run once for each kernel table: those of this machine and the emulated ones.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/tables.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::test {

/// Makes the parameter's kernels the active ones for the length of a test.
class IsaTest : public testing::TestWithParam<const kernels::KernelTable*> {
 protected:
  void SetUp() override { activate(); }
  void TearDown() override { kernels::set_active(std::nullopt); }
  static void activate() {
    kernels::set_active_table(GetParam());
    ASSERT_EQ(&kernels::active(), GetParam());
  }
};

/// The kernels this machine can run, weakest first.
inline std::vector<const kernels::KernelTable*> native_tables() {
  std::vector<const kernels::KernelTable*> tables;
  for (const kernels::Isa isa : kernels::supported_isas()) tables.push_back(&kernels::table(isa));
  return tables;
}

inline std::string table_name(const testing::TestParamInfo<const kernels::KernelTable*>& info) {
  return std::string(kernels::name(info.param->isa));
}

}  // namespace qeff::test

#define QEFF_INSTANTIATE_FOR_ISAS(suite) \
  INSTANTIATE_TEST_SUITE_P(Isas, suite, testing::ValuesIn(qeff::test::native_tables()), qeff::test::table_name)
