/// @file
/// Learned rounding of the linears of one decoder block: the block on what the quantized blocks before it compute
/// is to give what the float block gives on what the float blocks before it compute.
///
///     loss = mean over tokens of |block(x; W') - block_float(x_float; W)|^2
///
/// calib/learned_rounding.hpp says what is learned, and from where.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "nn/decoder_calibration.hpp"
#include "nn/decoder_tensors.hpp"
#include "qeff/nn/quantization_config.hpp"

namespace qeff::nn {

struct LearnedBlock {
  BlockOf<QuantizedMatrix> matrices;
  double loss_before = 0, loss = 0;  ///< On the same sequences.
  int best_step = 0;                 ///< After which the matrices were best; 0: the start was.
};

class BlockLearner {
 public:
  /// Called before each step; an exception of it stops the work.
  using OnStep = std::function<void(int step, int steps)>;

  /// @param model   Its shape, embeddings and norms are read.
  /// @param floats  The batch on its way through the float model. Both must outlive this.
  BlockLearner(const DecoderModel& model, const DecoderCalibration& floats, const TokenBatch& batch,
               const QuantizationConfig& config, Executor& executor);

  /// Remembers the states of the quantized model before its last block.
  void begin(std::span<const float> quantized_states);
  /// Better codes and ranges than `start`. inputs: what its linears read. The float states are those behind the block.
  [[nodiscard]] LearnedBlock learn(const BlockOf<LinearParts>& block, const BlockOf<InputStatistics>& inputs,
                                   const BlockOf<const QuantizedMatrix*>& start, const OnStep& on_step);
  /// What begin() was given.
  [[nodiscard]] std::span<const float> inputs() const noexcept { return inputs_; }

 private:
  class Training;

  const DecoderModel& model_;
  const DecoderCalibration& floats_;
  const QuantizationConfig& config_;
  Executor& executor_;
  std::vector<std::size_t> offsets_;  // of the sequences
  std::vector<float> inputs_;         // of the quantized model, before the block
};

}  // namespace qeff::nn
