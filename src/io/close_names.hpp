/// @file
/// "Did you mean": names near a missing one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qeff {

/// " (close: 'a', 'b')" with up to five of `names` nearest in edit distance, or empty if none is
/// nearer than half the length of `name`.
[[nodiscard]] std::string close_names(std::string_view name,
                                      const std::vector<std::string_view>& names);

}  // namespace qeff
