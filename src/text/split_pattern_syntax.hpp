/// @file
/// A regular expression as a tree.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "text/char_class.hpp"

namespace qeff {

inline constexpr std::uint32_t kNoLimit = std::numeric_limits<std::uint32_t>::max();

struct PatternNode {
  enum class Kind : std::uint8_t { one, sequence, choice, repeat, look };
  Kind kind = Kind::sequence;
  CharClass chars;                    ///< one
  std::vector<PatternNode> children;  ///< sequence and choice: all; repeat and look: one
  std::uint32_t min = 1, max = 1;     ///< repeat
  bool flag = false;                  ///< repeat: possessive. look: negated.
};

/// @throws Unsupported naming pattern and position.
[[nodiscard]] PatternNode parse_pattern(std::string_view pattern);

/// @throws Unsupported
[[noreturn]] void refuse_pattern(std::string_view pattern, std::size_t at, std::string_view why);

}  // namespace qeff
