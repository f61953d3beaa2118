/// @file
/// The `.qeff` artifact: one file that holds a compiled model, mapped read-only and run as it is.
///
///     bytes 0..7    magic "QEFF\r\n\x1a\n"      (a text-mode transfer breaks it visibly)
///     bytes 8..11   u32 version (1)             12..15  u32 zero
///     bytes 16..23  u64 bytes of the header     24..31  u64 XXH3-64 of the header
///     bytes 32..39  u64 bytes of the file       40..63  zero
///     then          header: JSON {"metadata": {...}, "entries": [{"name", "dtype", "shape",
///                   "offset", "nbytes", "xxh3"}]}, padded with spaces to a multiple of 64
///     then          the entries in order, each at the next multiple of 64 from the start of the
///                   file, zeros between them; the last one ends the file
///
/// All numbers little-endian; "xxh3" is XXH3-64 in 16 hexadecimal digits. Nothing in an artifact is
/// code. Every byte is checked: a file with any single byte changed is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/core/tensor_view.hpp"
#include "qeff/io/atomic_file.hpp"

namespace qeff {

inline constexpr std::uint32_t kArtifactVersion = 1;

/// An opened artifact; immutable, shareable between threads. Views point into the mapping.
class Artifact {
 public:
  struct Entry {
    std::string name;
    TensorView tensor;
    std::uint64_t xxh3;
  };

  /// @param verify  Check every entry's checksum (reads the whole file once, without keeping it).
  /// @throws IoError if it cannot be opened, FormatError if any rule above is broken, naming the
  ///         entry; Unsupported if its version is newer than this library.
  [[nodiscard]] static std::shared_ptr<const Artifact> open(const std::string& path,
                                                            bool verify = true);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& metadata() const noexcept { return metadata_; }  ///< JSON object
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] std::size_t file_bytes() const noexcept;
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  /// @throws FormatError naming the missing entry and up to five names that come close.
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;
  ~Artifact();

 private:
  Artifact();
  [[nodiscard]] const Entry* find(std::string_view name) const noexcept;
  std::string path_, metadata_;
  std::vector<Entry> entries_;
  std::vector<std::size_t> by_name_;  ///< Indices of entries_, sorted by name.
  std::unique_ptr<class MappedFile> file_;
};

/// Collects entries and writes the artifact atomically (temporary file, fsync, rename).
class ArtifactWriter {
 public:
  /// @param metadata_json  One JSON object. @throws FormatError if it is not.
  explicit ArtifactWriter(std::string metadata_json);
  ~ArtifactWriter();
  /// Borrowed: `bytes` must live until write(). @throws InvalidArgument on a duplicate name or a
  /// shape that does not give bytes.size().
  void add(std::string name, DType dtype, std::vector<std::size_t> shape,
           std::span<const std::byte> bytes);
  /// @param inputs  Files the content was made from: `path` may not be one of them.
  /// @throws IoError naming path and reason, InvalidArgument if `path` is an input; then nothing is
  ///         left at `path` but what was there.
  void write(const std::string& path, std::span<const std::string> inputs = {},
             Durability durability = Durability::machine) const;

 private:
  struct Pending;
  std::string metadata_;
  std::vector<Pending> entries_;
};

}  // namespace qeff
