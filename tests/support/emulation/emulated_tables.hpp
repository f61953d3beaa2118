/// @file
/// The kernels of every x86 policy over software intrinsics: tests execute them on every x86
/// machine, whatever instructions it has.
#pragma once

#include <array>

#include "qeff/kernels/table.hpp"
#include "support/isa.hpp"

namespace qeff::test {

/// avx2, avx_vnni, avx512_vnni, avx512_bf16, amx.
extern const std::array<const kernels::KernelTable*, 5> emulated_tables;

}  // namespace qeff::test

/// The native kernels; on x86, without sanitizers, also the emulated ones, whether or not this machine has
/// the instructions.
#if defined(QEFF_HAVE_EMULATED_KERNELS)
#define QEFF_INSTANTIATE_FOR_ALL_KERNELS(suite) \
  QEFF_INSTANTIATE_FOR_ISAS(suite);             \
  INSTANTIATE_TEST_SUITE_P(Emulated, suite, testing::ValuesIn(qeff::test::emulated_tables), qeff::test::table_name)
#else
#define QEFF_INSTANTIATE_FOR_ALL_KERNELS(suite) QEFF_INSTANTIATE_FOR_ISAS(suite)
#endif
