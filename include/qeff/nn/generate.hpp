/// @file
/// Text from a causal language model: any number of prompts through the sequences of one session.
///
///     const GenerationResult result = generate(session, {prompt_a, prompt_b}, {.eos_ids = {2}});
///
/// Continuous batching: every run of the model holds the next token of each text being written and
/// up to `prefill_chunk` tokens of prompts being read; a text that ends makes room for the next
/// prompt. A prompt takes over the keys and values of the longest beginning that any sequence holds
/// already, so several texts of one prompt, or the turns of a conversation, read what they share
/// once.
///
/// Prompt lookup (Saxena 2023) proposes what followed the last occurrence of the newest n tokens
/// and verifies the proposal in one run. A proposed token stays if it is the one the sampler
/// chooses from the model's logits at its place: the same tokens as without, greedy or sampled.
///
/// A text depends on its prompt, the options and its seed, not on its neighbours. While tokens are
/// generated nothing is allocated.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/sampler.hpp"

namespace qeff {

/// What generation needs of a model; sequence_model() makes it of a CausalSession, whose functions
/// of these names say what each must do.
class SequenceModel {
 public:
  virtual ~SequenceModel() = default;
  [[nodiscard]] virtual std::size_t vocab_size() const = 0;
  [[nodiscard]] virtual std::size_t sequences() const = 0;
  [[nodiscard]] virtual std::size_t ctx_len() const = 0;
  [[nodiscard]] virtual std::size_t length(std::size_t sequence) const = 0;
  virtual void truncate(std::size_t sequence, std::size_t length) = 0;
  virtual void copy_prefix(std::size_t from, std::size_t to, std::size_t length) = 0;
  virtual void run(std::span<const CausalChunk> chunks, std::span<float> logits) = 0;
};

/// @param session  Must outlive the result and be used by nobody else meanwhile.
[[nodiscard]] std::unique_ptr<SequenceModel> sequence_model(CausalSession& session);

/// Appends the bytes of a token to the text; keeps back what is not a whole character yet.
using PieceDecoder = std::function<void(std::int32_t id, std::string& text)>;

struct GenerationOptions {
  std::size_t max_new_tokens = 128;
  std::vector<std::int32_t> eos_ids = {};  ///< Each ends a text, of which it stays the last token.
  std::vector<std::string> stop =
      {};  ///< Each ends a text as soon as it is in it; needs `decoder`.
  std::function<PieceDecoder()> decoder = {};  ///< A new decoder for each text.
  SamplingOptions sampling = {};
  std::vector<std::uint64_t> seeds = {};  ///< One a prompt; empty: sampling.seed for each.
  std::size_t num_return_sequences = 1;   ///< Texts for each prompt, with different random numbers.
  std::size_t prefill_chunk = 512;        ///< Most prompt tokens of a run.
  std::size_t prompt_lookup_num_tokens = 0;  ///< Most proposed tokens of a run and text; 0: off.
  std::size_t prompt_lookup_ngram = 3;       ///< Longest n; shorter ones are tried after it.
  SequenceModel* draft = nullptr;  ///< Proposes tokens; of the same vocabulary, used by nobody else.
  std::size_t num_assistant_tokens = 5;  ///< Most tokens that the draft proposes to a run and text.
  bool logprobs = false;                     ///< Log-probabilities of the chosen tokens,
  std::size_t top_logprobs = 0;              ///< and of the most likely ones.
};

/// Why a text ended: max_new_tokens, an eos id, a stop string, ctx_len, the callback.
enum class FinishReason : std::uint8_t { length, eos, stop, context, callback };
[[nodiscard]] std::string_view name(FinishReason reason) noexcept;

/// A token just generated; its spans live as long as the call of the callback.
struct TokenEvent {
  std::size_t prompt = 0;  ///< Index of the prompt.
  std::size_t sample = 0;  ///< Which of its texts.
  std::size_t index = 0;   ///< Place in the text.
  std::int32_t id = 0;
  float logprob = 0;                  ///< With logprobs or top_logprobs.
  std::span<const TokenLogProb> top;  ///< With top_logprobs.
  std::string_view piece;             ///< With a decoder: what the token adds to the text.
};

/// False ends the text of this token. What it throws ends the generation.
using TokenCallback = std::function<bool(const TokenEvent&)>;

struct GeneratedText {
  std::size_t prompt = 0, sample = 0;
  std::vector<std::int32_t> ids;  ///< Without the prompt.
  std::vector<float> logprobs;    ///< One a token, or empty.
  std::vector<TokenLogProb> top;  ///< top_logprobs a token, best first.
  FinishReason reason = FinishReason::length;
};

struct GenerationStats {
  std::size_t prompt_tokens = 0;  ///< Run through the model,
  std::size_t reused_tokens = 0;  ///< or taken over from a sequence that held them.
  std::size_t generated_tokens = 0, runs = 0;
  std::size_t proposed_tokens = 0, accepted_tokens = 0;  ///< Of prompt lookup or draft.
  double prefill_seconds = 0, decode_seconds = 0;        ///< Runs with and without prompt tokens.
};

struct GenerationResult {
  std::vector<GeneratedText> texts;  ///< By prompt, then sample.
  GenerationStats stats;
};

/// Generates, call after call, and remembers which tokens the sequences hold.
class Generator {
 public:
  /// @param model  Must outlive the generator.
  explicit Generator(SequenceModel& model);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  /// @throws InvalidArgument naming prompt, position or option: an empty prompt, one longer than
  ///         ctx_len, an id outside the vocabulary, options that make no sense, logits without a
  ///         number, a call while another one runs. Whatever is thrown, the generator can go on.
  GenerationResult generate(std::span<const std::vector<std::int32_t>> prompts,
                            const GenerationOptions& options, const TokenCallback& on_token = {});

  /// Forgets the tokens of all sequences.
  void reset();

 private:
  SequenceModel& model_;
  std::vector<std::vector<std::int32_t>> held_;  ///< By sequence: the tokens it has.
  std::atomic<bool> busy_ = false;
};

/// Generates once, on all sequences of the session, which are empty afterwards.
GenerationResult generate(CausalSession& session,
                          std::span<const std::vector<std::int32_t>> prompts,
                          const GenerationOptions& options, const TokenCallback& on_token = {});

}  // namespace qeff
