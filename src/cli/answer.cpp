#include "answer.hpp"

#include <algorithm>
#include <memory>
#include <span>

#include "interrupt.hpp"

namespace qeff::cli {
namespace {

constexpr std::size_t kSeam = 4;  // tokens of the prompt that tell how the text goes on

/// The longest end of `text` that is a beginning of `string`, but not all of it.
std::size_t overlap(std::string_view text, std::string_view string) {
  for (std::size_t n = std::min(string.size() - 1, text.size()); n > 0; --n)
    if (text.ends_with(string.substr(0, n))) return n;
  return 0;
}

TokenStream stream_after(const BpeTokenizer& tokenizer, const std::vector<std::int32_t>& prompt) {
  TokenStream stream(tokenizer);
  const std::size_t seam = std::min(kSeam, prompt.size());
  for (const std::int32_t id : std::span(prompt).last(seam)) (void)stream.push(id);
  return stream;
}

double ratio(double tokens, double seconds) noexcept { return seconds > 0 ? tokens / seconds : 0; }

}  // namespace

std::string StopFilter::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  std::size_t first = std::string::npos, kept = 0;
  for (const std::string& s : strings_) {
    first = std::min(first, held_.find(s));
    kept = std::max(kept, overlap(held_, s));
  }
  stopped_ = first != std::string::npos;
  const std::size_t certain = stopped_ ? first : held_.size() - kept;
  std::string text = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return text;
}

std::string StopFilter::finish() { return std::exchange(held_, {}); }

Answer answer(const LanguageModel& model, Generator& generator,
              const std::vector<std::int32_t>& prompt, const AnswerOptions& options,
              const std::function<void(std::string_view piece)>& show) {
  Answer result;
  StopFilter filter(options.stop);
  GenerationOptions recipe{.max_new_tokens = options.max_new_tokens, .eos_ids = model.eos_ids()};
  recipe.sampling = options.sampling;
  recipe.prompt_lookup_num_tokens = options.prompt_lookup_num_tokens;
  std::shared_ptr<TokenStream> stream;
  if (model.has_tokenizer()) {
    stream = std::make_shared<TokenStream>(stream_after(model.tokenizer(), prompt));
    recipe.decoder = [&stream] {
      return [stream](std::int32_t id, std::string& text) { text += stream->push(id); };
    };
  }
  const auto add = [&](const std::string& piece) {
    if (piece.empty()) return;
    result.text += piece;
    show(piece);
  };
  bool interrupted = false;
  const auto on_token = [&](const TokenEvent& event) {
    add(filter.push(event.piece));
    interrupted = take_interrupt();
    return !filter.stopped() && !interrupted;
  };
  GenerationResult generated = generator.generate(std::span(&prompt, 1), recipe, on_token);
  if (stream && !filter.stopped()) {
    add(filter.push(stream->finish()));
    add(filter.finish());
  }
  GeneratedText& text = generated.texts.front();
  result.ids = std::move(text.ids);
  result.reason = interrupted ? "interrupted" : filter.stopped() ? "stop" : name(text.reason);
  result.stats = generated.stats;
  return result;
}

double prefill_speed(const GenerationStats& s) noexcept {
  return ratio(static_cast<double>(s.prompt_tokens), s.prefill_seconds);
}

double decode_speed(const GenerationStats& s) noexcept {
  return ratio(static_cast<double>(s.generated_tokens) - 1, s.decode_seconds);
}

}  // namespace qeff::cli
