/// @file
/// Compiled with the flags of qeff_isa(avx512_bf16 ...) in src/CMakeLists.txt.
#include "kernels/simd/avx512_bf16.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable avx512_bf16_table = make_table<simd::Avx512Bf16>();

}  // namespace qeff::kernels
