/// @file
/// A Hugging Face model directory: config.json and the tensors of its safetensors file(s).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/core/tensor_view.hpp"

namespace qeff {

/// An opened directory; immutable. Views point into read-only mappings.
class Checkpoint {
 public:
  /// Reads config.json and model.safetensors, or the shards of model.safetensors.index.json (names
  /// must be relative, without ".."). Every file is validated whole before any tensor is handed
  /// out.
  /// @throws IoError, FormatError (file, tensor, offset); Unsupported for pickle-only directories,
  ///         with the command that converts them.
  [[nodiscard]] static std::shared_ptr<const Checkpoint> open(const std::string& directory);

  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  [[nodiscard]] const std::string& config() const noexcept {
    return config_;
  }  ///< text of config.json
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  /// @throws FormatError naming the directory, the tensor and up to five names that come close.
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;
  /// Paths of the weight files, for AtomicFile: an output may not be one of them.
  [[nodiscard]] std::vector<std::string> files() const;
  /// Text of a small file of the directory (tokenizer, pooling), or empty if it is not there.
  /// @throws IoError, FormatError above 64 MiB.
  [[nodiscard]] std::string read_text(const std::string& relative_path) const;
  ~Checkpoint();

 private:
  Checkpoint();
  std::string directory_, config_;
  struct Files;
  std::unique_ptr<Files> files_;
};

/// The tensor as float32, whatever float type it is stored in.
/// @throws Unsupported for integer tensors; FormatError naming `name` and the flat index of the
///         first NaN or Inf.
[[nodiscard]] std::vector<float> to_float(const TensorView& tensor, std::string_view name,
                                          std::string_view file);

}  // namespace qeff
