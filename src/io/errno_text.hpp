/// @file
/// IoError from errno, in one wording for all files.
#pragma once

#include <string>
#include <system_error>

#include "qeff/core/error.hpp"

namespace qeff {

/// @throws IoError "path: what: reason"
[[noreturn]] inline void throw_io_error(const std::string& path, const std::string& what,
                                        int code) {
  throw IoError(path, what + ": " + std::generic_category().message(code), code);
}

}  // namespace qeff
