#include "qeff/text/wordpiece.hpp"

#include <algorithm>
#include <array>

#include "qeff/core/error.hpp"
#include "text/wordpiece_impl.hpp"

namespace qeff {
namespace {

const std::array<CharKind, 128> kAsciiKinds = [] {
  std::array<CharKind, 128> kinds{};
  for (std::size_t c = 0; c < kinds.size(); ++c) kinds[c] = char_kind(static_cast<char32_t>(c));
  return kinds;
}();

/// Whether UTF-8 `text` has more than `limit` code points.
bool longer_than(std::string_view text, std::size_t limit) noexcept {
  if (text.size() <= limit) return false;
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins)) > limit;
}

/// Calls on_text and on_token for what lies between and for the tokens, leftmost and longest first,
/// until one of them returns false.
template <class OnText, class OnToken>
void split_by_tokens(const TokenTrie& tokens, std::string_view text, OnText on_text,
                     OnToken on_token) {
  std::size_t begin = 0;
  for (std::size_t at = 0; !tokens.empty() && at < text.size();) {
    const TokenTrie::Match match = tokens.longest_prefix(text.substr(at));
    if (match.length == 0) {
      ++at;
      continue;
    }
    if (at > begin && !on_text(text.substr(begin, at - begin))) return;
    if (!on_token(match.id)) return;
    begin = at += match.length;
  }
  if (begin < text.size()) on_text(text.substr(begin));
}

/// One text on its way to ids; stops once there are `limit`.
class Encoding {
 public:
  Encoding(const WordPiece::Impl& tokenizer, std::size_t limit) : t_(tokenizer), limit_(limit) {}

  std::vector<std::int32_t> ids;

  void add_text(std::string_view text) {
    split_by_tokens(
        t_.raw_special, text, [this](std::string_view part) { return add_raw(part); },
        [this](std::int32_t id) { return add_id(id); });
    ids.resize(std::min(ids.size(), limit_));
  }

 private:
  [[nodiscard]] bool room() const noexcept { return ids.size() < limit_; }

  bool add_id(std::int32_t id) {
    ids.push_back(id);
    return room();
  }

  /// Piece by piece, so that a text of megabytes costs what its kept beginning costs. An ASCII
  /// space separates words and stays where it is: nothing reaches across it.
  bool add_raw(std::string_view text) {
    constexpr std::size_t kPieceBytes = 4096;
    while (!text.empty() && room()) {
      std::size_t cut = text.npos;
      if (t_.normalized_special.empty() && text.size() > kPieceBytes)
        cut = text.find(' ', kPieceBytes);
      const std::string_view piece = text.substr(0, cut);
      text.remove_prefix(piece.size());
      normalized_.clear();
      t_.normalizer.append(piece, normalized_);
      split_by_tokens(
          t_.normalized_special, normalized_,
          [this](std::string_view part) { return add_normalized(part); },
          [this](std::int32_t id) { return add_id(id); });
    }
    return room();
  }

  bool add_normalized(std::string_view text) {
    std::size_t word = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const auto byte = static_cast<unsigned char>(text[at]);
      const CharKind kind = byte < 0x80 ? kAsciiKinds[byte] : char_kind(decode_utf8(text, at));
      if (byte < 0x80) ++at;
      if (kind == CharKind::word) continue;
      add_word(text.substr(word, begin - word));
      if (kind == CharKind::punctuation) add_word(text.substr(begin, at - begin));
      word = at;
      if (!room()) return false;
    }
    add_word(text.substr(word));
    return room();
  }

  void add_word(std::string_view word) {
    if (word.empty()) return;
    const std::size_t first = ids.size();
    bool known = !longer_than(word, t_.max_chars_per_word);
    while (known && !word.empty()) {
      const TokenTrie& pieces = ids.size() == first ? t_.words : t_.continuations;
      const TokenTrie::Match match = pieces.longest_prefix(word);
      known = match.length > 0;
      if (known) ids.push_back(match.id);
      word.remove_prefix(match.length);
    }
    if (known) return;
    ids.resize(first);
    ids.push_back(t_.unknown);
  }

  const WordPiece::Impl& t_;
  std::size_t limit_;
  std::string normalized_;
};

}  // namespace

void WordPiece::Impl::set_vocabulary(TokenIds vocabulary, TokenIds special,
                                     std::string_view continuing_prefix) {
  TokenIds inside;
  for (const auto& [token, id] : vocabulary)
    if (token.starts_with(continuing_prefix))
      inside.emplace_back(token.substr(continuing_prefix.size()), id);
  for (const auto* tokens : {&vocabulary, &special})
    for (const auto& [token, id] : *tokens)
      vocab_size = std::max(vocab_size, static_cast<std::size_t>(id) + 1);
  words = TokenTrie(std::move(vocabulary));
  continuations = TokenTrie(std::move(inside));
  added = TokenTrie(std::move(special));
  for (const std::string_view name : {"[PAD]", "<pad>"})
    if (!pad) pad = find(name);
}

std::vector<std::int32_t> WordPiece::encode(std::string_view text, std::size_t max_tokens) const {
  const std::size_t around = impl_->prefix.size() + impl_->suffix.size();
  require(max_tokens >= around, "WordPiece::encode: max_tokens is ", max_tokens,
          ", the template alone takes ", around);
  Encoding encoding(*impl_, max_tokens - around);
  if (max_tokens > around) encoding.add_text(text);
  std::vector<std::int32_t> ids = impl_->prefix;
  ids.reserve(around + encoding.ids.size());
  ids.insert(ids.end(), encoding.ids.begin(), encoding.ids.end());
  ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  return ids;
}

std::optional<std::int32_t> WordPiece::token_to_id(std::string_view token) const noexcept {
  return impl_->find(token);
}
std::size_t WordPiece::vocab_size() const noexcept { return impl_->vocab_size; }
std::int32_t WordPiece::unknown_id() const noexcept { return impl_->unknown; }
std::optional<std::int32_t> WordPiece::pad_id() const noexcept { return impl_->pad; }
const std::vector<std::int32_t>& WordPiece::prefix_ids() const noexcept { return impl_->prefix; }
const std::vector<std::int32_t>& WordPiece::suffix_ids() const noexcept { return impl_->suffix; }
std::optional<std::size_t> WordPiece::max_length() const noexcept { return impl_->max_length; }

}  // namespace qeff
