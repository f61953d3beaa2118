/// @file
/// Proposals for the next tokens from the text so far (prompt lookup decoding, Saxena 2023).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qeff {

/// How far back the last occurrence of the newest n tokens is, n from `ngram` down; 0: nowhere.
[[nodiscard]] inline std::size_t lookup_distance(std::span<const std::int32_t> tokens,
                                                 std::size_t ngram) noexcept {
  for (std::size_t n = std::min(ngram, tokens.size()); n > 0; --n) {
    const auto newest = tokens.last(n);
    for (std::size_t distance = 1; distance + n <= tokens.size(); ++distance) {
      const auto earlier = tokens.subspan(tokens.size() - n - distance, n);
      if (std::equal(earlier.begin(), earlier.end(), newest.begin())) return distance;
    }
  }
  return 0;
}

/// Appends up to `most` proposed tokens: what stands `distance` places before each, as a repetition
/// goes on even where it overlaps itself. Within the capacity of `tokens` nothing is allocated.
inline void append_proposal(std::vector<std::int32_t>& tokens, std::size_t ngram,
                            std::size_t most) {
  const std::size_t distance = most > 0 ? lookup_distance(tokens, ngram) : 0;
  for (std::size_t i = 0; distance > 0 && i < most; ++i)
    tokens.push_back(tokens[tokens.size() - distance]);
}

}  // namespace qeff
