/// @file
/// safetensors files: validated whole, then mapped.
///
///     u64 N, little-endian | N bytes of JSON: name → {dtype, shape, data_offsets [begin, end)} |
///     data
///
/// Guarantee: an opened file breaks no rule of the format. N <= 100 000 000 and inside the file; no
/// duplicate keys; the ranges tile the data without hole, overlap or rest; each range has exactly
/// the bytes of its dtype and shape, computed without overflow; `__metadata__` is string → string.
/// Source: the README and reference reader of huggingface/safetensors.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qeff/core/tensor_view.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {

using StringPairs = std::vector<std::pair<std::string, std::string>>;

struct NamedTensor {
  std::string name;
  TensorView tensor;
};

/// What a header says. Views point into the bytes it was parsed from.
struct SafetensorsTable {
  std::vector<NamedTensor> tensors;  ///< In the order of their data.
  StringPairs metadata;              ///< Sorted by key.
};

/// @param file  Name for messages.
/// @throws FormatError naming file, tensor and offset; Unsupported for a dtype qeff does not know.
[[nodiscard]] SafetensorsTable parse_safetensors(std::span<const std::byte> bytes,
                                                 const std::string& file);

/// An opened file; immutable, shareable between threads. Views point into the mapping.
class SafetensorsFile {
 public:
  /// @throws IoError; FormatError and Unsupported as parse_safetensors().
  [[nodiscard]] static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  [[nodiscard]] const std::string& path() const noexcept { return file_.path(); }
  [[nodiscard]] const std::vector<NamedTensor>& tensors() const noexcept { return table_.tensors; }
  [[nodiscard]] const StringPairs& metadata() const noexcept { return table_.metadata; }
  /// Where the tensor's data begins in the file.
  [[nodiscard]] std::size_t offset(const TensorView& tensor) const noexcept {
    return static_cast<std::size_t>(tensor.data - file_.bytes().data());
  }

 private:
  explicit SafetensorsFile(MappedFile file)
      : file_(std::move(file)), table_(parse_safetensors(file_.bytes(), file_.path())) {}
  MappedFile file_;
  SafetensorsTable table_;
};

/// Writes the tensors atomically, widest elements first, then by name; the header is padded so that
/// the data is 8-byte aligned.
/// @throws InvalidArgument on a duplicate name, a byte count that is not the one of dtype and
/// shape,
///         or a dtype the format does not have; IoError.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const StringPairs& metadata = {}, std::span<const std::string> inputs = {});

}  // namespace qeff
