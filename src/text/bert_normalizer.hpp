/// @file
/// What BERT does to text before it looks words up, and what it takes for a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.hpp"

namespace qeff {

struct BertNormalizer {
  bool clean_text = true;
  bool chinese_spaces = true;
  bool strip_accents = true;
  bool lower_case = true;

  /// Appends the normalized `text` to `out`, which becomes valid UTF-8 whatever `text` is.
  void append(std::string_view text, std::string& out) const;

 private:
  /// Cleans, spaces and decomposes from `at` up to the next ASCII character that stays.
  void append_run(std::string_view text, std::size_t& at, std::vector<char32_t>& run) const;
};

/// White space and punctuation as BERT's pre-tokenizer sees them.
enum class CharKind : std::uint8_t { word, space, punctuation };
[[nodiscard]] CharKind char_kind(char32_t c) noexcept;

}  // namespace qeff
