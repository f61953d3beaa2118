/// @file
/// The regular expressions tokenizers cut text with, and nothing more:
///
///     a|b  (?:…)  (?i:…)  (?=…)  (?!…)  [^a-z\p{L}\s]  .  \p{Lu} \P{N} \s \S \d \D \w \W \r \n
///     ? * + {m,n} greedy;  ?+ *+ ++ possessive
///
/// The leftmost match wins, then the first alternative, as in backtracking engines. The work is
/// linear in the text: a class repeated is a loop, and a search that takes many steps remembers
/// which states have failed (as RE2's bit-state matcher does). Semantics are those of Oniguruma,
/// which the tokenizers library uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/char_class.hpp"

namespace qeff {

struct TextRange {
  std::size_t begin = 0, end = 0;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

/// Immutable, shareable between threads.
class SplitPattern {
 public:
  struct Instruction {
    enum class Op : std::uint8_t {
      one,    ///< A code point of class `a`.
      run,    ///< As many of class `a` as there are.
      up_to,  ///< At most `b` of class `a`.
      split,  ///< Tries `a`, then `b`.
      jump,   ///< To `a`.
      look,   ///< Whether what follows this instruction matches here; then to `a`.
      match,
    };
    Op op = Op::match;
    bool flag = false;  ///< run, up_to: possessive. look: negated.
    std::uint32_t a = 0, b = 0;
    std::uint32_t slot = 0;  ///< run, up_to, split: the column in the table of failed states.
  };

  /// @throws Unsupported naming pattern and position.
  [[nodiscard]] static SplitPattern compile(std::string_view pattern);
  /// Matches the string itself. @throws Unsupported if it is empty.
  [[nodiscard]] static SplitPattern literal(std::string_view text);

  /// All matches from left to right. @pre text is UTF-8
  [[nodiscard]] std::vector<TextRange> find_all(std::string_view text) const;

 private:
  friend class PatternMatcher;
  SplitPattern() = default;

  std::string literal_;  ///< If not empty, that is all.
  std::vector<Instruction> program_;
  std::vector<CharClass> classes_;
  std::uint32_t slots_ = 0;
};

}  // namespace qeff
