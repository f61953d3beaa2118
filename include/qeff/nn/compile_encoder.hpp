/// @file
/// From a Hugging Face directory to a compiled encoder artifact: quantization of every linear,
/// layer by layer, through the native forward; no torch.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/architecture.hpp"
#include "qeff/nn/pooling.hpp"
#include "qeff/nn/quantization_config.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff {

/// One row of the report: what became of one linear.
struct LayerReport {
  std::string name, scheme, note;  ///< note: empty or what was not done as asked
  std::size_t rows = 0, cols = 0, bytes = 0;
  double bits = 0;  ///< Of a weight as packed: scales, zero points and padding counted.
  double mse = 0, sqnr_db = 0, cosine = 0, max_error = 0;  ///< of the weights
  double hessian_loss = 0;  ///< tr(D H D^T) / tr(W H W^T) on the calibration inputs; 0 without them
  double seconds = 0;
  double sensitivity = 0;  ///< With target_bits: KL(model || model with only this linear in 4 bits and
                           ///< groups of 64, to nearest), nats a token; of all parts packed as one.
};

struct CompileOptions {
  std::optional<Pooling> pooling;  ///< Else what 1_Pooling/config.json says, else mean.
  std::optional<bool>
      normalize;  ///< Default of encode(); else whether modules.json normalizes, else true.
  std::optional<std::size_t>
      max_tokens;  ///< Of encode(); else sentence_bert_config.json, else all positions.
  std::size_t threads = 0;
  /// Called between steps: done, total, what. An exception of it stops the work.
  std::function<void(std::size_t done, std::size_t total, const std::string& what)> progress;
  /// Language models: keep what is finished beside the output, and go on from what a compile of the
  /// same was killed at.
  bool resume = true;
  /// Language models: hears a sentence where a compile goes on, or why it does not.
  std::function<void(const std::string&)> note;
};

/// Quantizes and writes the artifact.
/// @param calibration  Needed (not empty) by gptq and awq; the others report hessian_loss with it.
/// @throws InvalidArgument, Unsupported, FormatError, IoError as their headers say, an output that
///         cannot be written before any work is done; nothing half-written remains.
std::vector<LayerReport> compile_encoder(const Checkpoint& checkpoint,
                                         const QuantizationConfig& config,
                                         const TokenBatch& calibration,
                                         const CompileOptions& options,
                                         const std::string& out_path);

}  // namespace qeff
