#include "nn/generation.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "nn/prompt_lookup.hpp"
#include "qeff/core/error.hpp"

namespace qeff {

Generation::Generation(SequenceModel& model, HeldTokens& held, Prompts prompts,
                       const GenerationOptions& options, const TokenCallback& on_token)
    : model_(model),
      held_(held),
      prompts_(prompts),
      options_(options),
      on_token_(on_token),
      vocab_(model.vocab_size()),
      ctx_len_(model.ctx_len()),
      reading_(prompts.size(), Reading::no),
      begun_(prompts.size() * options.num_return_sequences),
      proposals_(options.draft ? options.num_assistant_tokens : options.prompt_lookup_num_tokens),
      top_(options.top_logprobs) {
  const std::size_t slots = std::min(model.sequences(), begun_.size());
  if (options.draft) draft_.emplace(*options.draft, slots, ctx_len_ + 1 + proposals_);
  slots_.reserve(slots);
  for (std::size_t s = 0; s < slots; ++s) slots_.emplace_back(options, vocab_);
  held_.resize(model.sequences());
  for (std::size_t s = 0; s < held_.size(); ++s) {
    if (model.length(s) != held_[s].size()) held_[s].clear();  // somebody else was here
    held_[s].reserve(ctx_len_ + 1 + proposals_);
  }
  for (std::size_t s = 0; s < slots; ++s) slots_[s].length = held_[s].size();
  chunks_.reserve(slots);
  logits_.resize(slots * (1 + proposals_) * vocab_);
  for (std::size_t p = 0; p < prompts.size(); ++p)
    for (std::size_t sample = 0; sample < options.num_return_sequences; ++sample) {
      GeneratedText& text = result_.texts.emplace_back();
      text.prompt = p;
      text.sample = sample;
      const std::size_t most = std::min(options.max_new_tokens, ctx_len_ - prompts[p].size() + 1);
      text.ids.reserve(most);
      if (options.logprobs || !top_.empty()) text.logprobs.reserve(most);
      text.top.reserve(most * top_.size());
    }
}

Generation::~Generation() {
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    auto& held = held_[s];
    // The newest token of a text is not in the cache yet, whatever stands in its place there.
    const std::size_t sure = slots_[s].text && !held.empty() ? held.size() - 1 : held.size();
    try {
      held.resize(std::min(sure, model_.length(s)));
      model_.truncate(s, held.size());
    } catch (const Error&) {  // another thread is in the session
      held.clear();
    }
  }
}

GenerationResult Generation::run() {
  for (admit(); active_ > 0; admit()) {
    run_model(gather());
    consume();
  }
  return std::move(result_);
}

void Generation::admit() {
  while (active_ < slots_.size()) {
    GeneratedText* const text = next_text();
    if (text == nullptr) return;
    begin(free_slot(prompts_[text->prompt]), *text);
  }
}

/// The first text whose prompt a free sequence holds, else the first whose prompt nobody is
/// reading.
GeneratedText* Generation::next_text() {
  auto& texts = result_.texts;
  while (first_waiting_ < texts.size() && begun_[first_waiting_] != 0) ++first_waiting_;
  GeneratedText* first = nullptr;
  for (std::size_t t = first_waiting_; t < texts.size(); ++t) {
    const Reading reading = reading_[texts[t].prompt];
    if (begun_[t] != 0 || reading == Reading::now) continue;
    if (first == nullptr) first = &texts[t];
    if (options_.num_return_sequences == 1) break;
    if (reading == Reading::done && is_held(prompts_[texts[t].prompt])) return &texts[t];
  }
  return first;
}

/// Whether a free sequence holds all of the prompt that it can.
bool Generation::is_held(std::span<const std::int32_t> prompt) const {
  for (std::size_t s = 0; s < slots_.size(); ++s)
    if (!slots_[s].text && shared(s, prompt) + 1 == prompt.size()) return true;
  return false;
}

/// Tokens of the prompt that a sequence holds; at least one is left to run, for its logits.
std::size_t Generation::shared(std::size_t sequence, std::span<const std::int32_t> prompt) const {
  const auto& held = held_[sequence];
  const std::size_t most = std::min({slots_[sequence].length, held.size(), prompt.size() - 1});
  const auto end = prompt.begin() + static_cast<std::ptrdiff_t>(most);
  return static_cast<std::size_t>(std::mismatch(prompt.begin(), end, held.begin()).first -
                                  prompt.begin());
}

/// The free sequence that holds most of the prompt; of equal ones the one that holds least else.
std::size_t Generation::free_slot(std::span<const std::int32_t> prompt) const {
  std::size_t best = slots_.size(), best_shared = 0;
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s].text) continue;
    const std::size_t here = shared(s, prompt);
    const bool first = best == slots_.size();
    if (first || here > best_shared ||
        (here == best_shared && slots_[s].length < slots_[best].length)) {
      best = s;
      best_shared = here;
    }
  }
  return best;
}

void Generation::begin(std::size_t sequence, GeneratedText& text) {
  Slot& slot = slots_[sequence];
  const auto& prompt = prompts_[text.prompt];
  take_over(sequence, prompt);
  const std::uint64_t seed =
      options_.seeds.empty() ? options_.sampling.seed : options_.seeds[text.prompt];
  slot.sampler.restart(seed_of(seed, text.sample));
  slot.sampler.see(prompt);
  slot.stop.restart();
  if (options_.decoder) slot.decode = options_.decoder();
  slot.text = &text;
  begun_[static_cast<std::size_t>(&text - result_.texts.data())] = 1;
  if (reading_[text.prompt] == Reading::no) reading_[text.prompt] = Reading::now;
  ++active_;
}

/// Makes the sequence hold the longest beginning of the prompt that any sequence holds.
void Generation::take_over(std::size_t sequence, std::span<const std::int32_t> prompt) {
  std::size_t from = sequence, length = shared(sequence, prompt);
  for (std::size_t s = 0; s < slots_.size(); ++s)
    if (const std::size_t there = shared(s, prompt); there > length) {
      from = s;
      length = there;
    }
  if (from == sequence)
    model_.truncate(sequence, length);
  else
    model_.copy_prefix(from, sequence, length);
  held_[sequence].assign(prompt.begin(), prompt.end());
  slots_[sequence].length = length;
  slots_[sequence].proposed = 0;
  result_.stats.reused_tokens += length;
}

/// Proposals must fit into the context, and no more make sense than may be generated.
std::size_t Generation::most_proposed(std::size_t sequence) const {
  const std::size_t generated = slots_[sequence].text->ids.size();
  return std::min({proposals_, ctx_len_ - held_[sequence].size(),
                   options_.max_new_tokens - generated - 1});
}

void Generation::propose(std::size_t sequence) {
  auto& held = held_[sequence];
  const std::size_t before = held.size(), most = most_proposed(sequence);
  if (draft_)
    draft_->append(sequence, held, most);
  else
    append_proposal(held, options_.prompt_lookup_ngram, most);
  slots_[sequence].proposed = held.size() - before;
}

/// Collects the chunks of the next run. @return their rows of logits.
std::size_t Generation::gather() {
  chunks_.clear();
  std::size_t rows = 0, budget = options_.prefill_chunk;
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    Slot& slot = slots_[s];
    if (!slot.text) continue;
    const auto& held = held_[s];
    const bool reads = slot.text->ids.empty();
    if (!reads) propose(s);
    const std::size_t left = held.size() - slot.length;
    const std::size_t taken = reads ? std::min(left, budget) : left;
    if (taken == 0) continue;
    if (reads) budget -= taken;
    chunks_.push_back({s, std::span(held).subspan(slot.length, taken), slot.proposed > 0});
    rows += 1 + slot.proposed;
  }
  return rows;
}

void Generation::run_model(std::size_t rows) {
  std::size_t prompt_tokens = 0;
  for (const CausalChunk& chunk : chunks_)
    if (slots_[chunk.sequence].text->ids.empty()) prompt_tokens += chunk.ids.size();
  const auto started = std::chrono::steady_clock::now();
  model_.run(chunks_, std::span(logits_).first(rows * vocab_));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  GenerationStats& stats = result_.stats;
  ++stats.runs;
  stats.prompt_tokens += prompt_tokens;
  (prompt_tokens > 0 ? stats.prefill_seconds : stats.decode_seconds) += seconds.count();
  for (const CausalChunk& chunk : chunks_) slots_[chunk.sequence].length += chunk.ids.size();
}

void Generation::consume() {
  std::span<const float> rows(logits_);
  for (const CausalChunk& chunk : chunks_) {
    const std::size_t count = (1 + slots_[chunk.sequence].proposed) * vocab_;
    if (slots_[chunk.sequence].length == held_[chunk.sequence].size())
      extend(chunk.sequence, rows.first(count));
    rows = rows.subspan(count);
  }
}

/// Adds the token of the first row, and as long as it is the one that was proposed, of the next.
void Generation::extend(std::size_t sequence, std::span<const float> rows) {
  Slot& slot = slots_[sequence];
  auto& held = held_[sequence];
  const std::size_t proposed = std::exchange(slot.proposed, 0);
  reading_[slot.text->prompt] = Reading::done;
  std::size_t place = held.size() - proposed, accepted = 0;
  result_.stats.proposed_tokens += proposed;
  for (bool agreed = true; agreed && slot.text; ++place) {
    const auto logits = rows.first(vocab_);
    rows = rows.subspan(vocab_);
    const std::int32_t id = slot.sampler.choose(logits);
    agreed = place < held.size() && held[place] == id;
    accepted += agreed ? 1 : 0;
    if (!agreed) {  // what was proposed from here on is refused
      held.resize(place);
      held.push_back(id);
    }
    if (!add_token(slot, id, logits)) continue;
    slot.text = nullptr;
    --active_;
  }
  result_.stats.accepted_tokens += accepted;
  held.resize(place);
  slot.length = std::min(slot.length, place - 1);
  if (!slot.text) held.resize(slot.length);
  if (model_.length(sequence) > slot.length) model_.truncate(sequence, slot.length);
}

/// Adds a token to the text and tells the callback. @return whether the text ends with it.
bool Generation::add_token(Slot& slot, std::int32_t id, std::span<const float> logits) {
  GeneratedText& text = *slot.text;
  TokenEvent event{text.prompt, text.sample, text.ids.size(), id, 0, top_, {}};
  text.ids.push_back(id);
  ++result_.stats.generated_tokens;
  if (options_.logprobs || !top_.empty()) {
    event.logprob = static_cast<float>(log_probability(logits, id));
    text.logprobs.push_back(event.logprob);
  }
  if (!top_.empty()) {
    top_log_probabilities(logits, top_);
    text.top.insert(text.top.end(), top_.begin(), top_.end());
  }
  const auto& eos = options_.eos_ids;
  const bool special = std::find(eos.begin(), eos.end(), id) != eos.end();
  slot.piece.clear();
  if (slot.decode && !special) slot.decode(id, slot.piece);
  event.piece = slot.piece;
  const bool stopped = slot.stop.ends_with(slot.piece);
  const bool go_on = !on_token_ || on_token_(event);
  if (special) return text.reason = FinishReason::eos, true;
  return ends(slot, stopped, go_on);
}

/// Whether the text ends with its newest token, and why.
bool Generation::ends(Slot& slot, bool stopped, bool go_on) const {
  GeneratedText& text = *slot.text;
  const std::size_t tokens = prompts_[text.prompt].size() + text.ids.size();
  if (stopped)
    text.reason = FinishReason::stop;
  else if (!go_on)
    text.reason = FinishReason::callback;
  else if (text.ids.size() == options_.max_new_tokens)
    text.reason = FinishReason::length;
  else if (tokens > ctx_len_)
    text.reason = FinishReason::context;
  else
    return false;
  return true;
}

}  // namespace qeff
