/// @file
/// The small files of a model: tokenizer, special tokens, chat template, ends of texts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "qeff/text/bpe.hpp"

namespace qeff::cli {

/// Text of a file by its name, empty if it is not there.
using ReadText = std::function<std::string(const std::string& name)>;

/// @param owner  The model, for messages.
/// @throws Unsupported without a tokenizer.json, or for one of a kind that is not native.
[[nodiscard]] BpeTokenizer make_tokenizer(const ReadText& read, const std::string& owner);

/// "bos_token" and the like as text; empty if the model has none.
[[nodiscard]] std::string special_token(const ReadText& read, const std::string& name);

/// eos_token_id of generation_config.json, else of config.json; may be empty.
[[nodiscard]] std::vector<std::int32_t> stated_eos_ids(const ReadText& read);

/// The Jinja program of the chat template, empty if there is none.
[[nodiscard]] std::string chat_program(const ReadText& read);

/// The most positions config.json speaks of, else `otherwise`.
[[nodiscard]] std::size_t stated_positions(const ReadText& read, std::size_t otherwise);

}  // namespace qeff::cli
