/// @file
/// A set of code points as regular expressions write it: ranges and general categories.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/unicode_age.hpp"

namespace qeff {

/// Members are the ranges, the categories of the mask, and what the nested classes hold; ASCII by
/// table. `seal` must be called once it is complete.
class CharClass {
 public:
  std::vector<CodeRange> ranges;
  std::uint32_t categories = 0;  ///< Bit of utf8proc_category_t.
  std::vector<CharClass> parts;  ///< Nested classes.
  bool spaces = false;           ///< \s
  bool words = false;            ///< \w
  bool negated = false;
  bool ignore_case = false;

  void seal();
  [[nodiscard]] bool contains(char32_t c) const noexcept {
    return c < 0x80 ? (ascii_[c >> 6] >> (c & 63) & 1) != 0 : find(c);
  }

 private:
  [[nodiscard]] bool find(char32_t c) const noexcept;
  [[nodiscard]] bool has(char32_t c) const noexcept;

  std::array<std::uint64_t, 2> ascii_{};
};

/// The categories a name like "L", "Lu" or "Nd" stands for; 0 if it is none.
[[nodiscard]] std::uint32_t category_mask(std::string_view name) noexcept;

}  // namespace qeff
