/// @file
/// The WordPiece tokenizer that travels in an artifact: tokenizer.json, or vocab.txt with
/// tokenizer_config.json.
#pragma once

#include <string>

#include "qeff/io/artifact.hpp"
#include "qeff/text/wordpiece.hpp"

namespace qeff::nn {

/// Text of entry "file/<name>", empty if it is not there.
[[nodiscard]] std::string file_text(const Artifact& artifact, const std::string& name);

/// Whether the files describe a WordPiece tokenizer; nothing is built.
[[nodiscard]] bool has_wordpiece(const Artifact& artifact);

/// @throws Unsupported if has_wordpiece() is false; FormatError.
[[nodiscard]] WordPiece read_wordpiece(const Artifact& artifact);

}  // namespace qeff::nn
