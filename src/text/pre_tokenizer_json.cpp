#include "qeff/core/error.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/text_normalizer.hpp"
#include "text/unicode.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior parse_behavior(const Json& component, const char* key) {
  const std::string& name = string_member(component, key, "pre_tokenizer");
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  throw FormatError(kFile, "\"" + name + "\" is no behavior of a pre_tokenizer");
}

CharSplit parse_digits(const Json& component) {
  return {CharSplit::Kind::numeric, flag(component, "individual_digits", false)
                                        ? SplitBehavior::isolated
                                        : SplitBehavior::contiguous};
}

ByteLevelSplit parse_byte_level(const Json& component) {
  ByteLevelSplit step;
  step.add_prefix_space = flag(component, "add_prefix_space", true);
  if (flag(component, "use_regex", true)) step.pattern = SplitPattern::compile(kGpt2);
  return step;
}

}  // namespace

MetaspaceSplit parse_metaspace(const Json& component, const std::string& what) {
  using Prepend = MetaspaceSplit::Prepend;
  MetaspaceSplit step;
  step.replacement = string_member(component, "replacement", what);
  std::size_t at = 0;
  if (step.replacement.empty() ||
      (static_cast<void>(decode_utf8(step.replacement, at)), at != step.replacement.size()))
    throw FormatError(kFile, "\"replacement\" of " + what + " is not one character");
  step.split = flag(component, "split", true);
  if (find_member(component, "prepend_scheme") == nullptr) {
    step.prepend = flag(component, "add_prefix_space", true) ? Prepend::always : Prepend::never;
    return step;
  }
  const std::string& scheme = string_member(component, "prepend_scheme", what);
  if (scheme != "always" && scheme != "first" && scheme != "never")
    throw FormatError(kFile, "\"" + scheme + "\" is no prepend_scheme");
  step.prepend = scheme == "always"  ? Prepend::always
                 : scheme == "first" ? Prepend::first
                                     : Prepend::never;
  return step;
}

PreTokenizer PreTokenizer::from_json(const Json& document) {
  PreTokenizer result;
  if (const Json* component = find_member(document, "pre_tokenizer")) result.add(*component, 0);
  return result;
}

void PreTokenizer::add(const Json& component, int depth) {
  constexpr int kMaxDepth = 8;
  const std::string& type = type_of(component, "pre_tokenizer");
  if (type == "Sequence") {
    if (depth == kMaxDepth) throw FormatError(kFile, "pre_tokenizers nested deeper than 8");
    for (const Json& part : array_member(component, "pretokenizers", "pre_tokenizer"))
      add(part, depth + 1);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(parse_byte_level(component));
  } else if (type == "Split") {
    steps_.emplace_back(PatternSplit{parse_split_pattern(component, "pre_tokenizer Split"),
                                     parse_behavior(component, "behavior"),
                                     flag(component, "invert", false)});
  } else if (type == "Digits") {
    steps_.emplace_back(parse_digits(component));
  } else if (type == "Punctuation") {
    const bool given = find_member(component, "behavior") != nullptr;
    steps_.emplace_back(
        CharSplit{CharSplit::Kind::punctuation,
                  given ? parse_behavior(component, "behavior") : SplitBehavior::isolated});
  } else if (type == "Whitespace") {
    steps_.emplace_back(WordSplit{});
  } else if (type == "WhitespaceSplit") {
    steps_.emplace_back(CharSplit{CharSplit::Kind::space, SplitBehavior::removed});
  } else if (type == "Metaspace") {
    steps_.emplace_back(parse_metaspace(component, "pre_tokenizer Metaspace"));
  } else {
    refuse("pre_tokenizer of type " + type);
  }
}

}  // namespace qeff
