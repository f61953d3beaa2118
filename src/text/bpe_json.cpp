#include <algorithm>

#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "text/bpe_impl.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

constexpr std::int32_t kMaxTokens = 1 << 22;

/// Writes down that `id` is `token`. @throws FormatError if it is another one already.
void name_token(std::vector<std::string>& tokens, std::int32_t id, std::string_view token) {
  if (id >= kMaxTokens)
    throw FormatError(kFile, str("the id of token '", token, "' is ", id, ", at most ",
                                 kMaxTokens - 1, " allowed"));
  const auto index = static_cast<std::size_t>(id);
  if (index >= tokens.size()) tokens.resize(index + 1);
  if (!tokens[index].empty() && tokens[index] != token)
    throw FormatError(kFile, str("id ", id, " is both '", tokens[index], "' and '", token, "'"));
  tokens[index] = token;
}

BpeModel::Vocabulary parse_vocabulary(const Json& model, std::vector<std::string>& tokens) {
  const Json& vocab = member(model, "vocab", "model");
  if (!vocab.is_object()) throw FormatError(kFile, "\"vocab\" is not a JSON object");
  BpeModel::Vocabulary vocabulary;
  vocabulary.reserve(vocab.size());
  for (const auto& [token, value] : vocab.get_ref<const Json::object_t&>()) {
    const std::int32_t id = token_id(value, "the id of token '" + token + "'");
    name_token(tokens, id, token);
    vocabulary.emplace_back(token, id);
  }
  return vocabulary;
}

void add_tokens(BpeTokenizer::Impl& impl, const Json& document) {
  impl.added = parse_added_tokens(document);
  for (const AddedToken& token : impl.added) {
    const auto known = impl.model.find(token.content);
    if (known && *known != token.id)
      throw FormatError(kFile, str("added token '", token.content, "' has id ", token.id,
                                   ", in the vocabulary ", *known));
    name_token(impl.tokens, token.id, token.content);
    if (!impl.added_ids.emplace(token.content, token.id).second)
      throw FormatError(kFile, "added token '" + token.content + "' twice");
  }
  impl.special.resize(impl.tokens.size());
  for (const AddedToken& token : impl.added)
    impl.special[static_cast<std::size_t>(token.id)] = token.special;
  // The reference calls them by what they look like in normalized text.
  for (const AddedToken& token : impl.added)
    if (token.normalized)
      impl.tokens[static_cast<std::size_t>(token.id)] = impl.normalizer.apply(token.content);
  impl.raw = AddedTokenFinder(impl.added, false, impl.normalizer);
  impl.normalized = AddedTokenFinder(impl.added, true, impl.normalizer);
}

const Json& bpe_model(const Json& document) {
  const Json& model = member(document, "model", "the document");
  const Json* type = find_member(model, "type");
  if (type == nullptr && find_member(model, "merges") != nullptr) return model;  // old files
  const std::string name = type == nullptr ? "none" : json_string(*type, kFile, "type of model");
  if (name != "BPE") refuse("model of type " + name + ", not BPE");
  return model;
}

}  // namespace

BpeTokenizer BpeTokenizer::from_tokenizer_json(std::string_view json, const BpeOptions& options) {
  const Json document = parse_json(json, kFile);
  const Json& model = bpe_model(document);
  const auto impl = std::make_shared<Impl>();
  impl->normalizer = TextNormalizer::from_json(document);
  impl->pre_tokenizer = PreTokenizer::from_json(document);
  impl->decoder = TokenDecoder::from_json(document);
  Template around = parse_post_processor(document);
  impl->model = BpeModel::from_json(model, parse_vocabulary(model, impl->tokens));
  add_tokens(*impl, document);
  BpeTokenizer tokenizer(impl);
  if (options.add_bos || options.add_eos) {
    const auto ids = [&](std::optional<bool> wanted, const std::string& name) {
      std::vector<std::int32_t> found;
      if (!wanted.value_or(false) || name.empty()) return found;
      const auto id = tokenizer.token_id(name);
      if (!id) throw FormatError(kFile, "has no token '" + name + "'");
      found.push_back(*id);
      return found;
    };
    around = {ids(options.add_bos, options.bos_token), ids(options.add_eos, options.eos_token)};
  }
  for (const auto* ids : {&around.prefix, &around.suffix})
    for (const std::int32_t id : *ids)
      if (impl->token(id) == nullptr)
        throw FormatError(kFile, str("the template has id ", id, ", which is no token"));
  impl->prefix = std::move(around.prefix);
  impl->suffix = std::move(around.suffix);
  return tokenizer;
}

}  // namespace qeff
