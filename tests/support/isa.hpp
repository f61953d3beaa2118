/// @file
/// Tests that run once for each instruction set of this machine.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::test {

/// Makes the parameter's kernels the active ones for the length of a test.
class IsaTest : public testing::TestWithParam<kernels::Isa> {
 protected:
  void SetUp() override {
    kernels::set_active(GetParam());
    ASSERT_EQ(kernels::active().isa, GetParam());
  }
  void TearDown() override { kernels::set_active(std::nullopt); }
};

inline std::vector<kernels::Isa> isas() {
  const auto all = kernels::supported_isas();
  return {all.begin(), all.end()};
}

inline std::string isa_name(const testing::TestParamInfo<kernels::Isa>& info) {
  return std::string(kernels::name(info.param));
}

}  // namespace qeff::test

#define QEFF_INSTANTIATE_FOR_ISAS(suite) \
  INSTANTIATE_TEST_SUITE_P(Isas, suite, testing::ValuesIn(qeff::test::isas()), qeff::test::isa_name)
