#include "text/token_trie.hpp"

#include <algorithm>
#include <cstring>

namespace qeff {
namespace {

using Token = std::pair<std::string_view, std::int32_t>;

/// A node to be expanded: the tokens [begin, end) share its first `depth` bytes.
struct Range {
  std::size_t begin, end, depth;
};

std::vector<Token> sorted_unique(std::vector<Token> tokens) {
  std::erase_if(tokens, [](const Token& t) { return t.first.empty(); });
  std::reverse(tokens.begin(), tokens.end());
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Token& a, const Token& b) { return a.first < b.first; });
  const auto last = std::unique(tokens.begin(), tokens.end(),
                                [](const Token& a, const Token& b) { return a.first == b.first; });
  tokens.erase(last, tokens.end());
  return tokens;
}

}  // namespace

TokenTrie::TokenTrie(std::vector<Token> tokens) {
  tokens = sorted_unique(std::move(tokens));
  std::vector<Range> ranges{{0, tokens.size(), 0}};
  nodes_.emplace_back();
  bytes_.push_back('\0');
  for (std::size_t n = 0; n < ranges.size(); ++n) {
    auto [begin, end, depth] = ranges[n];
    if (begin < end && tokens[begin].first.size() == depth) nodes_[n].id = tokens[begin++].second;
    nodes_[n].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = tokens[begin].first[depth];
      std::size_t stop = begin + 1;
      while (stop < end && tokens[stop].first[depth] == byte) ++stop;
      ranges.push_back({begin, stop, depth + 1});
      nodes_.emplace_back();
      bytes_.push_back(byte);
      ++nodes_[n].children;
      begin = stop;
    }
  }
  for (std::uint32_t i = 0; i < nodes_[0].children; ++i)
    root_[static_cast<unsigned char>(bytes_[nodes_[0].first_child + i])] =
        nodes_[0].first_child + i;
}

std::uint32_t TokenTrie::child(std::uint32_t node, char byte) const noexcept {
  const auto [first, count, id] = nodes_[node];
  const char* bytes = bytes_.data() + first;
  const void* found = count == 0 ? nullptr : std::memchr(bytes, byte, count);
  return found ? first + static_cast<std::uint32_t>(static_cast<const char*>(found) - bytes) : 0;
}

TokenTrie::Match TokenTrie::longest_prefix(std::string_view text) const noexcept {
  Match match;
  if (text.empty()) return match;
  std::uint32_t node = root_[static_cast<unsigned char>(text[0])];
  for (std::size_t depth = 1; node != 0; ++depth) {
    if (nodes_[node].id >= 0) match = {depth, nodes_[node].id};
    if (depth == text.size()) break;
    node = child(node, text[depth]);
  }
  return match;
}

std::optional<std::int32_t> TokenTrie::find(std::string_view text) const noexcept {
  const Match match = longest_prefix(text);
  if (match.length != text.size() || text.empty()) return std::nullopt;
  return match.id;
}

}  // namespace qeff
