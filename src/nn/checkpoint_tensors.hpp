/// @file
/// The tensors of an encoder checkpoint under the names of its architecture, checked and as
/// float32.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/quantize_linear.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/architecture.hpp"

namespace qeff::nn {

/// weight and bias, (n) each.
struct NormValues {
  std::vector<float> gamma, beta;
};

class CheckpointTensors {
 public:
  /// Finds the prefix of the names.
  /// @throws FormatError naming up to ten of the tensors that are missing.
  CheckpointTensors(const Checkpoint& checkpoint, const EncoderShape& shape);

  /// @param name  A field of Architecture; "{}" becomes `layer`.
  /// @throws FormatError if the shape is another one; for NaN and Inf, naming tensor and index.
  [[nodiscard]] NamedWeight matrix(std::string_view name, std::size_t rows, std::size_t cols,
                                   std::size_t layer = 0) const;
  [[nodiscard]] std::vector<float> bias(std::string_view name, std::size_t n,
                                        std::size_t layer = 0) const;
  [[nodiscard]] NormValues norm(std::string_view name, std::size_t n, std::size_t layer = 0) const;

  [[nodiscard]] const Architecture& architecture() const noexcept { return architecture_; }

 private:
  [[nodiscard]] std::string find_prefix() const;
  void require_all(std::size_t layers) const;
  [[nodiscard]] std::vector<std::string> required(std::size_t layers) const;
  [[nodiscard]] std::string stem(std::string_view name, std::size_t layer) const;
  [[nodiscard]] std::string stored(const std::string& tensor) const;
  [[nodiscard]] std::vector<float> read(const std::string& tensor,
                                        const std::vector<std::size_t>& shape) const;

  const Checkpoint& checkpoint_;
  const Architecture& architecture_;
  std::string prefix_;
};

}  // namespace qeff::nn
