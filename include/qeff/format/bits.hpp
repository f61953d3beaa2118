/// @file
/// Codes of 1..8 bits at rest, without gaps: bit i * bits of the stream, counted from the lowest
/// bit of the first byte, is the lowest bit of code i.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qeff/core/error.hpp"

namespace qeff {

/// Bytes that `count` codes of `bits` bits take. @pre count * bits does not overflow
[[nodiscard]] constexpr std::size_t packed_bytes(std::size_t count, int bits) noexcept {
  const auto width = static_cast<std::size_t>(bits);
  return count / 8 * width + (count % 8 * width + 7) / 8;
}

/// Packs the low `bits` bits of each code; the unused bits of the last byte are zero.
/// @throws InvalidArgument unless bits is 1..8
[[nodiscard]] inline std::vector<std::uint8_t> pack_bits(std::span<const std::uint8_t> codes,
                                                         int bits) {
  require(bits >= 1 && bits <= 8, "pack_bits: bits must be 1..8, not ", bits);
  const std::uint32_t mask = (1u << bits) - 1u;
  std::vector<std::uint8_t> bytes;
  bytes.reserve(packed_bytes(codes.size(), bits));
  std::uint32_t pending = 0;
  int filled = 0;
  for (const std::uint8_t code : codes) {
    pending |= (code & mask) << filled;
    filled += bits;
    if (filled >= 8) {
      bytes.push_back(static_cast<std::uint8_t>(pending & 0xFFu));
      pending >>= 8;
      filled -= 8;
    }
  }
  if (filled > 0) bytes.push_back(static_cast<std::uint8_t>(pending));
  return bytes;
}

/// The `count` codes in `bytes`; signed ones are widened to two's complement of 8 bits.
/// @throws InvalidArgument unless bits is 1..8 and `bytes` is exactly as long as needed
[[nodiscard]] inline std::vector<std::uint8_t> unpack_bits(std::span<const std::uint8_t> bytes,
                                                           int bits, std::size_t count,
                                                           bool is_signed = false) {
  require(bits >= 1 && bits <= 8, "unpack_bits: bits must be 1..8, not ", bits);
  require(count / 8 <= bytes.size() && bytes.size() == packed_bytes(count, bits),
          "unpack_bits: ", count, " codes of ", bits, " bits do not take ", bytes.size(), " bytes");
  const std::uint32_t mask = (1u << bits) - 1u;
  const std::uint32_t sign = is_signed ? 1u << (bits - 1) : 0u;
  std::vector<std::uint8_t> codes(count);
  std::uint32_t pending = 0;
  int filled = 0;
  std::size_t next = 0;
  for (std::uint8_t& code : codes) {
    if (filled < bits) {
      pending |= static_cast<std::uint32_t>(bytes[next++]) << filled;
      filled += 8;
    }
    const std::uint32_t value = pending & mask;
    code = static_cast<std::uint8_t>((value ^ sign) - sign);
    pending >>= bits;
    filled -= bits;
  }
  return codes;
}

}  // namespace qeff
