/// @file
/// Sequences of token ids, packed one after the other: the input of every encoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qeff {

struct EncoderShape;

struct TokenBatch {
  std::vector<std::int32_t> ids;       ///< All tokens, one sequence after the other.
  std::vector<std::int32_t> type_ids;  ///< Same length, or empty: all zero.
  std::vector<std::size_t> offsets;    ///< sequences + 1 ascending offsets into ids, first 0.

  [[nodiscard]] std::size_t sequences() const noexcept {
    return offsets.empty() ? 0 : offsets.size() - 1;
  }
};

/// @throws InvalidArgument naming the position of an id or type id outside its table, of a sequence
///         that is empty or has more tokens than the model has positions, or of a bad offset.
void validate(const TokenBatch& batch, const EncoderShape& shape);

}  // namespace qeff
