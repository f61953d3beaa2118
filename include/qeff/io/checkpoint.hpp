/// @file
/// A model on disk as Hugging Face sees it: the text of config.json, named tensors, small files.
///
/// | on disk                                            | tensors                               |
/// |----------------------------------------------------|---------------------------------------|
/// | a directory with config.json                       | model.safetensors or its shards       |
/// | a GGUF file: llama, qwen2, qwen3                   | F32, F16, BF16, Q8_0, Q4_0, Q4_1      |
/// | a llama2.c file: legacy (7 int32) or version 1     | float32                               |
///
/// A llama2.c file has its tokenizer beside it: tok<vocabulary>*.bin or tokenizer.bin of llama2.c,
/// tok<vocabulary>*.model or tokenizer.model of SentencePiece.
///
/// The last two are translated: names of tensors, rows of the query and key projections (stored for
/// an interleaved rotary embedding, handed out for the one that rotates halves), config.json and
/// the tokenizer files are what transformers would have written for the same model.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/core/tensor_view.hpp"

namespace qeff {

class CheckpointSource;

/// How a tensor lies in its file.
struct StoredTensor {
  std::string_view type;  ///< As "bfloat16"; in a GGUF or llama2.c file as ggml calls it: "Q4_1".
  std::vector<std::size_t> shape;
  std::size_t bytes = 0;
};

/// An opened model; immutable. Views point into read-only mappings.
class Checkpoint {
 public:
  /// A directory: reads config.json and model.safetensors, or the shards of
  /// model.safetensors.index.json (names must be relative, without ".."). A file: its first bytes
  /// tell the format. Every file is validated whole before any tensor is handed out.
  /// @throws IoError, FormatError (file, tensor, offset); Unsupported for pickle-only directories,
  ///         with the command that converts them, and for GGUF architectures and types not above.
  [[nodiscard]] static std::shared_ptr<const Checkpoint> open(const std::string& path);

  /// The path that was opened: a directory or a file.
  [[nodiscard]] const std::string& directory() const noexcept { return path_; }
  [[nodiscard]] const std::string& config() const noexcept;  ///< Text of config.json.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  /// The tensor as it is stored.
  /// @throws FormatError naming the path, the tensor and up to five names that come close;
  ///         Unsupported if it is stored in blocks or in another order of rows: use floats().
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;
  /// The tensor as float32, whatever it is stored as. Nothing is kept.
  /// @throws as tensor(); Unsupported for integers; FormatError naming the tensor and the flat
  ///         index of the first NaN or Inf.
  [[nodiscard]] std::vector<float> floats(std::string_view name) const;
  /// Sizes of floats(), slowest dimension first: (out, in) of a projection.
  /// @throws FormatError as tensor().
  [[nodiscard]] std::vector<std::size_t> shape(std::string_view name) const;
  /// Whatever it is stored as. @throws FormatError as tensor().
  [[nodiscard]] StoredTensor stored(std::string_view name) const;
  /// Paths of the weight files, for AtomicFile: an output may not be one of them.
  [[nodiscard]] std::vector<std::string> files() const;
  /// Text of a small file of the directory (tokenizer, pooling), or empty if it is not there. A
  /// GGUF or llama2.c file has tokenizer.json, tokenizer_config.json and generation_config.json.
  /// @throws IoError; FormatError above 64 MiB, or if the tokenizer inside breaks its rules;
  ///         Unsupported for a GGUF tokenizer that qeff does not know.
  [[nodiscard]] std::string read_text(const std::string& relative_path) const;
  ~Checkpoint();

 private:
  Checkpoint(std::string path, std::unique_ptr<const CheckpointSource> source);
  void require_tensor(std::string_view name) const;
  std::string path_;
  std::unique_ptr<const CheckpointSource> source_;
};

/// The tensor as float32, whatever float type it is stored in.
/// @throws Unsupported for integer tensors; FormatError naming `name` and the flat index of the
///         first NaN or Inf.
[[nodiscard]] std::vector<float> to_float(const TensorView& tensor, std::string_view name,
                                          std::string_view file);

}  // namespace qeff
