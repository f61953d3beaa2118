/// @file
/// The recipe for all linears of a model: method and its parameters, as a struct and as flat JSON.
///
/// The JSON is what Python and the command line hand over and what an artifact records:
/// {"method": "gptq", "bits": 4, "group_size": 128, ...}. An unknown key is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qeff/calib/awq.hpp"
#include "qeff/calib/gptq.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff {

enum class Method : std::uint8_t { none, affine, codebook, fp8, gptq, awq, autoround };

/// "none", "affine", ...
[[nodiscard]] std::string_view name(Method method) noexcept;

/// Learned rounding of decoder blocks, after GPTQ: calib/learned_rounding.hpp.
struct AutoRoundConfig {
  int iters = 40;        ///< Steps a block.
  int batch_size = 8;    ///< Calibration sequences a step.
  double lr = 0;         ///< Of rounding, in the first step; then it falls to 0. 0: 0.4 / iters.
  double minmax_lr = 0;  ///< Likewise of the ranges. 0: lr / 10.
  double momentum = 0;   ///< Share of the gradients of all steps before in the direction of one.
};

/// Fields that the method does not use are ignored.
struct QuantizationConfig {
  Method method = Method::affine;
  int bits = 8;                  ///< affine, gptq, awq, autoround: 2..8
  std::size_t group_size = 0;    ///< 0: per channel; for fp8 128 means 128x128 blocks
  double target_bits = 0;        ///< affine, gptq, awq of language models: instead of bits and group_size
                                 ///< those of each linear are chosen by what they cost the model, so that
                                 ///< the linears of the layers take at most this many bits a weight with
                                 ///< all that is stored for them; 0: no such choice
  bool per_tensor = false;       ///< affine, fp8: one scale for the whole matrix
  bool symmetric = true;         ///< affine, gptq, autoround; awq: no zero point
  std::string range = "minmax";  ///< affine: minmax, percentile, mse
  double percentile = 99.9;      ///< affine with range percentile
  double smooth = 0.65;  ///< affine, gptq with 5 bits or more and int8 activations: how much of
                         ///< the spread of the input channels moves to the weights; 0: nothing
  std::string codebook = "nf4";     ///< codebook: nf4, fp4
  bool double_quant = false;        ///< codebook: 8-bit scales of scales
  std::string fp8_format = "e4m3";  ///< fp8: e4m3, e5m2
  GptqConfig gptq;                  ///< bits, group_size, symmetric above win over the ones in here
  AwqConfig awq;                    ///< likewise
  AutoRoundConfig autoround;        ///< autoround, which begins with gptq
  std::optional<kernels::Activations> activations;  ///< default: pack()'s, f32 for method none
  int embedding_bits = 8;                           ///< 8: int8 rows; 32: float32
  double error_feedback = 0.5;  ///< gptq, awq, autoround of language models with propagate: share of the layers' errors so far that
                                ///< each linear takes back; 0: none. calib/error_feedback.hpp
  int feedback_tokens = 16384;  ///< gptq, awq: of so many calibration tokens those errors are measured; 0: of all
  bool propagate = true;  ///< Calibration inputs of a layer come from the quantized ones before.
  bool strict = false;    ///< A fallback is an error instead of a report row.

  [[nodiscard]] bool needs_calibration() const noexcept {
    return method == Method::gptq || method == Method::awq || method == Method::autoround || target_bits > 0;
  }
};

/// @throws InvalidArgument for text that is not an object, an unknown key (with the closest known
///         one), a value of the wrong type or out of range.
[[nodiscard]] QuantizationConfig quantization_config_from_json(const std::string& json);
[[nodiscard]] std::string to_json(const QuantizationConfig& config);

/// @throws InvalidArgument for a value out of range.
void validate(const QuantizationConfig& config);

}  // namespace qeff
