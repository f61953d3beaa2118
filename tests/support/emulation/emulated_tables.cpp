// Compiled with this folder first on the include path and without any flag of an instruction set:
// the policies find the immintrin.h beside this file.
#include <array>

// Types that the tables share with the rest keep their names; they come before the renaming below.
#include "qeff/core/macros.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/kernels/tuning.hpp"

namespace qeff::emulated {
using namespace kernels;
}

// Policies and bodies a second time, as qeff::emulated: no symbol is that of the real kernels.
#define kernels emulated
#include "kernels/make_table.inl.hpp"
#include "kernels/simd/amx.hpp"
#include "kernels/simd/avx_vnni.hpp"
#undef kernels

namespace qeff::test {
namespace {

constinit const kernels::KernelTable avx2 = emulated::make_table<emulated::simd::Avx2>();
constinit const kernels::KernelTable avx_vnni = emulated::make_table<emulated::simd::AvxVnni>();
constinit const kernels::KernelTable avx512_vnni = emulated::make_table<emulated::simd::Avx512Vnni>();
constinit const kernels::KernelTable avx512_bf16 = emulated::make_table<emulated::simd::Avx512Bf16>();
constinit const kernels::KernelTable amx = emulated::make_table<emulated::simd::Amx>();

}  // namespace

extern const std::array<const kernels::KernelTable*, 5> emulated_tables;  // emulated_tables.hpp
constinit const std::array<const kernels::KernelTable*, 5> emulated_tables{&avx2, &avx_vnni, &avx512_vnni,
                                                                           &avx512_bf16, &amx};

}  // namespace qeff::test
