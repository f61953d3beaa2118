/// @file
/// Code points: UTF-8, white space, numbers, case, the normal forms. What the tokenizers library
/// sees differently because its tables are older or younger is settled here.
#pragma once

#include <utf8proc.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qeff {

/// The next code point of `text` at `at`, which moves past it. A maximal invalid sequence gives one
/// U+FFFD, as Unicode recommends and Python does. @pre at < text.size()
[[nodiscard]] char32_t decode_utf8(std::string_view text, std::size_t& at) noexcept;
void append_utf8(char32_t c, std::string& out);
/// `text` with U+FFFD for what is not UTF-8.
[[nodiscard]] std::string valid_utf8(std::string_view text);
[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;

/// Whether `byte` continues a code point of UTF-8.
[[nodiscard]] constexpr bool continues(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// The general category of Unicode 16.
[[nodiscard]] utf8proc_category_t general_category(char32_t c) noexcept;
[[nodiscard]] bool is_white_space(char32_t c) noexcept;
[[nodiscard]] bool is_numeric(char32_t c) noexcept;  ///< Nd, Nl, No
/// Letters, marks, decimal and letter numbers, connecting punctuation, circled letters: what both
/// regular expression libraries of the reference agree to call \w.
[[nodiscard]] bool is_word_char(char32_t c) noexcept;

void append_lower_case(char32_t c, std::string& out);
/// The one code point `c` folds to, `c` itself if it folds to several.
[[nodiscard]] char32_t simple_fold(char32_t c) noexcept;

/// Appends the full decomposition, canonical or compatible.
void append_decomposed(char32_t c, bool compatible, std::vector<char32_t>& out);
/// Sorts each run of combining characters by class, equal classes in their order.
void order_marks(std::vector<char32_t>& text);

enum class NormalForm : std::uint8_t { nfc, nfd, nfkc, nfkd };
/// Appends the normal form of valid UTF-8.
void append_normal_form(std::string_view text, NormalForm form, std::string& out);

}  // namespace qeff
