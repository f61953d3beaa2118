/// @file
/// A model that is no artifact, compiled into the cache, where the next call finds it.
#pragma once

#include <string>
#include <vector>

#include "language_model.hpp"

namespace qeff::cli {

/// The names `--quantization` takes.
[[nodiscard]] std::vector<std::string> scheme_names();

/// The artifact made of options.model: in QEFF_CACHE, else in the user's cache directory.
/// @throws InvalidArgument for an unknown scheme, or one that lacks its calibration texts.
[[nodiscard]] std::string compiled_path(const ModelOptions& options);

}  // namespace qeff::cli
