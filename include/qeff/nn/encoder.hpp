/// @file
/// BERT-family encoders (BERT/MiniLM, RoBERTa/XLM-R, DistilBERT, MPNet) run from a compiled
/// artifact.
///
/// Tokens of a batch are packed one after the other: no padding is ever computed. A sequence's
/// result is the same bytes whatever its neighbours and the number of threads.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qeff/io/artifact.hpp"
#include "qeff/kernels/explain.hpp"
#include "qeff/nn/pooling.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff {

/// What one linear layer runs as, for explain().
struct LayerPlan {
  std::string name;
  std::string scheme;  ///< e.g. "i8", "u4 g128"
  std::string kernel;  ///< ISA and activation type
  std::size_t bytes;   ///< Of the weights.
  std::optional<MatmulPlan> matmul;  ///< For one number of rows, if it was asked for.
};

/// A loaded encoder; thread-safe (calls share the executor one after the other).
class Encoder {
 public:
  /// @param threads  0: all this process may use.
  /// @throws FormatError if the artifact is not an encoder or an entry is missing or misshapen.
  explicit Encoder(std::shared_ptr<const Artifact> artifact, std::size_t threads = 0);
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;
  ~Encoder();

  [[nodiscard]] std::size_t hidden_size() const noexcept;
  [[nodiscard]] std::size_t vocab_size() const noexcept;
  [[nodiscard]] std::size_t max_positions() const noexcept;  ///< Tokens a sequence of ids can have.
  [[nodiscard]] std::size_t max_tokens() const noexcept;     ///< Tokens encode() cuts a text to.
  [[nodiscard]] std::size_t threads() const noexcept;
  [[nodiscard]] Pooling pooling() const noexcept;            ///< Compiled-in default.
  [[nodiscard]] bool normalize() const noexcept;             ///< Compiled-in default of encode().
  [[nodiscard]] bool has_native_tokenizer() const noexcept;  ///< Whether encode() can work.
  [[nodiscard]] const Artifact& artifact() const noexcept;
  [[nodiscard]] std::vector<LayerPlan> explain() const;
  /// A plan for each layer and number of rows (tokens multiplied together) next to the roof of this
  /// machine, measured on first use; with `measure` each matmul is timed too.
  [[nodiscard]] std::vector<LayerPlan> explain(std::span<const std::size_t> rows,
                                               bool measure) const;

  /// Last hidden states, out: (tokens, hidden), in the packed order.
  /// @throws InvalidArgument naming the position of an id outside the vocabulary, of a sequence
  /// that
  ///         is empty or longer than max_positions().
  void hidden_states(const TokenBatch& batch, std::span<float> out) const;
  /// One embedding per sequence, out: (sequences, hidden). Pooling::none is refused.
  void embed(const TokenBatch& batch, Pooling pooling, bool normalize, std::span<float> out) const;
  /// Text to embeddings (texts, hidden) with the artifact's own tokenizer (WordPiece), pooling and
  /// normalization, longer texts truncated. @throws Unsupported if the tokenizer is not WordPiece.
  [[nodiscard]] std::vector<float> encode(std::span<const std::string> texts,
                                          std::optional<bool> normalize = {}) const;
  /// The ids encode() would run. @throws Unsupported if the tokenizer is not WordPiece.
  [[nodiscard]] TokenBatch tokenize(std::span<const std::string> texts) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Opens an artifact and the encoder in it.
[[nodiscard]] Encoder load(const std::string& path, std::size_t threads = 0);

}  // namespace qeff
