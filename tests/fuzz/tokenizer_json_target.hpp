/// @file
/// Any bytes as a tokenizer.json: qeff::Error or a tokenizer that works.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/text/bpe.hpp"

namespace qeff::fuzz {

/// Whether the bytes were accepted.
inline bool tokenizer_json(std::string_view bytes) {
  try {
    const BpeTokenizer tokenizer = BpeTokenizer::from_tokenizer_json(bytes);
    std::vector<std::int32_t> ids = tokenizer.encode("ab <s>\xC3\xA9  aab 12\xFF\n");
    for (const std::int32_t id : ids) (void)tokenizer.token(id);
    for (std::int32_t id = -1; id < 16; ++id) ids.push_back(id);
    TokenStream stream(tokenizer, false);
    std::string text;
    for (const std::int32_t id : ids) text += stream.push(id);
    if (text + stream.finish() != tokenizer.decode(ids, false))
      throw std::logic_error("stream and decode differ");
    (void)tokenizer.encode(bytes.substr(0, 2048));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace qeff::fuzz
