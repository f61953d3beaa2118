#include "text/unicode.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "text/unicode_age.hpp"
#include "text/young_categories.hpp"

namespace qeff {
namespace {

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

int combining_class(char32_t c) noexcept {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

/// Appends the normal form of decomposed code points, and empties them.
void flush(std::vector<char32_t>& run, bool compose, std::string& out) {
  order_marks(run);
  std::size_t size = run.size();
  if (compose) {
    std::vector<utf8proc_int32_t> points(run.begin(), run.end());
    const auto options = static_cast<utf8proc_option_t>(static_cast<unsigned>(UTF8PROC_COMPOSE) |
                                                        static_cast<unsigned>(UTF8PROC_STABLE));
    const auto left = utf8proc_normalize_utf32(
        points.data(), static_cast<utf8proc_ssize_t>(points.size()), options);
    size = static_cast<std::size_t>(std::max<utf8proc_ssize_t>(left, 0));
    std::copy_n(points.begin(), size, run.begin());
  }
  for (std::size_t i = 0; i < size; ++i) append_utf8(run[i], out);
  run.clear();
}

}  // namespace

utf8proc_category_t general_category(char32_t c) noexcept {
  if (c >= 0x897)
    if (const auto young = young_category(c)) return *young;
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t c) noexcept {
  if (c < 0x80) return c >= '0' && c <= '9';
  const auto kind = general_category(c);
  return (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) ||
         (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);  // Unicode 17
}

bool is_word_char(char32_t c) noexcept {
  const auto kind = general_category(c);
  return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NL) ||
         kind == UTF8PROC_CATEGORY_PC || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

void append_lower_case(char32_t c, std::string& out) {
  if (c == 0x130) {  // the one letter whose lower case is two code points
    append_utf8('i', out);
    return append_utf8(0x307, out);
  }
  if (const auto young = young_lower_case(c)) return append_utf8(*young, out);
  append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

char32_t simple_fold(char32_t c) noexcept {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
  std::array<utf8proc_int32_t, 8> parts{};
  int boundary = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                             parts.size(), UTF8PROC_CASEFOLD, &boundary);
  return count == 1 ? static_cast<char32_t>(parts[0]) : c;
}

void append_decomposed(char32_t c, bool compatible, std::vector<char32_t>& out) {
  if (c < 0xA0 || c == 0x11938) return out.push_back(c);  // U+11938: younger than the reference
  constexpr std::size_t kMaxDecomposition = 32;           // the longest has 18
  std::array<utf8proc_int32_t, kMaxDecomposition> parts{};
  const auto options =
      static_cast<utf8proc_option_t>(static_cast<unsigned>(UTF8PROC_DECOMPOSE) |
                                     (compatible ? static_cast<unsigned>(UTF8PROC_COMPAT) : 0u));
  int boundary = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                             parts.size(), options, &boundary);
  if (count <= 0 || static_cast<std::size_t>(count) > parts.size()) return out.push_back(c);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    out.push_back(static_cast<char32_t>(parts[i]));
}

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

void append_normal_form(std::string_view text, NormalForm form, std::string& out) {
  const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  out.reserve(out.size() + text.size());
  std::vector<char32_t> run;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    // Nothing composes with what stands before an ASCII character, or with a young one.
    const bool young = c >= 0x80 && contains(kNotNormalized, c);
    if ((c < 0x80 || young) && !run.empty()) flush(run, compose, out);
    const bool alone = at == text.size() || static_cast<unsigned char>(text[at]) < 0x80;
    if (young || (c < 0x80 && alone))
      append_utf8(c, out);
    else
      append_decomposed(c, compatible, run);
  }
  flush(run, compose, out);
}

}  // namespace qeff
