#include "text/split_pattern.hpp"

#include <optional>

#include "text/unicode.hpp"

namespace qeff {

/// One text being searched.
class PatternMatcher {
 public:
  PatternMatcher(const SplitPattern& pattern, std::string_view text)
      : pattern_(pattern), text_(text) {}

  /// The first match at or after `start`.
  std::optional<TextRange> search(std::size_t start) {
    for (std::size_t at = start; at <= text_.size(); at = after(at)) {
      start_ = at;
      if (run(0, at, true)) {
        forget(end_);
        return TextRange{at, end_};
      }
    }
    return std::nullopt;
  }

  /// Where the code point at `at` ends; beyond the text at its end.
  [[nodiscard]] std::size_t after(std::size_t at) const noexcept {
    do ++at;
    while (at < text_.size() && continues(text_[at]));
    return at;
  }

 private:
  using Instruction = SplitPattern::Instruction;
  using Op = Instruction::Op;

  /// Continue at `pc` with every position from `high` down to `low`.
  struct Choice {
    std::uint32_t pc;
    std::size_t low, high;
  };

  /// Runs from `pc` to a match instruction; its position is then end_.
  bool run(std::uint32_t pc, std::size_t at, bool remember) {
    const std::size_t base = choices_.size();
    for (;;) {
      if (pattern_.program_[pc].op == Op::match) {
        end_ = at;
        choices_.resize(base);
        return true;
      }
      ++steps_;
      if (step(pc, at, remember)) continue;
      if (choices_.size() == base) return false;
      Choice& choice = choices_.back();
      pc = choice.pc;
      at = choice.high;
      if (choice.high == choice.low)
        choices_.pop_back();
      else
        choice.high = before(choice.high);
    }
  }

  bool step(std::uint32_t& pc, std::size_t& at, bool remember) {
    const Instruction& in = pattern_.program_[pc];
    switch (in.op) {
      case Op::one:
        ++pc;
        return consume(in.a, at);
      case Op::run:
      case Op::up_to:
        return repeat(in, pc, at, remember);
      case Op::split:
        if (remember && failed(in.slot, at)) return false;
        choices_.push_back({in.b, at, at});
        pc = in.a;
        return true;
      case Op::look: {
        const bool found = run(pc + 1, at, false);
        pc = in.a;
        return found != in.flag;
      }
      default:
        pc = in.a;
        return true;
    }
  }

  bool repeat(const Instruction& in, std::uint32_t& pc, std::size_t& at, bool remember) {
    const bool unbounded = in.op == Op::run;
    const std::size_t low = at;
    std::size_t last = at;
    for (std::uint32_t count = 0;; ++count) {
      if ((unbounded || count == 0) && remember && failed(in.slot, at)) {
        if (in.flag || at == low) return false;
        at = last;
        break;
      }
      last = at;
      if ((!unbounded && count == in.b) || !consume(in.a, at)) break;
    }
    ++pc;
    if (!in.flag && at > low) choices_.push_back({pc, low, before(at)});
    return true;
  }

  bool consume(std::uint32_t index, std::size_t& at) {
    if (at >= text_.size()) return false;
    ++steps_;
    std::size_t next = at;
    const auto byte = static_cast<unsigned char>(text_[at]);
    const char32_t c = byte < 0x80 ? (++next, byte) : decode_utf8(text_, next);
    if (!pattern_.classes_[index].contains(c)) return false;
    at = next;
    return true;
  }

  [[nodiscard]] std::size_t before(std::size_t at) const noexcept {
    do --at;
    while (continues(text_[at]));
    return at;
  }

  /// Whether the state has been entered before: whatever it led to has failed or is being tried.
  /// Nothing is kept while the search is cheap.
  bool failed(std::uint32_t slot, std::size_t at) {
    constexpr std::size_t kFreeSteps = 4096, kCheap = 64;
    if (failed_.empty()) {
      if (steps_ < kFreeSteps + kCheap * start_) return false;
      first_ = start_;
      failed_.resize((text_.size() - first_ + 1) * pattern_.slots_);
    }
    const std::size_t index = (at - first_) * pattern_.slots_ + slot;
    const bool entered = failed_[index];
    failed_[index] = true;
    return entered;
  }

  /// A match ends at `at`: what was entered there did not all fail.
  void forget(std::size_t at) {
    if (failed_.empty()) return;
    for (std::uint32_t slot = 0; slot < pattern_.slots_; ++slot)
      failed_[(at - first_) * pattern_.slots_ + slot] = false;
  }

  const SplitPattern& pattern_;
  std::string_view text_;
  std::vector<Choice> choices_;
  std::vector<bool> failed_;
  std::size_t first_ = 0, start_ = 0, end_ = 0, steps_ = 0;
};

namespace {

std::vector<TextRange> find_string(std::string_view wanted, std::string_view text) {
  std::vector<TextRange> matches;
  for (std::size_t at = text.find(wanted); at != text.npos;) {
    matches.push_back({at, at + wanted.size()});
    at = text.find(wanted, at + wanted.size());
  }
  return matches;
}

}  // namespace

std::vector<TextRange> SplitPattern::find_all(std::string_view text) const {
  if (!literal_.empty()) return find_string(literal_, text);
  std::vector<TextRange> matches;
  PatternMatcher matcher(*this, text);
  for (std::size_t at = 0; at <= text.size();) {
    const auto match = matcher.search(at);
    if (!match) break;
    // No empty match right behind a match.
    if (match->begin == match->end && !matches.empty() && matches.back().end == match->end) {
      at = matcher.after(at);
      continue;
    }
    matches.push_back(*match);
    at = match->end;
  }
  return matches;
}

}  // namespace qeff
