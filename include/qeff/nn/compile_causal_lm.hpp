/// @file
/// From a checkpoint to a compiled causal language model: quantization of every linear, layer by
/// layer, through the native forward; no torch.
#pragma once

#include <string>
#include <vector>

#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/compile_encoder.hpp"
#include "qeff/nn/quantization_config.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff {

/// Empty if this config.json describes a causal language model with a native form, else the reason.
[[nodiscard]] std::string why_no_native_causal_lm(const std::string& config_json);

/// Quantizes and writes the artifact. Embedding and lm_head: config.embedding_bits; 8 is int8 in groups of 64.
/// @param calibration  Needed (not empty) by gptq and awq.
/// @param options      pooling, normalize and max_tokens have no meaning here.
/// @throws as compile_encoder.
std::vector<LayerReport> compile_causal_lm(const Checkpoint& checkpoint,
                                           const QuantizationConfig& config,
                                           const TokenBatch& calibration,
                                           const CompileOptions& options,
                                           const std::string& out_path);

}  // namespace qeff
