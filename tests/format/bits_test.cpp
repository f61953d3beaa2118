// The promises of format/bits.hpp.
#include "qeff/format/bits.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace qeff {
namespace {

std::vector<std::uint8_t> some_codes(std::size_t count, int bits) {
  std::vector<std::uint8_t> codes(count);
  std::uint32_t state = 12345;
  for (auto& code : codes) {
    state = state * 1664525u + 1013904223u;
    code = static_cast<std::uint8_t>((state >> 20) & ((1u << bits) - 1u));
  }
  return codes;
}

TEST(Bits, EveryWidthAndCountComesBack) {
  for (int bits = 1; bits <= 8; ++bits)
    for (std::size_t count = 0; count < 70; ++count) {
      const auto codes = some_codes(count, bits);
      const auto bytes = pack_bits(codes, bits);
      ASSERT_EQ(bytes.size(), (count * static_cast<std::size_t>(bits) + 7) / 8);
      ASSERT_EQ(unpack_bits(bytes, bits, count), codes);
    }
}

TEST(Bits, TheFirstCodeIsInTheLowestBits) {
  EXPECT_EQ(pack_bits(std::vector<std::uint8_t>{1, 2, 3}, 4),
            (std::vector<std::uint8_t>{0x21, 0x03}));
  EXPECT_EQ(pack_bits(std::vector<std::uint8_t>{7, 0, 7}, 3),
            (std::vector<std::uint8_t>{0xC7, 0x01}));
}

TEST(Bits, SignedCodesAreWidenedAndTheirUpperBitsDropped) {
  const std::vector<std::uint8_t> codes{0xFF, 0xF8, 7, 0};  // -1, -8, 7, 0
  EXPECT_EQ(unpack_bits(pack_bits(codes, 4), 4, 4, true), codes);
}

TEST(Bits, AWrongWidthOrLengthIsRefused) {
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  EXPECT_THROW((void)pack_bits(bytes, 0), InvalidArgument);
  EXPECT_THROW((void)pack_bits(bytes, 9), InvalidArgument);
  EXPECT_THROW((void)unpack_bits(bytes, 4, 7), InvalidArgument);
  EXPECT_THROW((void)unpack_bits(bytes, 4, 4), InvalidArgument);
  EXPECT_THROW((void)unpack_bits(bytes, 8, std::numeric_limits<std::size_t>::max()),
               InvalidArgument);
  EXPECT_THROW((void)unpack_bits(bytes, 7, std::numeric_limits<std::size_t>::max() / 7),
               InvalidArgument);
}

}  // namespace
}  // namespace qeff
