/// @file
/// Compiled with the flags of qeff_isa(avx2 ...) in src/CMakeLists.txt.
#include "kernels/simd/avx2.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable avx2_table = make_table<simd::Avx2>();

}  // namespace qeff::kernels
