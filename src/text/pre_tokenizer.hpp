/// @file
/// The "pre_tokenizer" of tokenizer.json: cuts text into the pieces that are tokenized each for
/// itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/split_pattern.hpp"
#include "text/tokenizer_json.hpp"

namespace qeff {

/// Text and where its pieces lie in it, none of them empty.
struct Pieces {
  std::string text;
  std::vector<TextRange> ranges;
  bool at_start = false;  ///< The first piece begins where the whole text does.

  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept {
    return std::string_view(text).substr(ranges[i].begin, ranges[i].end - ranges[i].begin);
  }
};

enum class SplitBehavior : std::uint8_t {
  removed,
  isolated,
  merged_with_previous,
  merged_with_next,
  contiguous
};

struct PatternSplit {
  SplitPattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};
struct CharSplit {
  enum class Kind : std::uint8_t { numeric, punctuation, space } kind = Kind::numeric;
  SplitBehavior behavior = SplitBehavior::isolated;
};
/// \w+|[^\w\s]+
struct WordSplit {};
struct ByteLevelSplit {
  bool add_prefix_space = true;
  std::optional<SplitPattern> pattern;  ///< GPT-2's
};
struct MetaspaceSplit {
  enum class Prepend : std::uint8_t { always, first, never } prepend = Prepend::always;
  std::string replacement;
  bool split = true;
};

class PreTokenizer {
 public:
  /// Of the document. @throws FormatError; Unsupported naming the type.
  [[nodiscard]] static PreTokenizer from_json(const tokenizer_json::Json& document);

  /// @param at_start  Whether `text`, which is UTF-8, begins the whole text.
  [[nodiscard]] Pieces apply(std::string text, bool at_start) const;

 private:
  using Step = std::variant<PatternSplit, CharSplit, WordSplit, ByteLevelSplit, MetaspaceSplit>;
  void add(const tokenizer_json::Json& component, int depth);

  std::vector<Step> steps_;
};

/// The Metaspace pre-tokenizer or decoder of tokenizer.json.
[[nodiscard]] MetaspaceSplit parse_metaspace(const tokenizer_json::Json& component,
                                             const std::string& what);

}  // namespace qeff
