/// @file
/// Compiled with the flags of qeff_isa(avx_vnni ...) in src/CMakeLists.txt.
#include "kernels/simd/avx_vnni.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable avx_vnni_table = make_table<simd::AvxVnni>();

}  // namespace qeff::kernels
