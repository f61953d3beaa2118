/// @file
/// A regular file mapped read-only: the memory every tensor view points into.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace qeff {

/// Owns the mapping, not a descriptor. Movable, not copyable; shareable between threads.
///
/// The file must not be truncated while it is mapped: the operating system then kills the reader.
/// qeff itself replaces files by rename, which leaves open mappings intact.
class MappedFile {
 public:
  /// @throws IoError if the file cannot be opened or mapped, or is not a regular file.
  [[nodiscard]] static MappedFile open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Empty for an empty file.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  MappedFile() = default;
  std::string path_;
  std::span<const std::byte> bytes_;
};

/// Gives the resident pages that lie wholly inside a part of a mapped file back to the operating
/// system; a later read brings them back. Content never changes.
/// @pre `part` lies in the bytes() of a MappedFile: other memory would lose its content
void drop_pages(std::span<const std::byte> part) noexcept;

/// Whether both paths exist and name the same file (device and inode), through any link.
[[nodiscard]] bool same_file(const std::string& a, const std::string& b) noexcept;

/// The whole of a small file as text.
/// @throws IoError; FormatError above `max_bytes`.
[[nodiscard]] std::string read_text_file(const std::string& path, std::size_t max_bytes);

}  // namespace qeff
