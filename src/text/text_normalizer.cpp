#include "text/text_normalizer.hpp"

#include <array>
#include <optional>
#include <utility>

#include "qeff/core/error.hpp"
#include "text/byte_level.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

std::string apply_step(std::string_view text, NormalForm form) {
  std::string out;
  append_normal_form(text, form, out);
  return out;
}

std::string apply_step(std::string_view text, const ReplaceStep& step) {
  return replaced(text, step.pattern, step.content);
}

std::string apply_step(std::string_view text, const PrependStep& step) {
  return text.empty() ? std::string() : step.content + std::string(text);
}

std::string apply_step(std::string_view text, const StripStep& step) {
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t first = at;
    if (is_white_space(decode_utf8(text, at))) continue;
    begin = std::min(begin, first);
    end = at;
  }
  if (begin == text.size()) end = step.left ? begin : begin = 0;
  if (!step.left) begin = 0;
  if (!step.right) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

std::string apply_step(std::string_view text, LowercaseStep) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) append_lower_case(decode_utf8(text, at), out);
  return out;
}

std::string apply_step(std::string_view text, ByteLevelStep) {
  std::string out;
  for (const char byte : text) out += byte_level_char(static_cast<unsigned char>(byte));
  return out;
}

std::optional<NormalForm> normal_form(std::string_view type) {
  static constexpr std::array<std::string_view, 4> kNames = {"NFC", "NFD", "NFKC", "NFKD"};
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (type == kNames[i]) return static_cast<NormalForm>(i);
  return std::nullopt;
}

}  // namespace

SplitPattern parse_split_pattern(const Json& component, const std::string& what) {
  const Json& pattern = member(component, "pattern", what);
  if (pattern.is_object() && pattern.contains("String"))
    return SplitPattern::literal(string_member(pattern, "String", what));
  const std::string& expression = string_member(pattern, "Regex", what);
  try {
    return SplitPattern::compile(expression);
  } catch (const Unsupported& error) {
    throw Unsupported(kFile + ": " + what + ": " + error.what());
  }
}

std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content) {
  std::string out;
  std::size_t at = 0;
  for (const TextRange& match : pattern.find_all(text)) {
    out += text.substr(at, match.begin - at);
    out += content;
    at = match.end;
  }
  out += text.substr(at);
  return out;
}

TextNormalizer TextNormalizer::from_json(const Json& document) {
  TextNormalizer result;
  if (const Json* component = find_member(document, "normalizer")) result.add(*component, 0);
  return result;
}

void TextNormalizer::add(const Json& component, int depth) {
  constexpr int kMaxDepth = 8;
  const std::string& type = type_of(component, "normalizer");
  if (type == "Sequence") {
    if (depth == kMaxDepth) throw FormatError(kFile, "normalizers nested deeper than 8");
    for (const Json& part : array_member(component, "normalizers", "normalizer"))
      add(part, depth + 1);
  } else if (const auto form = normal_form(type)) {
    steps_.emplace_back(*form);
  } else if (type == "Replace") {
    steps_.emplace_back(ReplaceStep{parse_split_pattern(component, "normalizer Replace"),
                                    string_member(component, "content", "normalizer Replace")});
  } else if (type == "Prepend") {
    steps_.emplace_back(PrependStep{string_member(component, "prepend", "normalizer Prepend")});
  } else if (type == "Strip") {
    steps_.emplace_back(
        StripStep{flag(component, "strip_left", true), flag(component, "strip_right", true)});
  } else if (type == "Lowercase") {
    steps_.emplace_back(LowercaseStep{});
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevelStep{});
  } else {
    refuse("normalizer of type " + type);
  }
}

std::string TextNormalizer::apply(std::string_view text) const {
  std::string current(text);
  for (const Step& step : steps_)
    current = std::visit([&](const auto& known) { return apply_step(current, known); }, step);
  return current;
}

}  // namespace qeff
