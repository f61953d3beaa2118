/// @file
/// Proposals for the next tokens from a smaller model (speculative decoding, Leviathan et al. 2023).
///
/// A proposal is kept only where it is the token that the large model chooses, so the text is the one
/// that the large model writes alone, sampled or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "qeff/nn/generate.hpp"

namespace qeff {

/// The draft during one call of Generator::generate; its sequences are empty before and after.
class Draft {
 public:
  /// @param capacity  Most tokens that append() is given or makes.
  Draft(SequenceModel& model, std::size_t sequences, std::size_t capacity);
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft();

  /// Appends the `most` tokens, or as many as fit the draft's context, that the draft finds most likely
  /// to follow. Within the capacity nothing is allocated.
  void append(std::size_t sequence, std::vector<std::int32_t>& tokens, std::size_t most);

 private:
  void empty();

  SequenceModel& model_;
  std::vector<std::vector<std::int32_t>> held_;  ///< By sequence: the tokens in its cache.
  std::vector<float> logits_;
};

}  // namespace qeff
