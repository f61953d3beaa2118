/// @file
/// GGUF files, versions 2 and 3: validated whole, then mapped.
///
///     "GGUF" | u32 version | u64 tensors | u64 keys | keys: string, u32 type, value
///     | tensors: string name, u32 n, u64 size[n] (fastest first), u32 type, u64 offset
///     | padding to general.alignment | data
///
/// A string is a u64 length and its bytes. Guarantee: an opened file keeps within its bounds. Every
/// count and length fits what is left of the file before anything is allocated for it; keys and
/// tensor names are unique; every tensor is whole blocks, aligned, inside the file, and shares no
/// byte with another. Source: docs/gguf.md of ggml.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qeff/format/ggml_blocks.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {

/// Types of metadata values; the values are ids in files.
enum class GgufType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// An array of numbers or booleans where it lies in the file.
class GgufNumbers {
 public:
  /// @pre bytes.size() is a multiple of the size of `type`, which is neither string nor array
  GgufNumbers(GgufType type, std::span<const std::byte> bytes) noexcept
      : type_(type), bytes_(bytes) {}
  [[nodiscard]] GgufType type() const noexcept { return type_; }
  [[nodiscard]] std::size_t size() const noexcept;
  /// @pre i < size()
  [[nodiscard]] double operator[](std::size_t i) const noexcept;

 private:
  GgufType type_;
  std::span<const std::byte> bytes_;
};

/// Integers keep their sign; f32 is widened.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view,
                               GgufNumbers, std::vector<std::string_view>>;

struct GgufTensor {
  std::string_view name;
  GgmlType type = GgmlType::f32;
  std::vector<std::size_t> shape;  ///< Slowest dimension first, as numpy and Hugging Face say it.
  std::span<const std::byte> data;

  [[nodiscard]] std::size_t elements() const noexcept {
    return data.size() / info(type).block_bytes * info(type).block_elements;
  }
};

/// What a file says. Views point into the bytes it was parsed from.
struct GgufTable {
  std::uint32_t version = 0;
  std::map<std::string_view, GgufValue> metadata;
  std::vector<GgufTensor> tensors;  ///< In the order of the file.
};

/// @param file  Name for messages.
/// @throws FormatError naming file, key or tensor, and offset; Unsupported for version 1,
///         big-endian files and tensor types qeff does not read.
[[nodiscard]] GgufTable parse_gguf(std::span<const std::byte> bytes, const std::string& file);

/// Whether the bytes begin like a GGUF file.
[[nodiscard]] bool is_gguf(std::span<const std::byte> bytes) noexcept;

/// An opened file; immutable, shareable between threads. Views point into the mapping.
class GgufFile {
 public:
  /// @throws IoError; FormatError and Unsupported as parse_gguf().
  [[nodiscard]] static std::shared_ptr<const GgufFile> open(const std::string& path);
  explicit GgufFile(MappedFile file)
      : file_(std::move(file)), table_(parse_gguf(file_.bytes(), file_.path())) {}

  [[nodiscard]] const std::string& path() const noexcept { return file_.path(); }
  [[nodiscard]] const GgufTable& table() const noexcept { return table_; }

 private:
  MappedFile file_;
  GgufTable table_;
};

}  // namespace qeff
