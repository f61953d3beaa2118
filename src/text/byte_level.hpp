/// @file
/// GPT-2's alphabet of 256 printable characters, one for each byte: bytes that are printable in
/// Latin-1 stand for themselves, the others for U+0100, U+0101, … in their order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qeff {

/// The UTF-8 of the character that stands for `byte`.
[[nodiscard]] std::string_view byte_level_char(unsigned char byte) noexcept;
/// The byte a character stands for.
[[nodiscard]] std::optional<unsigned char> byte_of_char(char32_t c) noexcept;
/// The bytes that the characters of a token stand for; the token's own if one stands for none.
void append_bytes_of(std::string_view token, std::string& out);

}  // namespace qeff
