/// @file
/// Weights that came from a file are finite.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "qeff/core/error.hpp"

namespace qeff {

/// @throws FormatError naming the tensor and the flat index of the first NaN or Inf.
inline void check_finite(std::span<const float> values, std::string_view name,
                         const std::string& shape, std::string_view file) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      throw FormatError(std::string(file),
                        str("tensor '", name, "' of shape ", shape, " has ",
                            std::isnan(values[i]) ? "NaN" : "Inf", " at flat index ", i));
}

}  // namespace qeff
