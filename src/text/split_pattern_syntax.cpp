#include "text/split_pattern_syntax.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "qeff/core/error.hpp"
#include "text/unicode.hpp"

namespace qeff {
namespace {

using Kind = PatternNode::Kind;

class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  PatternNode parse() {
    constexpr std::size_t kMaxBytes = 8192;
    if (text_.size() > kMaxBytes) refuse("longer than 8192 bytes");
    if (!is_valid_utf8(text_)) refuse("not UTF-8");
    PatternNode tree = choice();
    if (at_ < text_.size()) refuse("')' without '('");
    return tree;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const { refuse_pattern(text_, at_, why); }
  [[nodiscard]] bool more() const noexcept { return at_ < text_.size(); }
  [[nodiscard]] char peek() const noexcept { return more() ? text_[at_] : '\0'; }
  bool take(std::string_view expected) noexcept {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  PatternNode choice() {
    constexpr int kMaxDepth = 32;
    if (++depth_ > kMaxDepth) refuse("nested deeper than 32");
    const bool ignore_case = ignore_case_;
    if (take("(?i)")) ignore_case_ = true;
    PatternNode node;
    node.kind = Kind::choice;
    do node.children.push_back(sequence());
    while (take("|"));
    ignore_case_ = ignore_case;
    --depth_;
    return node.children.size() == 1 ? PatternNode(std::move(node.children[0])) : node;
  }

  PatternNode sequence() {
    PatternNode node;
    while (more() && peek() != '|' && peek() != ')') node.children.push_back(quantified());
    return node;
  }

  PatternNode quantified() {
    PatternNode node = atom();
    while (more()) {
      PatternNode repeat;
      repeat.kind = Kind::repeat;
      bool interval = false;
      if (take("?")) {
        repeat.min = 0;
      } else if (take("*")) {
        repeat.min = 0, repeat.max = kNoLimit;
      } else if (take("+")) {
        repeat.max = kNoLimit;
      } else if (peek() == '{') {
        braces(repeat), interval = true;
      } else {
        break;
      }
      if (node.kind == Kind::look) refuse("a repeated lookahead");
      if (peek() == '?') refuse("a reluctant quantifier");
      if (!interval && take("+")) repeat.flag = true;
      repeat.children.push_back(std::move(node));
      node = std::move(repeat);
    }
    return node;
  }

  void braces(PatternNode& repeat) {
    ++at_;
    const auto min = number();
    const bool comma = take(",");
    const auto max = comma ? number() : min;
    if (!take("}") || (!min && !max)) refuse("'{' that is no quantifier");
    repeat.min = min.value_or(0);
    repeat.max = max.value_or(kNoLimit);
    constexpr std::uint32_t kMost = 1000;
    if (repeat.min > kMost || (max && *max > kMost)) refuse("a repetition of more than 1000");
    if (repeat.max < repeat.min) refuse("a maximum below the minimum");
  }

  std::optional<std::uint32_t> number() {
    std::optional<std::uint32_t> value;
    for (; peek() >= '0' && peek() <= '9' && value.value_or(0) < 10000; ++at_)
      value = value.value_or(0) * 10 + static_cast<std::uint32_t>(peek() - '0');
    return value;
  }

  PatternNode atom() {
    if (peek() == '(') return group();
    PatternNode node;
    node.kind = Kind::one;
    node.chars.ignore_case = ignore_case_;
    if (take("[")) {
      node.chars = brackets();
      after_letter_ = 0;
    } else if (take(".")) {
      node.chars.ranges.push_back({'\n', '\n'});
      node.chars.negated = true;
    } else if (peek() == '\\') {
      escape(node.chars);
      after_letter_ = 0;
    } else {
      if (std::string_view("?*+{^$").find(peek()) != std::string_view::npos)
        refuse(str("'", peek(), "' here"));
      const char32_t c = decode_utf8(text_, at_);
      check_case(c);
      node.chars.ranges.push_back({c, c});
    }
    return node;
  }

  /// Letters that together are the folding of one (ß, ﬁ, ﬆ) would have to match it.
  void check_case(char32_t c) {
    if (!ignore_case_) return;
    if (c >= 0x80) refuse("a letter beyond ASCII in (?i:");
    const char32_t letter = simple_fold(c);
    static constexpr std::array<std::array<char32_t, 2>, 6> kPairs = {
        {{'s', 's'}, {'s', 't'}, {'f', 'f'}, {'f', 'i'}, {'f', 'l'}, {'i', '.'}}};
    if (std::count(kPairs.begin(), kPairs.end(), std::array<char32_t, 2>{after_letter_, letter}))
      refuse("letters with a ligature in (?i:");
    after_letter_ = letter;
  }

  PatternNode group() {
    const bool ignore_case = ignore_case_;
    PatternNode look;
    look.kind = Kind::look;
    after_letter_ = 0;
    const bool ahead = take("(?=");
    look.flag = !ahead && take("(?!");
    if (!ahead && !look.flag) {
      if (take("(?i:")) {
        ignore_case_ = true;
      } else if (!take("(?:")) {
        ++at_;
        if (peek() == '?' && !text_.substr(at_).starts_with("?i)")) refuse("a group of this kind");
        if (peek() == '?') --at_, refuse_inner_flag();
      }
    }
    PatternNode inside = choice();
    if (!take(")")) refuse("'(' without ')'");
    ignore_case_ = ignore_case;
    after_letter_ = 0;
    if (!ahead && !look.flag) return inside;
    look.children.push_back(std::move(inside));
    return look;
  }

  /// (?i) counts from the beginning of a group on only.
  void refuse_inner_flag() const { refuse("(?i) inside an alternative"); }

  /// Behind '['.
  CharClass brackets() {
    constexpr int kMaxDepth = 8;
    if (++class_depth_ > kMaxDepth) refuse("classes nested deeper than 8");
    CharClass chars;
    chars.ignore_case = ignore_case_;
    chars.negated = take("^");
    if (peek() == ']') refuse("']' first in a class");
    while (!take("]")) {
      if (!more()) refuse("'[' without ']'");
      if (text_.substr(at_).starts_with("&&")) refuse("an intersection of classes");
      if (text_.substr(at_).starts_with("[:")) refuse("a POSIX class");
      if (take("["))
        chars.parts.push_back(brackets());
      else
        member(chars);
    }
    --class_depth_;
    return chars;
  }

  /// A character, a range or an escape of a class.
  void member(CharClass& chars) {
    const bool escaped = peek() == '\\';
    const char32_t first = escaped ? escape(chars) : decode_utf8(text_, at_);
    if (first == kNone) return;
    char32_t last = first;
    const bool range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
    if (range) {
      ++at_;
      if (peek() == '[') refuse("a range to a class");
      CharClass no_class;
      last = peek() == '\\' ? escape(no_class) : decode_utf8(text_, at_);
      if (last == kNone || last < first) refuse("a range without order");
      if (escaped) chars.ranges.pop_back();
    } else if (escaped) {
      return;
    }
    chars.ranges.push_back({first, last});
  }

  static constexpr char32_t kNone = 0xFFFFFFFF;

  /// Adds what the escape stands for to `chars`; its code point if it is one.
  char32_t escape(CharClass& chars) {
    ++at_;
    if (!more()) refuse("'\\' at the end");
    const char c = text_[at_++];
    CharClass part;
    switch (c) {
      case 'p':
      case 'P':
        part.categories = property(part.negated);
        part.negated = part.negated != (c == 'P');
        break;
      case 's':
      case 'S':
        part.spaces = true, part.negated = c == 'S';
        break;
      case 'd':
      case 'D':
        part.categories = category_mask("Nd"), part.negated = c == 'D';
        break;
      case 'w':
      case 'W':
        part.words = true, part.negated = c == 'W';
        break;
      default:
        return code_point(c, chars);
    }
    chars.parts.push_back(std::move(part));
    return kNone;
  }

  char32_t code_point(char c, CharClass& chars) {
    static constexpr std::string_view kLetters = "nrtfv", kValues = "\n\r\t\f\v";
    char32_t value = static_cast<unsigned char>(c);
    if (const auto known = kLetters.find(c); known != kLetters.npos)
      value = static_cast<unsigned char>(kValues[known]);
    else if (c == 'x' || c == 'u')
      value = hexadecimal(c);
    else if (value >= 0x80 || char_is_alphanumeric(c))
      --at_, refuse(str("the escape \\", c));
    check_case(value);
    chars.ranges.push_back({value, value});
    return value;
  }

  static bool char_is_alphanumeric(char c) noexcept {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  }

  char32_t hexadecimal(char kind) {
    const bool braced = kind == 'x' && take("{");
    const std::size_t most = braced ? 8 : kind == 'u' ? 4 : 2;
    char32_t value = 0;
    std::size_t digits = 0;
    for (; digits < most && more(); ++digits, ++at_) {
      const auto digit =
          std::string_view("0123456789abcdef")
              .find(static_cast<char>(peek() >= 'A' && peek() <= 'F' ? peek() | 0x20 : peek()));
      if (digit == std::string_view::npos) break;
      value = value * 16 + static_cast<char32_t>(digit);
    }
    const bool complete = braced ? digits > 0 && take("}") : digits == most;
    const bool raw_byte = kind == 'x' && !braced && value >= 0x80;
    if (!complete || raw_byte || value > 0x10FFFF) refuse("a number of a code point");
    return value;
  }

  /// Behind \p.
  std::uint32_t property(bool& negated) {
    const std::size_t begin = at_;
    if (!take("{")) refuse("\\p without '{'");
    negated = take("^");
    const std::size_t end = std::min(text_.find('}', at_), text_.size());
    const std::uint32_t mask = category_mask(text_.substr(at_, end - at_));
    if (end == text_.size() || mask == 0) {
      at_ = begin;
      refuse("a property that is no general category");
    }
    at_ = end + 1;
    return mask;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0, class_depth_ = 0;
  bool ignore_case_ = false;
  char32_t after_letter_ = 0;
};

}  // namespace

PatternNode parse_pattern(std::string_view pattern) { return Parser(pattern).parse(); }

void refuse_pattern(std::string_view pattern, std::size_t at, std::string_view why) {
  constexpr std::size_t kShown = 200;
  throw Unsupported(str("the pattern '", valid_utf8(pattern.substr(0, kShown)),
                        pattern.size() > kShown ? "…" : "", "' at byte ", at, ": ", why,
                        " is not supported; tokenize with the model's own tokenizer and pass "
                        "token ids"));
}

}  // namespace qeff
