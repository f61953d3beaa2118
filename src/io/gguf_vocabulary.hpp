/// @file
/// The vocabulary inside a GGUF file, checked.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/gguf_metadata.hpp"

namespace qeff {

/// tokenizer.ggml.token_type
enum class TokenKind { normal = 1, unknown, control, user_defined, unused, byte };

class GgufVocabulary {
 public:
  /// @throws FormatError for a token that is there twice, or arrays of different lengths.
  explicit GgufVocabulary(const GgufMetadata& metadata);

  [[nodiscard]] const std::vector<std::string_view>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::optional<std::size_t> id(std::string_view token) const noexcept;
  [[nodiscard]] TokenKind kind(std::size_t id) const noexcept;
  /// @throws FormatError if the file has no scores.
  [[nodiscard]] double score(std::size_t id) const;
  /// tokenizer.ggml.<name>_token_id, or nothing. @throws FormatError beyond the vocabulary.
  [[nodiscard]] std::optional<std::size_t> special(std::string_view name) const;

 private:
  const GgufMetadata& metadata_;
  const std::vector<std::string_view>& tokens_;
  const GgufNumbers *kinds_, *scores_;
  std::unordered_map<std::string_view, std::size_t> ids_;
};

/// Two tokens that become one; earlier ones go first.
using Merges = std::vector<std::pair<std::string_view, std::string_view>>;

/// tokenizer.ggml.merges.
/// @throws FormatError for merges of or into what is not in the vocabulary.
[[nodiscard]] Merges stored_merges(const GgufMetadata& metadata, const GgufVocabulary& vocabulary);

/// The merges of a SentencePiece vocabulary, which has scores in their place: every way to cut a
/// piece in two pieces, best score first. Source: generate_merges() of transformers.
/// @throws FormatError without scores, or for a piece too long to be cut.
[[nodiscard]] Merges merges_by_score(const GgufMetadata& metadata,
                                     const GgufVocabulary& vocabulary);

}  // namespace qeff
