/// @file
/// What a BPE tokenizer consists of; filled by its reader, used by its encoder.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "qeff/text/bpe.hpp"
#include "text/added_tokens.hpp"
#include "text/bpe_model.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/text_normalizer.hpp"
#include "text/token_decoder.hpp"

namespace qeff {

struct BpeTokenizer::Impl {
  std::vector<AddedToken> added;
  std::unordered_map<std::string, std::int32_t> added_ids;
  AddedTokenFinder raw, normalized;  ///< Point into `added`.
  TextNormalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  TokenDecoder decoder;
  std::vector<std::string> tokens;  ///< By id; empty: none.
  std::vector<bool> special;        ///< By id.
  std::vector<std::int32_t> prefix, suffix;

  [[nodiscard]] const std::string* token(std::int32_t id) const noexcept {
    const auto index = static_cast<std::size_t>(id);
    return id < 0 || index >= tokens.size() || tokens[index].empty() ? nullptr : &tokens[index];
  }
};

}  // namespace qeff
