#include "text/pre_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "text/bert_normalizer.hpp"
#include "text/byte_level.hpp"

namespace qeff {
namespace {

/// A part of a text, and whether it is what the pattern matches.
struct Part {
  TextRange range;
  bool match;
};

/// Puts the text between the matches in.
std::vector<Part> parts_of(const std::vector<TextRange>& matches, std::size_t size, bool invert) {
  std::vector<Part> parts;
  std::size_t at = 0;
  for (const TextRange& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, invert});
  return parts;
}

/// Whether a part continues the one before it in reading direction (merged_with_next reads
/// backwards).
bool is_merged(SplitBehavior behavior, bool match, bool previous) noexcept {
  if (behavior == SplitBehavior::contiguous) return match == previous;
  return match && !previous;
}

/// Appends the ranges of `parts`, moved by `offset`, to `out`.
void merge(std::vector<Part> parts, SplitBehavior behavior, std::size_t offset,
           std::vector<TextRange>& out) {
  if (behavior == SplitBehavior::removed || behavior == SplitBehavior::isolated) {
    for (const Part& part : parts)
      if (part.range.end > part.range.begin && !(part.match && behavior == SplitBehavior::removed))
        out.push_back({part.range.begin + offset, part.range.end + offset});
    return;
  }
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<TextRange> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (merged.empty() || !is_merged(behavior, part.match, previous))
      merged.push_back(part.range);
    else if (backwards)
      merged.back().begin = part.range.begin;
    else
      merged.back().end = part.range.end;
    previous = part.match;
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  for (const TextRange& range : merged)
    if (range.end > range.begin) out.push_back({range.begin + offset, range.end + offset});
}

/// Every code point of which `is` is true is a match of its own.
template <class Is>
std::vector<TextRange> matching_chars(std::string_view text, Is is) {
  std::vector<TextRange> matches;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (is(decode_utf8(text, at))) matches.push_back({begin, at});
  }
  return matches;
}

/// The runs of one kind; kind 0 is no match.
template <class Kind>
std::vector<TextRange> matching_runs(std::string_view text, Kind kind) {
  std::vector<TextRange> matches;
  int previous = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const int now = kind(decode_utf8(text, at));
    if (now != 0 && now == previous)
      matches.back().end = at;
    else if (now != 0)
      matches.push_back({begin, at});
    previous = now;
  }
  return matches;
}

/// Cuts every piece.
template <class Find>
void cut(Pieces& pieces, SplitBehavior behavior, bool invert, Find find) {
  std::vector<TextRange> ranges;
  ranges.reserve(pieces.ranges.size());
  for (std::size_t i = 0; i < pieces.ranges.size(); ++i) {
    const std::string_view piece = pieces[i];
    const std::size_t offset = pieces.ranges[i].begin;
    merge(parts_of(find(piece), piece.size(), invert), behavior, offset, ranges);
  }
  pieces.at_start = pieces.at_start && !ranges.empty() && ranges[0].begin == pieces.ranges[0].begin;
  pieces.ranges = std::move(ranges);
}

/// Rewrites every piece by `change(piece, first, out)`.
template <class Change>
void rewrite(Pieces& pieces, Change change) {
  std::string text;
  text.reserve(pieces.text.size() * 2);
  std::vector<TextRange> ranges;
  ranges.reserve(pieces.ranges.size());
  for (std::size_t i = 0; i < pieces.ranges.size(); ++i) {
    const std::size_t begin = text.size();
    change(pieces[i], i == 0 && pieces.at_start, text);
    ranges.push_back({begin, text.size()});
  }
  pieces.text = std::move(text);
  pieces.ranges = std::move(ranges);
}

void apply_step(Pieces& pieces, const PatternSplit& step) {
  cut(pieces, step.behavior, step.invert,
      [&](std::string_view piece) { return step.pattern.find_all(piece); });
}

void apply_step(Pieces& pieces, const CharSplit& step) {
  const auto is = [kind = step.kind](char32_t c) {
    if (kind == CharSplit::Kind::numeric) return is_numeric(c);
    if (kind == CharSplit::Kind::space) return is_white_space(c);
    return char_kind(c) == CharKind::punctuation;
  };
  cut(pieces, step.behavior, false,
      [&](std::string_view piece) { return matching_chars(piece, is); });
}

void apply_step(Pieces& pieces, WordSplit) {
  const auto kind = [](char32_t c) {
    if (is_word_char(c) || c == 0x200C || c == 0x200D) return 1;
    return is_white_space(c) ? 0 : 2;
  };
  cut(pieces, SplitBehavior::removed, true,
      [&](std::string_view piece) { return matching_runs(piece, kind); });
}

void apply_step(Pieces& pieces, const ByteLevelSplit& step) {
  if (step.add_prefix_space)
    rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
      if (!piece.starts_with(' ')) out += ' ';
      out += piece;
    });
  if (step.pattern)
    cut(pieces, SplitBehavior::isolated, false,
        [&](std::string_view piece) { return step.pattern->find_all(piece); });
  rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
    for (const char byte : piece) out += byte_level_char(static_cast<unsigned char>(byte));
  });
}

void apply_step(Pieces& pieces, const MetaspaceSplit& step) {
  using Prepend = MetaspaceSplit::Prepend;
  rewrite(pieces, [&](std::string_view piece, bool first, std::string& out) {
    const bool wanted =
        step.prepend == Prepend::always || (step.prepend == Prepend::first && first);
    if (wanted && !piece.starts_with(' ') && !piece.starts_with(step.replacement))
      out += step.replacement;
    for (const char c : piece)
      if (c == ' ')
        out += step.replacement;
      else
        out += c;
  });
  if (!step.split) return;
  const SplitPattern pattern = SplitPattern::literal(step.replacement);
  cut(pieces, SplitBehavior::merged_with_next, false,
      [&](std::string_view piece) { return pattern.find_all(piece); });
}

}  // namespace

Pieces PreTokenizer::apply(std::string text, bool at_start) const {
  Pieces pieces;
  pieces.text = std::move(text);
  if (!pieces.text.empty()) pieces.ranges.push_back({0, pieces.text.size()});
  pieces.at_start = at_start;
  for (const Step& step : steps_)
    std::visit([&](const auto& known) { apply_step(pieces, known); }, step);
  return pieces;
}

}  // namespace qeff
