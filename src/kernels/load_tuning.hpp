/// @file
/// How dispatch gets the tuning of this machine.
#pragma once

#include <string>

#include "qeff/kernels/isa.hpp"

namespace qeff::kernels {

/// See tuning_file().
[[nodiscard]] std::string tuning_file_of(Isa isa);
/// Puts defaults, file and QEFF_TUNING into use. @throws InvalidArgument
void load_tuning(Isa isa);

}  // namespace qeff::kernels
