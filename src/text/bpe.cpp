#include "qeff/text/bpe.hpp"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "qeff/core/error.hpp"
#include "text/bpe_impl.hpp"

namespace qeff {
namespace {

/// Ids of the pieces a text has had so far. Words repeat: most pieces are found here.
class PieceCache {
 public:
  explicit PieceCache(const BpeModel& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<std::int32_t>& ids) {
    constexpr std::string_view kMark = BpeModel::kWordMark;
    while (model_.words_apart()) {
      std::size_t word = 0;  // the marks before it belong to it
      while (piece.substr(word).starts_with(kMark)) word += kMark.size();
      const std::size_t next = piece.find(kMark, word);
      if (next == piece.npos) break;
      encode_word(piece.substr(0, next), ids);
      piece.remove_prefix(next);
    }
    encode_word(piece, ids);
  }

 private:
  void encode_word(std::string_view piece, std::vector<std::int32_t>& ids) {
    constexpr std::size_t kMaxBytes = 64, kMaxPieces = 1 << 16;
    if (piece.size() > kMaxBytes) return model_.encode(piece, ids);
    if (const auto found = spans_.find(piece); found != spans_.end()) {
      const TextRange span = found->second;
      for (std::size_t i = span.begin; i < span.end; ++i) ids.push_back(ids[i]);
      return;
    }
    const std::size_t begin = ids.size();
    model_.encode(piece, ids);
    if (spans_.size() < kMaxPieces) spans_.emplace(piece, TextRange{begin, ids.size()});
  }

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  const BpeModel& model_;
  std::unordered_map<std::string, TextRange, Hash, std::equal_to<>> spans_;  ///< Where in the ids.
};

/// One text on its way to ids.
class Encoding {
 public:
  explicit Encoding(const BpeTokenizer::Impl& tokenizer) : t_(tokenizer), cache_(t_.model) {}

  std::vector<std::int32_t> ids;

  void add_text(std::string_view text) {
    for (const TokenSpan& span : t_.raw.split(text)) {
      if (span.token != nullptr)
        ids.push_back(span.token->id);
      else
        add_raw(text.substr(span.range.begin, span.range.end - span.range.begin),
                span.range.begin == 0);
    }
  }

 private:
  void add_raw(std::string_view text, bool at_start) {
    const std::string normalized = t_.normalizer.apply(text);
    for (const TokenSpan& span : t_.normalized.split(normalized)) {
      if (span.token != nullptr)
        ids.push_back(span.token->id);
      else
        add_normalized(normalized.substr(span.range.begin, span.range.end - span.range.begin),
                       at_start && span.range.begin == 0);
    }
  }

  void add_normalized(std::string text, bool at_start) {
    const Pieces pieces = t_.pre_tokenizer.apply(std::move(text), at_start);
    for (std::size_t i = 0; i < pieces.ranges.size(); ++i) cache_.encode(pieces[i], ids);
  }

  const BpeTokenizer::Impl& t_;
  PieceCache cache_;
};

}  // namespace

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text, bool add_special_tokens,
                                               std::size_t max_tokens) const {
  const std::size_t around = add_special_tokens ? impl_->prefix.size() + impl_->suffix.size() : 0;
  require(max_tokens >= around, "BpeTokenizer::encode: max_tokens is ", max_tokens,
          ", the template alone takes ", around);
  Encoding encoding(*impl_);
  if (is_valid_utf8(text))
    encoding.add_text(text);
  else
    encoding.add_text(valid_utf8(text));
  std::vector<std::int32_t>& ids = encoding.ids;
  ids.resize(std::min(ids.size(), max_tokens - around));
  if (add_special_tokens) {
    ids.insert(ids.begin(), impl_->prefix.begin(), impl_->prefix.end());
    ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  }
  return std::move(ids);
}

std::string BpeTokenizer::decode(std::span<const std::int32_t> ids,
                                 bool skip_special_tokens) const {
  TokenStream stream(*this, skip_special_tokens);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

std::size_t BpeTokenizer::vocab_size() const noexcept { return impl_->tokens.size(); }

std::optional<std::int32_t> BpeTokenizer::token_id(std::string_view token) const {
  const auto added = impl_->added_ids.find(std::string(token));
  return added != impl_->added_ids.end() ? added->second : impl_->model.find(token);
}

const std::string& BpeTokenizer::token(std::int32_t id) const {
  const std::string* found = impl_->token(id);
  require(found != nullptr, "BpeTokenizer::token: ", id, " is the id of no token");
  return *found;
}

bool BpeTokenizer::is_special(std::int32_t id) const noexcept {
  return impl_->token(id) != nullptr && impl_->special[static_cast<std::size_t>(id)];
}

const std::vector<std::int32_t>& BpeTokenizer::prefix_ids() const noexcept { return impl_->prefix; }
const std::vector<std::int32_t>& BpeTokenizer::suffix_ids() const noexcept { return impl_->suffix; }

struct TokenStream::State {
  std::shared_ptr<const BpeTokenizer::Impl> tokenizer;
  bool skip_special;
  DecoderState decoder;
};

TokenStream::TokenStream(const BpeTokenizer& tokenizer, bool skip_special_tokens)
    : state_(std::make_unique<State>(
          State{tokenizer.impl_, skip_special_tokens, tokenizer.impl_->decoder.start()})) {}
TokenStream::TokenStream(TokenStream&&) noexcept = default;
TokenStream& TokenStream::operator=(TokenStream&&) noexcept = default;
TokenStream::~TokenStream() = default;

std::string TokenStream::push(std::int32_t id) {
  const BpeTokenizer::Impl& tokenizer = *state_->tokenizer;
  const std::string* token = tokenizer.token(id);
  std::string out;
  if (token == nullptr) return out;
  if (state_->skip_special && tokenizer.special[static_cast<std::size_t>(id)]) return out;
  tokenizer.decoder.push(state_->decoder, *token, out);
  return out;
}

std::string TokenStream::finish() {
  std::string out;
  state_->tokenizer->decoder.finish(state_->decoder, out);
  state_->decoder = state_->tokenizer->decoder.start();
  return out;
}

}  // namespace qeff
