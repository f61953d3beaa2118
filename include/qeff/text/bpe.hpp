/// @file
/// Byte pair encoding: text to token ids and back, the same ids as Hugging Face's tokenizers.
///
///     added tokens cut out → normalizer → pieces (regular expressions, byte alphabet, ▁)
///     → in every piece the pair learned first is merged, again and again → template
///
/// Both kinds are read from tokenizer.json: byte-level (GPT-2, Llama 3, Qwen, SmolLM) and
/// SentencePiece's (Llama 2, Mistral, Gemma). Bytes that are not UTF-8 are read as U+FFFD.
/// Truncation and padding of the file are the caller's. Source: the tokenizers library; equality is
/// tested in tests/python/test_bpe.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qeff {

/// What tokenizer_config.json may say about the template. If one of the two is set they replace the
/// template of tokenizer.json, as in transformers; a token without a name is left out.
struct BpeOptions {
  std::optional<bool> add_bos, add_eos;
  std::string bos_token, eos_token;
};

/// Immutable, shareable between threads.
class BpeTokenizer {
 public:
  struct Impl;
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

  /// @throws FormatError; Unsupported naming the component that is of a kind qeff does not have.
  [[nodiscard]] static BpeTokenizer from_tokenizer_json(std::string_view json,
                                                        const BpeOptions& options = {});

  /// @param add_special_tokens  Whether to put the template around the ids.
  /// @param max_tokens          The text is cut, the template stays whole.
  /// @throws InvalidArgument if the template alone is longer.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text,
                                                 bool add_special_tokens = true,
                                                 std::size_t max_tokens = kNoLimit) const;
  /// Valid UTF-8. Ids without a token are passed over, as the reference does.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids,
                                   bool skip_special_tokens = true) const;

  [[nodiscard]] std::size_t vocab_size() const noexcept;  ///< Largest id + 1.
  [[nodiscard]] std::optional<std::int32_t> token_id(std::string_view token) const;
  /// The token as it is in the vocabulary, e.g. "Ġthe". @throws InvalidArgument if `id` has none.
  [[nodiscard]] const std::string& token(std::int32_t id) const;
  [[nodiscard]] bool is_special(std::int32_t id) const noexcept;
  [[nodiscard]] const std::vector<std::int32_t>& prefix_ids() const noexcept;  ///< Of the template.
  [[nodiscard]] const std::vector<std::int32_t>& suffix_ids() const noexcept;

 private:
  friend class TokenStream;
  explicit BpeTokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Ids one by one to text: all pieces together are what decode gives, each is valid UTF-8 and
/// nothing of it will change. For one thread at a time.
class TokenStream {
 public:
  explicit TokenStream(const BpeTokenizer& tokenizer, bool skip_special_tokens = true);
  TokenStream(TokenStream&&) noexcept;
  TokenStream& operator=(TokenStream&&) noexcept;
  ~TokenStream();

  /// The text that is certain after `id`; often empty, while a character is not complete.
  [[nodiscard]] std::string push(std::int32_t id);
  /// What was held back; the stream begins anew.
  [[nodiscard]] std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qeff
