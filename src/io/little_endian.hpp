/// @file
/// Unsigned integers in the byte order of files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>

namespace qeff {

static_assert(std::endian::native == std::endian::little,
              "qeff maps little-endian files as they are");

/// @pre offset + sizeof(T) <= bytes.size()
template <class T>
[[nodiscard]] T load_little_endian(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <class T>
void store_little_endian(std::span<std::byte> bytes, std::size_t offset, T value) noexcept {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

}  // namespace qeff
