#include "qeff/nn/generate.hpp"

#include <algorithm>
#include <array>

#include "nn/generation.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

/// Refuses a second caller instead of letting it wait.
class Turn {
 public:
  explicit Turn(std::atomic<bool>& busy) : busy_(busy) {
    require(!busy_.exchange(true), "the generator is in use by another call");
  }
  ~Turn() { busy_ = false; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic<bool>& busy_;
};

void validate_prompts(std::span<const std::vector<std::int32_t>> prompts,
                      const SequenceModel& model) {
  const std::size_t vocab = model.vocab_size(), ctx_len = model.ctx_len();
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto& ids = prompts[p];
    require(!ids.empty(), "prompt ", p, " is empty; give it at least one token");
    require(ids.size() <= ctx_len, "prompt ", p, " has ", ids.size(),
            " tokens, but the session has room for ctx_len = ", ctx_len);
    const auto bad = std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) {
      return id < 0 || static_cast<std::size_t>(id) >= vocab;
    });
    if (bad != ids.end())
      throw InvalidArgument(str("prompt ", p, ": id ", *bad, " at position ", bad - ids.begin(),
                                " is outside the vocabulary of ", vocab));
  }
}

void validate_draft(const GenerationOptions& o, std::size_t texts, const SequenceModel& model) {
  if (!o.draft) return;
  require(o.draft != &model, "the draft is the model itself");
  require(o.prompt_lookup_num_tokens == 0, "proposals come from a draft or from prompt lookup, not both");
  require(o.num_assistant_tokens > 0, "num_assistant_tokens must be at least 1, not 0");
  require(o.draft->vocab_size() == model.vocab_size(), "the draft has a vocabulary of ", o.draft->vocab_size(),
          ", the model one of ", model.vocab_size());
  const std::size_t together = std::min(model.sequences(), texts);
  require(o.draft->sequences() >= together, "the draft has ", o.draft->sequences(), " sequences; ", together,
          " texts are generated together");
}

void validate_options(const GenerationOptions& o, std::size_t prompts, std::size_t vocab) {
  validate(o.sampling);
  require(o.max_new_tokens > 0, "max_new_tokens must be at least 1, not 0");
  require(o.num_return_sequences > 0, "num_return_sequences must be at least 1, not 0");
  require(o.num_return_sequences == 1 || o.sampling.temperature > 0,
          "num_return_sequences = ", o.num_return_sequences,
          " needs a temperature above 0: greedy texts would be equal");
  require(o.prefill_chunk > 0, "prefill_chunk must be at least 1, not 0");
  require(o.prompt_lookup_num_tokens == 0 || o.prompt_lookup_ngram > 0,
          "prompt_lookup_ngram must be at least 1, not 0");
  require(o.seeds.empty() || o.seeds.size() == prompts, "seeds: ", o.seeds.size(), " for ", prompts,
          " prompts");
  require(o.top_logprobs <= vocab, "top_logprobs = ", o.top_logprobs,
          " is more than the vocabulary of ", vocab);
  require(o.stop.empty() || o.decoder, "stop strings need a decoder of tokens");
  for (const std::string& s : o.stop) require(!s.empty(), "stop: a stop string is empty");
}

}  // namespace

std::string_view name(FinishReason reason) noexcept {
  constexpr std::array<std::string_view, 5> names = {"length", "eos", "stop", "context",
                                                     "callback"};
  return names[static_cast<std::size_t>(reason)];
}

Generator::Generator(SequenceModel& model) : model_(model) {}

Generator::~Generator() = default;

GenerationResult Generator::generate(std::span<const std::vector<std::int32_t>> prompts,
                                     const GenerationOptions& options,
                                     const TokenCallback& on_token) {
  const Turn turn(busy_);
  validate_options(options, prompts.size(), model_.vocab_size());
  validate_prompts(prompts, model_);
  validate_draft(options, prompts.size() * options.num_return_sequences, model_);
  return Generation(model_, held_, prompts, options, on_token).run();
}

void Generator::reset() {
  const Turn turn(busy_);
  for (std::size_t s = 0; s < model_.sequences(); ++s) model_.truncate(s, 0);
  held_.clear();
}

}  // namespace qeff
