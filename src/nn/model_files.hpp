/// @file
/// What the small files beside a checkpoint say: pooling, normalization, length, tokenizer.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/pooling.hpp"

namespace qeff::nn {

/// 1_Pooling/config.json; nothing if there is none.
/// @throws Unsupported for a pooling that has no native form; FormatError.
[[nodiscard]] std::optional<Pooling> stated_pooling(const Checkpoint& checkpoint);

/// Whether modules.json lists a Normalize module; nothing without the file. @throws FormatError
[[nodiscard]] std::optional<bool> stated_normalize(const Checkpoint& checkpoint);

/// max_seq_length of sentence_bert_config.json. @throws FormatError
[[nodiscard]] std::optional<std::size_t> stated_max_tokens(const Checkpoint& checkpoint);

/// Name and text of the files an artifact takes along: config.json and what rebuilds the tokenizer.
/// tokenizer.json is left out where vocab.txt says the same (WordPiece).
[[nodiscard]] std::vector<std::pair<std::string, std::string>> files_to_keep(
    const Checkpoint& checkpoint, const std::string& model_type);

}  // namespace qeff::nn
