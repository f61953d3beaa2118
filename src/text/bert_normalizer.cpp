#include "text/bert_normalizer.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "text/unicode_age.hpp"

namespace qeff {
namespace {

utf8proc_category_t category(char32_t c) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_dropped(char32_t c) noexcept {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  if (c < 0x80) return c < 0x20 || c == 0x7F;
  const auto kind = category(c);
  return c == 0xFFFD || kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CO ||
         (kind == UTF8PROC_CATEGORY_CF && !contains(kKeptFormats, c));
}

/// The blocks the reference names; it leaves out U+2B820..2B91F.
bool is_chinese(char32_t c) noexcept {
  static constexpr auto kBlocks = std::to_array<CodeRange>({{0x3400, 0x4DBF},
                                                            {0x4E00, 0x9FFF},
                                                            {0xF900, 0xFAFF},
                                                            {0x20000, 0x2A6DF},
                                                            {0x2A700, 0x2B81F},
                                                            {0x2B920, 0x2CEAF},
                                                            {0x2F800, 0x2FA1F}});
  return c >= 0x3400 && contains(kBlocks, c);
}

bool is_stripped_mark(char32_t c) noexcept {
  if (c == 0x1734) return true;  // was one, in the reference's tables
  return category(c) == UTF8PROC_CATEGORY_MN && !contains(kKeptMarks, c);
}

/// Lower case of letters younger than Unicode 15.
std::optional<char32_t> young_lower_case(char32_t c) noexcept {
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;
  switch (c) {
    case 0x1C89:
      return 0x1C8A;
    case 0xA7CB:
      return 0x0264;
    case 0xA7CC:
      return 0xA7CD;
    case 0xA7CE:
      return 0xA7CF;
    case 0xA7D2:
      return 0xA7D3;
    case 0xA7D4:
      return 0xA7D5;
    case 0xA7DA:
      return 0xA7DB;
    case 0xA7DC:
      return 0x019B;
    default:
      return std::nullopt;
  }
}

void append_lower_case(char32_t c, std::string& out) {
  if (c == 0x130) {  // the one letter whose lower case is two code points
    append_utf8('i', out);
    return append_utf8(0x307, out);
  }
  if (const auto young = young_lower_case(c)) return append_utf8(*young, out);
  append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

void append_decomposed(char32_t c, std::vector<char32_t>& out) {
  constexpr std::size_t kMaxDecomposition = 8;            // the longest canonical one has 4
  if (c < 0xC0 || c == 0x11938) return out.push_back(c);  // U+11938: younger than the reference
  std::array<utf8proc_int32_t, kMaxDecomposition> parts{};
  int boundary = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                             parts.size(), UTF8PROC_DECOMPOSE, &boundary);
  if (count <= 0 || static_cast<std::size_t>(count) > parts.size()) return out.push_back(c);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    out.push_back(static_cast<char32_t>(parts[i]));
}

int combining_class(char32_t c) noexcept {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

/// Sorts each run of combining characters by class, equal classes in their order.
void order_marks(std::vector<char32_t>& text) {
  const auto is_mark = [](char32_t c) { return combining_class(c) != 0; };
  for (auto begin = text.begin(); begin != text.end();) {
    begin = std::find_if(begin, text.end(), is_mark);
    const auto end = std::find_if_not(begin, text.end(), is_mark);
    std::stable_sort(
        begin, end, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

}  // namespace

CharKind char_kind(char32_t c) noexcept {
  if (is_white_space(c)) return CharKind::space;
  if (c < 0x80) {
    const bool alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    return alphanumeric || c < 0x20 || c == 0x7F ? CharKind::word : CharKind::punctuation;
  }
  const auto kind = category(c);
  const bool punctuation = kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
  if (c == 0x166D || c == 0x111C9) return CharKind::punctuation;  // were, in the reference's tables
  return punctuation && !contains(kWordPunctuation, c) ? CharKind::punctuation : CharKind::word;
}

void BertNormalizer::append(std::string_view text, std::string& out) const {
  out.reserve(out.size() + text.size());
  std::vector<char32_t> run;
  for (std::size_t at = 0; at < text.size();) {
    // ASCII: nothing to decompose, nothing to order.
    if (static_cast<unsigned char>(text[at]) < 0x80 &&
        !(clean_text && is_dropped(static_cast<char32_t>(text[at])))) {
      const auto c = static_cast<char32_t>(text[at++]);
      if (clean_text && is_white_space(c))
        out += ' ';
      else
        out += static_cast<char>(lower_case && c >= 'A' && c <= 'Z' ? c | 0x20 : c);
      continue;
    }
    run.clear();
    append_run(text, at, run);
    if (strip_accents) order_marks(run);
    for (const char32_t c : run) {
      if (strip_accents && is_stripped_mark(c)) continue;
      if (lower_case)
        append_lower_case(c, out);
      else
        append_utf8(c, out);
    }
  }
}

void BertNormalizer::append_run(std::string_view text, std::size_t& at,
                                std::vector<char32_t>& run) const {
  while (at < text.size()) {
    std::size_t next = at;
    char32_t c = decode_utf8(text, next);
    const bool dropped = clean_text && is_dropped(c);
    if (c < 0x80 && !dropped) return;
    at = next;
    if (dropped) continue;
    if (clean_text && is_white_space(c)) c = ' ';
    const bool spaced = chinese_spaces && is_chinese(c);
    if (spaced) run.push_back(' ');
    if (strip_accents)
      append_decomposed(c, run);
    else
      run.push_back(c);
    if (spaced) run.push_back(' ');
  }
}

}  // namespace qeff
