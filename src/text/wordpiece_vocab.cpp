#include <limits>

#include "qeff/core/error.hpp"
#include "text/wordpiece_impl.hpp"

namespace qeff {
namespace {

const std::string kFile = "vocab.txt";

void check_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (decode_utf8(text, at) == 0xFFFD && text.substr(begin, at - begin) != "\xEF\xBF\xBD")
      throw FormatError(kFile, "is not UTF-8", begin);
  }
}

/// One token a line; an empty line takes an id and names nothing.
TokenIds parse_lines(std::string_view text) {
  TokenIds tokens;
  std::int32_t id = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    tokens.emplace_back(line, id++);
  }
  return tokens;
}

std::vector<std::int32_t> required_ids(const TokenTrie& vocabulary,
                                       const std::vector<std::string>& tokens) {
  std::vector<std::int32_t> ids;
  for (const std::string& token : tokens) {
    const auto id = vocabulary.find(token);
    if (!id) throw FormatError(kFile, "has no token '" + token + "'");
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

WordPiece WordPiece::from_vocab(std::string_view vocab_txt, const Options& options) {
  if (vocab_txt.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(kFile, str("has ", vocab_txt.size(), " bytes, too many for a vocabulary"));
  check_utf8(vocab_txt);
  const auto impl = std::make_shared<Impl>();
  impl->normalizer = {options.clean_text, options.tokenize_chinese_chars,
                      options.strip_accents.value_or(options.do_lower_case), options.do_lower_case};
  impl->max_chars_per_word = options.max_chars_per_word;
  impl->set_vocabulary(parse_lines(vocab_txt), {}, options.continuing_prefix);
  impl->unknown = required_ids(impl->words, {options.unknown_token})[0];
  impl->prefix = required_ids(impl->words, options.prefix);
  impl->suffix = required_ids(impl->words, options.suffix);
  TokenIds special;
  for (const auto* names : {&options.special, &options.prefix, &options.suffix})
    for (const std::string& name : *names)
      if (const auto id = impl->words.find(name)) special.emplace_back(name, *id);
  impl->raw_special = TokenTrie(std::move(special));
  return WordPiece(impl);
}

}  // namespace qeff
