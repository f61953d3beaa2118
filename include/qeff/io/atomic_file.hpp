/// @file
/// A file that appears whole or not at all.
///
/// Temporary file `.name.tmp-<pid>-<n>` in the directory of the target, every write and the close
/// checked, fsync, rename, fsync of the directory. Until commit() returns, what was at the path is
/// untouched; whoever had it mapped keeps the old content.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace qeff {

/// What a file that is committed survives.
enum class Durability {
  machine,  ///< a loss of power: synchronized
  process   ///< the end of the process, however it comes: for files that are checked before use
};

/// One output file. Not thread-safe.
class AtomicFile {
 public:
  /// @param inputs  Files the content is made from.
  /// @throws InvalidArgument if `path` is one of `inputs`, through any link; IoError if it is a
  ///         directory or another special file, or its directory is missing or not writable.
  explicit AtomicFile(std::string path, std::span<const std::string> inputs = {});
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless committed.
  ~AtomicFile();

  /// @throws IoError (disk full, …).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Makes the file durable and visible. Call once, last. @throws IoError; then the old file
  /// remains.
  void commit(Durability durability = Durability::machine);

 private:
  void create_temporary();
  std::string path_, directory_, temporary_;
  int fd_ = -1;
};

}  // namespace qeff
