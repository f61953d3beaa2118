/// @file
/// BERT-family encoders (BERT/MiniLM, RoBERTa/XLM-R, DistilBERT, MPNet) run from a compiled artifact.
///
/// Tokens of a batch are packed one after the other: no padding is ever computed. A sequence's
/// result does not depend on its neighbours or on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qeff/core/executor.hpp"
#include "qeff/io/artifact.hpp"

namespace qeff {

enum class Pooling : std::uint8_t { none, mean, cls, max };

/// Sequences of token ids, packed.
struct TokenBatch {
  std::vector<std::int32_t> ids;       ///< All tokens, one sequence after the other.
  std::vector<std::int32_t> type_ids;  ///< Same length, or empty: all zero.
  std::vector<std::size_t> offsets;    ///< sequences + 1 ascending offsets into ids, first 0.
  [[nodiscard]] std::size_t sequences() const noexcept { return offsets.empty() ? 0 : offsets.size() - 1; }
};

/// What one linear layer runs as, for explain().
struct LayerPlan {
  std::string name;
  std::string scheme;  ///< e.g. "i8", "u4 g128"
  std::string kernel;  ///< ISA and activation type
  std::size_t bytes;
};

/// A loaded encoder; thread-safe (calls share the executor one after the other).
class Encoder {
 public:
  /// @param threads  0: all this process may use.
  /// @throws FormatError if the artifact is not an encoder or an entry is missing or misshapen.
  Encoder(std::shared_ptr<const Artifact> artifact, std::size_t threads = 0);
  Encoder(Encoder&&) noexcept;
  ~Encoder();

  [[nodiscard]] std::size_t hidden_size() const noexcept;
  [[nodiscard]] std::size_t vocab_size() const noexcept;
  [[nodiscard]] std::size_t max_tokens() const noexcept;  ///< Longest sequence.
  [[nodiscard]] std::size_t threads() const noexcept;
  [[nodiscard]] Pooling pooling() const noexcept;         ///< Compiled-in default.
  [[nodiscard]] bool normalize() const noexcept;          ///< Compiled-in default of encode().
  [[nodiscard]] const Artifact& artifact() const noexcept;
  [[nodiscard]] std::vector<LayerPlan> explain() const;

  /// Last hidden states, out: (tokens, hidden), in the packed order.
  /// @throws InvalidArgument naming the position of an id outside the vocabulary, of a sequence that
  ///         is empty or longer than max_tokens().
  void hidden_states(const TokenBatch& batch, std::span<float> out) const;
  /// One embedding per sequence, out: (sequences, hidden). Pooling::none is refused.
  void embed(const TokenBatch& batch, Pooling pooling, bool normalize, std::span<float> out) const;
  /// Text to embeddings (texts, hidden) with the artifact's own tokenizer (WordPiece), pooling and
  /// normalization, longer texts truncated. @throws Unsupported if the tokenizer is not WordPiece.
  [[nodiscard]] std::vector<float> encode(std::span<const std::string> texts,
                                          std::optional<bool> normalize = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Opens an artifact and the encoder in it.
[[nodiscard]] Encoder load(const std::string& path, std::size_t threads = 0);

}  // namespace qeff
