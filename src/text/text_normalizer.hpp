/// @file
/// The "normalizer" of tokenizer.json: what is done to text before it is cut.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/split_pattern.hpp"
#include "text/tokenizer_json.hpp"
#include "text/unicode.hpp"

namespace qeff {

/// A pattern of tokenizer.json: {"String": "…"} or {"Regex": "…"}.
[[nodiscard]] SplitPattern parse_split_pattern(const tokenizer_json::Json& component,
                                               const std::string& what);
/// `text` with `content` for every match.
[[nodiscard]] std::string replaced(std::string_view text, const SplitPattern& pattern,
                                   std::string_view content);

struct ReplaceStep {
  SplitPattern pattern;
  std::string content;
};
struct PrependStep {
  std::string content;
};
struct StripStep {
  bool left = true, right = true;
};
struct LowercaseStep {};
struct ByteLevelStep {};

class TextNormalizer {
 public:
  /// Of the document. @throws FormatError; Unsupported naming the type.
  [[nodiscard]] static TextNormalizer from_json(const tokenizer_json::Json& document);

  [[nodiscard]] bool empty() const noexcept { return steps_.empty(); }
  /// @pre text is UTF-8
  [[nodiscard]] std::string apply(std::string_view text) const;

 private:
  using Step =
      std::variant<NormalForm, ReplaceStep, PrependStep, StripStep, LowercaseStep, ByteLevelStep>;
  void add(const tokenizer_json::Json& component, int depth);

  std::vector<Step> steps_;
};

}  // namespace qeff
