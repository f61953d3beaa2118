#include "io/gguf_vocabulary.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::size_t kMaxPieceBytes = 4096;
constexpr std::size_t kNoToken = 0xFFFFFFFF;  // how some writers say that there is none

const std::vector<std::string_view>& token_list(const GgufMetadata& metadata) {
  const auto* tokens = metadata.strings(kTokens);
  if (tokens == nullptr) throw FormatError(metadata.file(), str("has no key '", kTokens, "'"));
  return *tokens;
}

bool starts_character(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

std::size_t characters(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

struct ScoredMerge {
  double score;
  std::string_view left, right;
  [[nodiscard]] auto order() const noexcept {
    return std::tuple(score, characters(left), characters(right));
  }
};

/// The ways to cut one piece, by the ids of their parts.
std::vector<ScoredMerge> cuts(std::string_view piece, double score,
                              const GgufVocabulary& vocabulary) {
  std::vector<std::pair<std::pair<std::size_t, std::size_t>, ScoredMerge>> found;
  for (std::size_t i = 1; i < piece.size(); ++i) {
    if (!starts_character(piece[i])) continue;
    const auto left = vocabulary.id(piece.substr(0, i)), right = vocabulary.id(piece.substr(i));
    if (left && right)
      found.push_back({{*left, *right}, {score, piece.substr(0, i), piece.substr(i)}});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<ScoredMerge> merges;
  for (const auto& [unused, merge] : found) merges.push_back(merge);
  return merges;
}

}  // namespace

GgufVocabulary::GgufVocabulary(const GgufMetadata& metadata)
    : metadata_(metadata),
      tokens_(token_list(metadata)),
      kinds_(metadata.numbers("tokenizer.ggml.token_type")),
      scores_(metadata.numbers("tokenizer.ggml.scores")) {
  for (const GgufNumbers* numbers : {kinds_, scores_})
    if (numbers != nullptr && numbers->size() != tokens_.size())
      throw FormatError(metadata.file(),
                        str(tokens_.size(), " tokens with ", numbers->size(), " types or scores"));
  for (std::size_t i = 0; i < tokens_.size(); ++i)
    if (!ids_.emplace(tokens_[i], i).second)
      throw FormatError(metadata.file(), str("key '", kTokens, "': token ", i, " is also token ",
                                             ids_.at(tokens_[i])));
}

std::optional<std::size_t> GgufVocabulary::id(std::string_view token) const noexcept {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

TokenKind GgufVocabulary::kind(std::size_t id) const noexcept {
  const double value = kinds_ == nullptr ? 1.0 : (*kinds_)[id];
  for (const TokenKind kind : {TokenKind::unknown, TokenKind::control, TokenKind::user_defined,
                               TokenKind::unused, TokenKind::byte})
    if (value == static_cast<double>(kind)) return kind;
  return TokenKind::normal;
}

double GgufVocabulary::score(std::size_t id) const {
  if (scores_ == nullptr) throw FormatError(metadata_.file(), "has no key 'tokenizer.ggml.scores'");
  return (*scores_)[id];
}

std::optional<std::size_t> GgufVocabulary::special(std::string_view name) const {
  const std::string key = str("tokenizer.ggml.", name, "_token_id");
  const auto id = metadata_.size(key);
  if (!id || *id == kNoToken) return std::nullopt;
  if (*id >= tokens_.size())
    throw FormatError(metadata_.file(),
                      str("key '", key, "' is ", *id, ", there are ", tokens_.size(), " tokens"));
  return id;
}

Merges stored_merges(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  constexpr std::string_view kKey = "tokenizer.ggml.merges";
  const auto* stored = metadata.strings(kKey);
  if (stored == nullptr) throw FormatError(metadata.file(), str("has no key '", kKey, "'"));
  Merges merges;
  for (const std::string_view merge : *stored) {
    const std::size_t space = merge.find(' ', 1);
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = space == merge.npos ? "" : merge.substr(space + 1);
    if (right.empty() || !vocabulary.id(left) || !vocabulary.id(right) ||
        !vocabulary.id(str(left, right)))
      throw FormatError(metadata.file(), str("key '", kKey, "': merge ", merges.size(),
                                             " is not of two tokens into a third"));
    merges.emplace_back(left, right);
  }
  return merges;
}

Merges merges_by_score(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  std::vector<ScoredMerge> scored;
  for (std::size_t i = 0; i < vocabulary.tokens().size(); ++i) {
    const std::string_view piece = vocabulary.tokens()[i];
    if (vocabulary.kind(i) != TokenKind::normal) continue;
    if (piece.size() > kMaxPieceBytes)
      throw FormatError(metadata.file(), str("token ", i, " has ", piece.size(), " bytes, at most ",
                                             kMaxPieceBytes, " are allowed"));
    const auto found = cuts(piece, vocabulary.score(i), vocabulary);
    scored.insert(scored.end(), found.begin(), found.end());
  }
  std::stable_sort(scored.begin(), scored.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return a.order() > b.order();
  });
  Merges merges;
  for (const ScoredMerge& merge : scored) merges.emplace_back(merge.left, merge.right);
  return merges;
}

}  // namespace qeff
