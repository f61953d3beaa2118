/// @file
/// MODEL of the command line, ready to run: weights, tokenizer, the texts beside them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat_template.hpp"
#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/generate.hpp"
#include "qeff/text/bpe.hpp"

namespace qeff::cli {

struct ModelOptions {
  std::string model;
  std::string quantization = "int8";  ///< Unless MODEL is an artifact.
  std::string calibration;            ///< File of texts, one a line; for awq and gptq.
  std::string kv_cache = "bf16";
  std::size_t ctx_len = 0;  ///< 0: what the model has, at most 4096.
  std::size_t threads = 0;  ///< 0: all.
};

class LanguageModel {
 public:
  /// Opens the artifact, or compiles MODEL to one in the cache first.
  /// @throws as Checkpoint::open, compile_causal_lm and load_causal_lm.
  explicit LanguageModel(const ModelOptions& options);

  [[nodiscard]] const CausalLm& model() const noexcept { return model_; }
  [[nodiscard]] const std::string& path() const noexcept { return model_.artifact().path(); }
  [[nodiscard]] const std::vector<std::int32_t>& eos_ids() const noexcept { return eos_ids_; }
  /// @throws Unsupported if the model has none, or one of a kind that is not native.
  [[nodiscard]] const BpeTokenizer& tokenizer() const;
  [[nodiscard]] bool has_tokenizer() const noexcept { return tokenizer_.has_value(); }
  /// @throws Unsupported if the model has none, or one of no known family.
  [[nodiscard]] ChatTemplate chat_template() const;

  /// A session as the options say. @param ctx_len  Instead of theirs, if not 0.
  [[nodiscard]] CausalSession session(std::size_t sequences, std::size_t ctx_len = 0) const;

 private:
  [[nodiscard]] std::vector<std::int32_t> find_eos_ids() const;

  ModelOptions options_;
  CausalLm model_;
  std::optional<BpeTokenizer> tokenizer_;
  std::string no_tokenizer_;  ///< Why.
  std::vector<std::int32_t> eos_ids_;
};

}  // namespace qeff::cli
