/// @file
/// A first-use check of a kernel table, so that a CPU or virtual machine that promises an instruction
/// and does something else loses that ISA instead of computing wrong numbers.
#pragma once

#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// Whether int8 and bf16 products of `table` agree with scalar ones on a small problem; microseconds.
[[nodiscard]] bool products_are_right(const KernelTable& table);

}  // namespace qeff::kernels
