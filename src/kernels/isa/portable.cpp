/// @file
/// Compiled with the baseline flags; see src/CMakeLists.txt.
#include "kernels/simd/portable.hpp"

#include "kernels/make_table.inl.hpp"
#include "kernels/tables.hpp"

namespace qeff::kernels {

constinit const KernelTable portable_table = make_table<simd::Portable>();

}  // namespace qeff::kernels
