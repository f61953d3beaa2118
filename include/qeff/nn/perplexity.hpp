/// @file
/// How well a language model foretells a text, and how far a quantized one is from its original.
///
/// The text is cut into contexts of `ctx` tokens without overlap; what is left over is not used. In
/// each context tokens 2 ... ctx are predicted from those before them: perplexity = exp(mean of
/// -log p), log-softmax in double, as is usual for WikiText-2. Many contexts run as one batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "qeff/core/executor.hpp"
#include "qeff/nn/generate.hpp"

namespace qeff {

struct PerplexityOptions {
  std::size_t ctx = 512;         ///< Cut to the text if that is shorter.
  std::size_t run_tokens = 512;  ///< Most tokens of a run, of all contexts together.
  /// Called between runs: tokens done, tokens in all. An exception of it stops the work.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
};

struct Perplexity {
  std::size_t contexts = 0, predictions = 0;
  double mean_loss = 0;       ///< Nats a token.
  double standard_error = 0;  ///< Of the mean loss.
  [[nodiscard]] double perplexity() const noexcept;
};

struct Divergence {
  Perplexity model, reference;
  double mean_kl = 0;  ///< Mean of KL(reference || model), nats.
  double max_kl = 0;
  double same_top_share = 0;  ///< Predictions whose most likely token is that of the reference.
};

/// @param model     All its sequences are used, and empty afterwards.
/// @param executor  For the log-softmax.
/// @throws InvalidArgument for fewer than 2 tokens, a ctx below 2 or beyond the model's, ids
/// outside
///         the vocabulary, logits without a number.
[[nodiscard]] Perplexity perplexity(SequenceModel& model, std::span<const std::int32_t> ids,
                                    const PerplexityOptions& options, Executor& executor);

/// Both models on the same text. @throws InvalidArgument also for different vocabularies.
[[nodiscard]] Divergence kl_divergence(SequenceModel& model, SequenceModel& reference,
                                       std::span<const std::int32_t> ids,
                                       const PerplexityOptions& options, Executor& executor);

}  // namespace qeff
