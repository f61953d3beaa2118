/// @file
/// Compiled with the flags of qeff_isa(neon_i8mm ...) in src/CMakeLists.txt.
#include "kernels/simd/neon_i8mm.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable neon_i8mm_table = make_table<simd::NeonI8mm>();

}  // namespace qeff::kernels
