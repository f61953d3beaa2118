/// @file
/// What a WordPiece tokenizer consists of; filled by its readers, used by its encoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qeff/text/wordpiece.hpp"
#include "text/bert_normalizer.hpp"
#include "text/token_trie.hpp"

namespace qeff {

using TokenIds = std::vector<std::pair<std::string_view, std::int32_t>>;

struct WordPiece::Impl {
  BertNormalizer normalizer;
  TokenTrie words;               ///< The vocabulary as it is: pieces that begin a word.
  TokenTrie continuations;       ///< Entries with the continuing prefix, without it.
  TokenTrie added;               ///< Special tokens; they need not be in the vocabulary.
  TokenTrie raw_special;         ///< Cut out of the text before normalization.
  TokenTrie normalized_special;  ///< Cut out of the normalized text.
  std::vector<std::int32_t> prefix, suffix;
  std::int32_t unknown = 0;
  std::optional<std::int32_t> pad;
  std::optional<std::size_t> max_length;
  std::size_t max_chars_per_word = 100;
  std::size_t vocab_size = 0;

  void set_vocabulary(TokenIds vocabulary, TokenIds special, std::string_view continuing_prefix);
  [[nodiscard]] std::optional<std::int32_t> find(std::string_view token) const noexcept {
    const auto id = added.find(token);
    return id ? id : words.find(token);
  }
};

}  // namespace qeff
