#include "nn/draft.hpp"

#include <algorithm>
#include <span>

#include "qeff/core/error.hpp"

namespace qeff {

Draft::Draft(SequenceModel& model, std::size_t sequences, std::size_t capacity)
    : model_(model), held_(sequences), logits_(model.vocab_size()) {
  for (auto& held : held_) held.reserve(capacity);
  empty();
}

Draft::~Draft() {
  try {
    empty();
  } catch (const Error&) {  // another thread is in the session: not ours to empty
  }
}

void Draft::empty() {
  for (std::size_t s = 0; s < held_.size(); ++s) model_.truncate(s, 0);
}

void Draft::append(std::size_t sequence, std::vector<std::int32_t>& tokens, std::size_t most) {
  auto& held = held_[sequence];
  const std::size_t sure = std::min(held.size(), tokens.size() - 1);
  const auto end = held.begin() + static_cast<std::ptrdiff_t>(sure);
  auto length = static_cast<std::size_t>(std::mismatch(held.begin(), end, tokens.begin()).first - held.begin());
  model_.truncate(sequence, length);
  for (std::size_t i = 0; i < most && tokens.size() <= model_.ctx_len(); ++i) {
    const CausalChunk chunk{sequence, std::span(tokens).subspan(length)};
    model_.run({&chunk, 1}, logits_);
    length = tokens.size();
    tokens.push_back(static_cast<std::int32_t>(std::ranges::max_element(logits_) - logits_.begin()));
  }
  held.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(length));
}

}  // namespace qeff
