#include "text/added_tokens.hpp"

#include "qeff/core/error.hpp"
#include "text/unicode.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

bool is_word(char32_t c) noexcept { return is_word_char(c) || c == 0x200C || c == 0x200D; }

/// Where the code point that ends at `at` begins.
std::size_t char_before(std::string_view text, std::size_t at) noexcept {
  do --at;
  while (at > 0 && continues(text[at]));
  return at;
}

char32_t char_at(std::string_view text, std::size_t at) noexcept { return decode_utf8(text, at); }

bool stands_alone(std::string_view text, const TextRange& range) noexcept {
  return (range.begin == 0 || !is_word(char_at(text, char_before(text, range.begin)))) &&
         (range.end == text.size() || !is_word(char_at(text, range.end)));
}

/// Where the white space before `at` begins, not before `low`.
std::size_t spaces_begin(std::string_view text, std::size_t at, std::size_t low) noexcept {
  while (at > low && is_white_space(char_at(text, char_before(text, at))))
    at = char_before(text, at);
  return at;
}

std::size_t spaces_end(std::string_view text, std::size_t at) noexcept {
  for (std::size_t next = at; next < text.size(); at = next)
    if (!is_white_space(decode_utf8(text, next))) break;
  return at;
}

}  // namespace

std::vector<AddedToken> parse_added_tokens(const Json& document) {
  std::vector<AddedToken> tokens;
  const Json* list = find_member(document, "added_tokens");
  if (list == nullptr) return tokens;
  for (const Json& item : array_member(document, "added_tokens", "the document")) {
    AddedToken token;
    token.content = string_member(item, "content", "an added token");
    if (token.content.empty()) continue;
    const std::string what = "added token '" + token.content + "'";
    token.id = token_id(member(item, "id", what), "the id of " + what);
    token.special = flag(item, "special", false);
    token.single_word = flag(item, "single_word", false);
    token.lstrip = flag(item, "lstrip", false);
    token.rstrip = flag(item, "rstrip", false);
    token.normalized = flag(item, "normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized,
                                   const TextNormalizer& normalizer)
    : tokens_(&tokens) {
  std::vector<std::string> contents(tokens.size());
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::size_t i = tokens.size(); i-- > 0;) {  // of equal ones the first counts
    if (tokens[i].normalized != normalized) continue;
    contents[i] = normalized ? normalizer.apply(tokens[i].content) : tokens[i].content;
    entries.emplace_back(contents[i], static_cast<std::int32_t>(i));
  }
  trie_ = TokenTrie(std::move(entries));
}

std::vector<TokenSpan> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TokenSpan> spans;
  std::size_t done = 0;
  for (std::size_t at = 0; !trie_.empty() && at < text.size();) {
    const TokenTrie::Match match = trie_.longest_prefix(text.substr(at));
    if (match.length == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = (*tokens_)[static_cast<std::size_t>(match.id)];
    TextRange range{at, at + match.length};
    at = range.end;
    if (range.begin < done) continue;  // in the white space that the token before has taken
    if (token.single_word && !stands_alone(text, range)) continue;
    if (token.lstrip) range.begin = spaces_begin(text, range.begin, done);
    if (token.rstrip) range.end = spaces_end(text, range.end);
    if (done < range.begin) spans.push_back({{done, range.begin}, nullptr});
    spans.push_back({range, &token});
    done = range.end;
  }
  if (done < text.size()) spans.push_back({{done, text.size()}, nullptr});
  return spans;
}

}  // namespace qeff
