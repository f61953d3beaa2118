/// @file
/// What the CPU and the operating system allow. The only place that knows CPU flags.
#pragma once

#include <string>
#include <vector>

#include "qeff/kernels/isa.hpp"

namespace qeff::kernels {

/// Weakest first, portable included; independent of what this build has kernels for.
[[nodiscard]] std::vector<Isa> detect_isas();
[[nodiscard]] std::string detect_cpu_model();

}  // namespace qeff::kernels
