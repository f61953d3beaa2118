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

  /// @param model  Its shape, embeddings and norms are read; it must outlive this.
  BlockLearner(const DecoderModel& model, const TokenBatch& batch, const AutoRoundConfig& config, Executor& executor);

  /// Takes the float states through the model's last block, and remembers the states of the quantized model
  /// before it.
  void begin(const BlockOf<LinearParts>& block, std::span<const float> quantized_states);
  /// Better codes and ranges than `start`. inputs: what its linears read.
  [[nodiscard]] LearnedBlock learn(const BlockOf<LinearParts>& block, const BlockOf<InputStatistics>& inputs,
                                   const BlockOf<const QuantizedMatrix*>& start, const OnStep& on_step);
  /// What a block leaves for the next one.
  [[nodiscard]] std::vector<std::span<float>> carried() { return floats_.carried(); }
  /// What begin() was given.
  [[nodiscard]] std::span<const float> inputs() const noexcept { return inputs_; }

 private:
  class Training;

  const DecoderModel& model_;
  AutoRoundConfig config_;
  Executor& executor_;
  std::vector<std::size_t> offsets_;  // of the sequences
  DecoderCalibration floats_;         // the states of the float model
  std::vector<float> inputs_;         // of the quantized model, before the block
};

}  // namespace qeff::nn
