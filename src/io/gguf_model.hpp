/// @file
/// GGUF models: which architectures, under which names, with which config.json and tokenizer.
#pragma once

#include <string>
#include <string_view>

#include "io/gguf_metadata.hpp"
#include "qeff/io/gguf.hpp"

namespace qeff {

struct GgufArchitecture {
  std::string_view name;        ///< general.architecture
  std::string_view model_type;  ///< config.json
  std::string_view model_class;
  bool interleaved_rotary;  ///< Rows of query and key are in the order of an interleaved rotary.
};

/// @throws FormatError without general.architecture; Unsupported for one that is not in the table,
///         for mixtures of experts and for a part of a file that was split.
[[nodiscard]] const GgufArchitecture& gguf_architecture(const GgufMetadata& metadata);

/// Name of a tensor in the Hugging Face model, or empty if that model has none.
/// @param name  As "blk.3.attn_q.weight".
[[nodiscard]] std::string huggingface_name(std::string_view name);

/// Text of config.json. @throws FormatError, Unsupported
[[nodiscard]] std::string gguf_config(const GgufFile& file);

/// Texts of tokenizer.json, tokenizer_config.json and generation_config.json; empty without a
/// tokenizer in the table. @throws FormatError, Unsupported
[[nodiscard]] std::string gguf_tokenizer(const GgufTable& table, const std::string& file);
[[nodiscard]] std::string gguf_tokenizer_config(const GgufTable& table, const std::string& file);
[[nodiscard]] std::string gguf_generation_config(const GgufTable& table, const std::string& file);

}  // namespace qeff
