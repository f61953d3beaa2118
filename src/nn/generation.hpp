/// @file
/// One call of Generator::generate: which text is where, and what the model runs next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/draft.hpp"
#include "nn/stop_strings.hpp"
#include "qeff/nn/generate.hpp"

namespace qeff {

class Generation {
 public:
  using Prompts = std::span<const std::vector<std::int32_t>>;
  using HeldTokens = std::vector<std::vector<std::int32_t>>;

  /// Everything the token loop needs is allocated here.
  Generation(SequenceModel& model, HeldTokens& held, Prompts prompts,
             const GenerationOptions& options, const TokenCallback& on_token);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  /// Leaves in `held` what the sequences hold, also after an exception.
  ~Generation();

  GenerationResult run();

 private:
  /// A sequence of the model and the text that it is busy with.
  struct Slot {
    Slot(const GenerationOptions& options, std::size_t vocab)
        : sampler(options.sampling, vocab), stop(options.stop) {}

    GeneratedText* text = nullptr;  ///< Null: free.
    std::size_t length = 0;         ///< Tokens in the cache; those of `held` after it are to run.
    std::size_t proposed = 0;       ///< The last tokens of `held` that are only proposed.
    Sampler sampler;
    StopStrings stop;
    PieceDecoder decode;
    std::string piece;
  };
  enum class Reading : std::uint8_t { no, now, done };

  void admit();
  [[nodiscard]] GeneratedText* next_text();
  [[nodiscard]] bool is_held(std::span<const std::int32_t> prompt) const;
  [[nodiscard]] std::size_t free_slot(std::span<const std::int32_t> prompt) const;
  [[nodiscard]] std::size_t shared(std::size_t sequence,
                                   std::span<const std::int32_t> prompt) const;
  void begin(std::size_t sequence, GeneratedText& text);
  void take_over(std::size_t sequence, std::span<const std::int32_t> prompt);

  [[nodiscard]] std::size_t gather();
  [[nodiscard]] std::size_t most_proposed(std::size_t sequence) const;
  void propose(std::size_t sequence);
  void run_model(std::size_t rows);
  void consume();
  void extend(std::size_t sequence, std::span<const float> rows);
  [[nodiscard]] bool add_token(Slot& slot, std::int32_t id, std::span<const float> logits);
  [[nodiscard]] bool ends(Slot& slot, bool stopped, bool go_on) const;

  SequenceModel& model_;
  HeldTokens& held_;
  Prompts prompts_;
  const GenerationOptions& options_;
  const TokenCallback& on_token_;
  std::size_t vocab_, ctx_len_;
  std::vector<Slot> slots_;
  std::vector<Reading> reading_;     ///< By prompt: its first text is being read, or was.
  std::vector<std::uint8_t> begun_;  ///< By text.
  std::size_t first_waiting_ = 0;    ///< All texts before it have begun.
  std::size_t active_ = 0;
  std::size_t proposals_;  ///< Most of a run and text.
  std::optional<Draft> draft_;
  std::vector<CausalChunk> chunks_;
  std::vector<float> logits_;
  std::vector<TokenLogProb> top_;
  GenerationResult result_;
};

}  // namespace qeff
