#include "text/bert_normalizer.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "text/unicode_age.hpp"

namespace qeff {
namespace {

utf8proc_category_t category(char32_t c) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
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
      append_decomposed(c, false, run);
    else
      run.push_back(c);
    if (spaced) run.push_back(' ');
  }
}

}  // namespace qeff
