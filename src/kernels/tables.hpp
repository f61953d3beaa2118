/// @file
/// The tables of src/kernels/isa/; which of them a build has is said in src/CMakeLists.txt.
#pragma once

#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

extern const KernelTable portable_table;
extern const KernelTable avx2_table;
extern const KernelTable avx_vnni_table;
extern const KernelTable avx512_vnni_table;
extern const KernelTable avx512_bf16_table;
extern const KernelTable amx_table;
extern const KernelTable neon_dot_table;
extern const KernelTable neon_i8mm_table;

/// The strongest kernels of this machine not above `limit`, the name of an ISA; null or "" is no limit.
/// @throws InvalidArgument if limit names no ISA
[[nodiscard]] const KernelTable& strongest(const char* limit);

/// Like set_active, for a table that no ISA of this machine stands for; null returns to the default.
/// For tests: emulated and deliberately broken kernels.
void set_active_table(const KernelTable* table) noexcept;

}  // namespace qeff::kernels
