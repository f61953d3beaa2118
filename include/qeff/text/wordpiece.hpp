/// @file
/// BERT tokenization: text to token ids, the same ids as Hugging Face's BertTokenizerFast.
///
///     special tokens cut out of the raw text → clean, space CJK, NFD without accents, lower case
///     → words and punctuation → WordPiece: the longest vocabulary entry first, "##" inside a word
///     → template, [CLS] … [SEP]
///
/// Bytes that are not UTF-8 are read as U+FFFD. Source: BERT's tokenization.py and the tokenizers
/// library; equality is tested in tests/python/test_tokenizer.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qeff {

struct WordPieceOptions {
  bool clean_text = true;  ///< Drop control characters, all white space becomes a space.
  bool do_lower_case = true;
  std::optional<bool> strip_accents;   ///< Not set: as do_lower_case.
  bool tokenize_chinese_chars = true;  ///< Each CJK ideograph is a word.
  std::string unknown_token = "[UNK]";
  std::string continuing_prefix = "##";
  std::size_t max_chars_per_word = 100;  ///< Longer words are unknown.
  /// Before and after the text; with from_vocab also matched verbatim in the text, like `special`.
  std::vector<std::string> prefix = {"[CLS]"}, suffix = {"[SEP]"};
  std::vector<std::string> special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
};

/// Immutable, shareable between threads.
class WordPiece {
 public:
  using Options = WordPieceOptions;
  struct Impl;

  /// @param vocab_txt  One token a line, its id is the line's number; special tokens not in it are
  ///                   ignored unless the template or unknown words need them.
  /// @throws FormatError naming the line or the missing token.
  [[nodiscard]] static WordPiece from_vocab(std::string_view vocab_txt,
                                            const Options& options = {});
  /// Reads vocabulary, normalizer, added tokens, template and truncation.
  /// @throws FormatError; Unsupported naming the type if the tokenizer is of another kind.
  [[nodiscard]] static WordPiece from_tokenizer_json(std::string_view json);

  /// Ids with the template, at most `max_tokens`: the text is cut, the template stays whole.
  /// @throws InvalidArgument if the template alone is longer.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text,
                                                 std::size_t max_tokens) const;

  [[nodiscard]] std::optional<std::int32_t> token_to_id(std::string_view token) const noexcept;
  [[nodiscard]] std::size_t vocab_size() const noexcept;  ///< Largest id + 1.
  [[nodiscard]] std::int32_t unknown_id() const noexcept;
  [[nodiscard]] std::optional<std::int32_t> pad_id() const noexcept;  ///< "[PAD]" or "<pad>"
  [[nodiscard]] const std::vector<std::int32_t>& prefix_ids() const noexcept;  ///< [CLS]
  [[nodiscard]] const std::vector<std::int32_t>& suffix_ids() const noexcept;  ///< [SEP]
  /// Truncation stored in tokenizer.json.
  [[nodiscard]] std::optional<std::size_t> max_length() const noexcept;

 private:
  explicit WordPiece(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace qeff
