/// @file
/// Compiled with the flags of qeff_isa(neon_dot ...) in src/CMakeLists.txt.
#include "kernels/simd/neon_dot.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable neon_dot_table = make_table<simd::NeonDot>();

}  // namespace qeff::kernels
