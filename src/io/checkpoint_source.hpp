/// @file
/// What a Checkpoint asks of a format.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/core/tensor_view.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {

/// One opened model in the Hugging Face view; immutable.
class CheckpointSource {
 public:
  CheckpointSource() = default;
  CheckpointSource(const CheckpointSource&) = delete;
  CheckpointSource& operator=(const CheckpointSource&) = delete;
  virtual ~CheckpointSource() = default;

  [[nodiscard]] virtual const std::string& config() const noexcept = 0;
  [[nodiscard]] virtual std::vector<std::string_view> names() const = 0;  ///< Sorted.
  [[nodiscard]] virtual bool contains(std::string_view name) const noexcept = 0;
  /// @pre contains(name), here and below
  [[nodiscard]] virtual const TensorView& tensor(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<float> floats(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<std::size_t> shape(std::string_view name) const = 0;
  [[nodiscard]] virtual StoredTensor stored(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<std::string> files() const = 0;
  /// @pre stays_inside(relative_path)
  [[nodiscard]] virtual std::string read_text(const std::string& relative_path) const = 0;
};

/// Each throws as Checkpoint::open().
[[nodiscard]] std::unique_ptr<const CheckpointSource> open_directory(const std::string& directory);
[[nodiscard]] std::unique_ptr<const CheckpointSource> open_gguf_model(MappedFile file);
[[nodiscard]] std::unique_ptr<const CheckpointSource> open_llama2c_model(MappedFile file);

}  // namespace qeff
