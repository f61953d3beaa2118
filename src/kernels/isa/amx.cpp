/// @file
/// Compiled with the flags of qeff_isa(amx ...) in src/CMakeLists.txt.
#include "kernels/simd/amx.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable amx_table = make_table<simd::Amx>();

}  // namespace qeff::kernels
