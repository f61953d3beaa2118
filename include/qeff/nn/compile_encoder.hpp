/// @file
/// From a Hugging Face directory to a compiled encoder artifact: quantization of every linear, layer
/// by layer, through the native float forward; no torch.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qeff/calib/awq.hpp"
#include "qeff/calib/gptq.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/nn/encoder.hpp"

namespace qeff {

enum class Method : std::uint8_t { none, affine, codebook, fp8, gptq, awq };

/// One recipe for all linears of a model. Fields that the method does not use are ignored.
struct QuantizationConfig {
  Method method = Method::affine;
  int bits = 8;                    ///< affine, gptq, awq: 2..8
  std::size_t group_size = 0;      ///< 0: per channel; for fp8 128 means 128x128 blocks
  bool per_tensor = false;         ///< affine, fp8: one scale for the whole matrix
  bool symmetric = true;           ///< affine, gptq
  std::string range = "minmax";    ///< affine: minmax, percentile, mse
  std::string codebook = "nf4";    ///< codebook: nf4, fp4
  bool double_quant = false;       ///< codebook: 8-bit scales of scales
  std::string fp8_format = "e4m3"; ///< fp8: e4m3, e5m2
  GptqConfig gptq;                 ///< bits, group_size, symmetric above win over the ones in here
  AwqConfig awq;
  std::optional<kernels::Activations> activations;  ///< default: int8 for 8-bit symmetric, else bf16
  int embedding_bits = 8;          ///< 8: int8 rows; 32: float32
  bool propagate = true;           ///< Calibration inputs of a layer come from the quantized ones before.
  bool strict = false;             ///< A fallback is an error instead of a report row.
};

/// One row of the report: what became of one linear.
struct LayerReport {
  std::string name, scheme, note;  ///< note: empty or what was not done as asked
  std::size_t rows = 0, cols = 0, bytes = 0;
  double mse = 0, sqnr_db = 0, cosine = 0, max_error = 0;
  double hessian_loss = 0;   ///< relative output error on the calibration inputs; 0 without calibration
  double seconds = 0;
};

struct CompileOptions {
  Pooling pooling = Pooling::mean;
  bool normalize = true;        ///< Default of encode().
  std::size_t threads = 0;
  /// Called between steps: done, total, what. An exception of it stops the work.
  std::function<void(std::size_t done, std::size_t total, const std::string& what)> progress;
};

/// Whether compile_encoder knows this config.json ("model_type" and its fields); else the reason.
[[nodiscard]] std::string why_not_native(const std::string& config_json);

/// Quantizes and writes the artifact.
/// @param calibration  Needed (not empty) by gptq and awq.
/// @throws InvalidArgument, FormatError, IoError as their headers say; nothing half-written remains.
std::vector<LayerReport> compile_encoder(const Checkpoint& checkpoint, const QuantizationConfig& config,
                                         const TokenBatch& calibration, const CompileOptions& options,
                                         const std::string& out_path);

}  // namespace qeff
