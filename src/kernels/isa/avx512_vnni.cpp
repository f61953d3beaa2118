/// @file
/// Compiled with the flags of qeff_isa(avx512_vnni ...) in src/CMakeLists.txt.
#include "kernels/simd/avx512_vnni.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable avx512_vnni_table = make_table<simd::Avx512Vnni>();

}  // namespace qeff::kernels
