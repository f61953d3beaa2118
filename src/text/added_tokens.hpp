/// @file
/// The "added_tokens" of tokenizer.json: matched verbatim, those with "normalized" in normalized
/// text, the others before; leftmost first, then the longest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/split_pattern.hpp"
#include "text/text_normalizer.hpp"
#include "text/token_trie.hpp"
#include "text/tokenizer_json.hpp"

namespace qeff {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;
  bool single_word = false;             ///< Only between characters that are not \w.
  bool lstrip = false, rstrip = false;  ///< Takes the white space before, behind it.
  bool normalized = false;
};

/// @throws FormatError
[[nodiscard]] std::vector<AddedToken> parse_added_tokens(const tokenizer_json::Json& document);

/// A part of a text that is an added token or has none.
struct TokenSpan {
  TextRange range;
  const AddedToken* token = nullptr;
};

/// Finds tokens of one kind.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  /// @param tokens  Must outlive this; those whose `normalized` is as asked for are looked for.
  AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized,
                   const TextNormalizer& normalizer);

  [[nodiscard]] std::vector<TokenSpan> split(std::string_view text) const;

 private:
  const std::vector<AddedToken>* tokens_ = nullptr;
  TokenTrie trie_;  ///< Content → index of the token.
};

}  // namespace qeff
