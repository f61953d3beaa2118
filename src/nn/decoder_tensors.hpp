/// @file
/// The tensors of a decoder checkpoint in the order and layout of DecoderModel, checked and as
/// float32.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/checkpoint_tensors.hpp"
#include "nn/quantize_linear.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/decoder_architecture.hpp"

namespace qeff::nn {

/// The parts of one linear of DecoderModel: their rows follow each other.
struct LinearParts {
  std::vector<NamedWeight> weights;
  std::vector<float> bias;  ///< Of all rows, or empty.
};

class DecoderTensors {
 public:
  /// Finds the prefix of the names. @throws FormatError naming up to ten missing tensors.
  DecoderTensors(const Checkpoint& checkpoint, const DecoderShape& shape);

  [[nodiscard]] NamedWeight words() const;
  [[nodiscard]] std::vector<float> positions() const;  ///< (positions, hidden), or empty
  [[nodiscard]] LinearParts lm_head() const;
  [[nodiscard]] LinearParts qkv(std::size_t layer) const;
  [[nodiscard]] LinearParts attn_out(std::size_t layer) const;
  [[nodiscard]] LinearParts up(std::size_t layer) const;  ///< gate, then up
  [[nodiscard]] LinearParts down(std::size_t layer) const;
  /// Ready to multiply with: 1 is added where the model does. Empty: there is no such norm.
  [[nodiscard]] NormValues norm(std::string_view name, std::size_t n, std::size_t layer = 0) const;

 private:
  [[nodiscard]] std::string find_prefix() const;
  void require_all() const;
  [[nodiscard]] std::string stem(std::string_view name, std::size_t layer) const;
  [[nodiscard]] std::vector<float> read(const std::string& tensor, std::size_t rows, std::size_t cols) const;
  [[nodiscard]] NamedWeight matrix(std::string_view name, std::size_t n, std::size_t k, std::size_t layer) const;
  [[nodiscard]] std::vector<float> bias(std::string_view name, std::size_t n, std::size_t layer) const;
  [[nodiscard]] LinearParts single(std::string_view name, std::size_t n, std::size_t k, std::size_t layer) const;

  const Checkpoint& checkpoint_;
  const DecoderShape& shape_;
  const DecoderArchitecture& names_;
  std::string prefix_;
};

}  // namespace qeff::nn
