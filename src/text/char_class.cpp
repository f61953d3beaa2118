#include "text/char_class.hpp"

#include <algorithm>

#include "text/unicode.hpp"

namespace qeff {
namespace {

/// Numbers above ASCII that the reference's \w leaves out or takes in on top of is_word_char:
/// superscript digits and quarters of Latin-1.
bool is_latin_number(char32_t c) noexcept {
  return c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE);
}

}  // namespace

void CharClass::seal() {
  std::sort(ranges.begin(), ranges.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  for (CharClass& part : parts) part.seal();
  for (char32_t c = 0; c < 0x80; ++c)
    if (find(c)) ascii_[c >> 6] |= std::uint64_t{1} << (c & 63);
}

bool CharClass::find(char32_t c) const noexcept {
  if (!ignore_case) return has(c) != negated;
  const auto signed_c = static_cast<utf8proc_int32_t>(c);
  const bool found = has(c) || has(simple_fold(c)) ||
                     has(static_cast<char32_t>(utf8proc_toupper(signed_c))) ||
                     has(static_cast<char32_t>(utf8proc_totitle(signed_c)));
  return found != negated;
}

bool CharClass::has(char32_t c) const noexcept {
  for (const CodeRange& range : ranges)
    if (range.first <= c && c <= range.last) return true;
  if (categories != 0 && (categories >> general_category(c) & 1) != 0) return true;
  if (spaces && is_white_space(c)) return true;
  if (words && (is_word_char(c) || is_latin_number(c))) return true;
  return std::any_of(parts.begin(), parts.end(), [c](const CharClass& p) { return p.contains(c); });
}

std::uint32_t category_mask(std::string_view name) noexcept {
  static constexpr std::array<std::string_view, 30> kNames = {
      "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
      "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (name == kNames[i] || (name.size() == 1 && name[0] == kNames[i][0])) mask |= 1u << i;
  return mask;
}

}  // namespace qeff
