/// @file
/// The kernels of every x86 policy over software intrinsics: tests execute them on every machine.
#pragma once

#include <array>

#include "qeff/kernels/table.hpp"

namespace qeff::test {

/// avx2, avx_vnni, avx512_vnni, avx512_bf16, amx.
extern const std::array<const kernels::KernelTable*, 5> emulated_tables;

}  // namespace qeff::test
