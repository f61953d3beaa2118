/// @file
/// What storing each linear of a decoder in fewer bits costs the whole model, measured before
/// anything is quantized. Layer by layer: one layer of float weights is in memory at a time.
///
///     loss(l, c) = KL(model || model with l quantized by the reference choice) * e(l, c) / e(l, reference)
///
/// e: mean over tokens of |d|^2 / |x|^2, d the change of the residual stream x behind the layer of l when l
/// is quantized by choice c, by the method that will be used, and runs as it will. GPTQ and AWQ see what the linear
/// reads in the float model. The stream that the reference choice leaves
/// runs on through all later layers beside the others, up to the logits.
#pragma once

#include <functional>
#include <vector>

#include "nn/decoder_model.hpp"
#include "nn/decoder_tensors.hpp"
#include "qeff/nn/quantization_config.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::nn {

/// Of one linear.
struct Sensitivity {
  double divergence = 0;     ///< The KL above, nats a token.
  std::vector<double> loss;  ///< Of each choice.
};

/// @param ends       Embeddings, final norm, head and shape of the model; no layers.
/// @param recipes    The choices. @param reference  Index of one.
/// @param layer      Called before the work on each layer.
/// @return one a linear, in the order of layer_linears(), layer by layer.
[[nodiscard]] std::vector<Sensitivity> measure_sensitivity(const DecoderModel& ends, const DecoderTensors& tensors,
                                                           std::span<const QuantizationConfig> recipes,
                                                           std::size_t reference, const TokenBatch& tokens,
                                                           Executor& executor,
                                                           const std::function<void(std::size_t)>& layer);

}  // namespace qeff::nn
