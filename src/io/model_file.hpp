/// @file
/// A model in one file that names and orders its tensors in its own way, in the Hugging Face view.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_source.hpp"
#include "qeff/format/ggml_blocks.hpp"

namespace qeff {

/// A tensor as the file stores it.
struct ModelTensor {
  GgmlType type = GgmlType::f32;
  std::vector<std::size_t> shape;  ///< Slowest dimension first.
  std::span<const std::byte> data;
  /// Not 0: the rows are those of so many heads, each in the order of an interleaved rotary
  /// embedding: row 2i + p of a head is row p d/2 + i of d in the Hugging Face order.
  std::size_t interleaved_heads = 0;
};

/// Everything a format has to find out about its file.
struct ModelParts {
  std::string config;  ///< Text of config.json.
  std::map<std::string, ModelTensor, std::less<>> tensors;
  /// Small files by name, written when they are asked for.
  std::map<std::string, std::function<std::string()>, std::less<>> texts;
};

/// @param path   For messages and files().
/// @param owner  Keeps the bytes that `parts` points into: those of a MappedFile.
/// @throws FormatError if the rows of a tensor are not those of its heads.
[[nodiscard]] std::unique_ptr<const CheckpointSource> make_model_file(
    std::string path, ModelParts parts, std::shared_ptr<const void> owner);

}  // namespace qeff
