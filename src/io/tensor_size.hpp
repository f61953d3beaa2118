/// @file
/// Bytes of a tensor from an untrusted dtype and shape.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "qeff/core/checked_size.hpp"
#include "qeff/core/dtype.hpp"

namespace qeff {

/// Bits of all elements, or nothing if the number leaves std::size_t. A dimension of 0 does not
/// hide an overflow of the others: such shapes are refused by other readers.
[[nodiscard]] inline std::optional<std::size_t> tensor_bits(DType dtype,
                                                            const std::vector<std::size_t>& shape) {
  CheckedSize bits(info(dtype).bits);
  bool empty = false;
  for (const std::size_t dimension : shape) {
    empty = empty || dimension == 0;
    if (dimension != 0) bits = bits * dimension;
  }
  return bits.valid() && empty ? std::optional<std::size_t>(0) : bits.get();
}

/// Bytes, elements of 4 bits packed two in a byte, the last one alone if their count is odd.
[[nodiscard]] inline std::optional<std::size_t> tensor_bytes(
    DType dtype, const std::vector<std::size_t>& shape) {
  const auto bits = tensor_bits(dtype, shape);
  if (!bits) return std::nullopt;
  return *bits / 8 + (*bits % 8 != 0 ? 1 : 0);
}

}  // namespace qeff
