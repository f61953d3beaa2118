#include "text/byte_level.hpp"

#include <array>

#include "text/unicode.hpp"

namespace qeff {
namespace {

constexpr char32_t kShifted = 0x100;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

struct Alphabet {
  std::array<std::string, 256> chars;
  std::array<int, 0x144> bytes;  ///< By code point; -1: none.

  Alphabet() {
    bytes.fill(-1);
    char32_t next = kShifted;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char32_t c = stands_for_itself(byte) ? byte : next++;
      append_utf8(c, chars[byte]);
      bytes[c] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

std::string_view byte_level_char(unsigned char byte) noexcept { return alphabet().chars[byte]; }

std::optional<unsigned char> byte_of_char(char32_t c) noexcept {
  const auto& bytes = alphabet().bytes;
  if (c >= bytes.size() || bytes[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(bytes[c]);
}

void append_bytes_of(std::string_view token, std::string& out) {
  const std::size_t size = out.size();
  for (std::size_t at = 0; at < token.size();) {
    const auto byte = byte_of_char(decode_utf8(token, at));
    if (!byte) {
      out.resize(size);
      out += token;
      return;
    }
    out += static_cast<char>(*byte);
  }
}

}  // namespace qeff
