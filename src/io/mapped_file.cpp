#include "qeff/io/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "io/errno_text.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

/// Closes on scope exit; a failing close after reading loses nothing.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::size_t regular_file_bytes(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_io_error(path, "cannot be examined", errno);
  if (S_ISDIR(status.st_mode)) throw_io_error(path, "is not a file", EISDIR);
  if (!S_ISREG(status.st_mode)) throw IoError(path, "is not a regular file", EINVAL);
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace

MappedFile MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must fail below, not wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  if (file.fd < 0) throw_io_error(path, "cannot be opened", errno);
  MappedFile mapped;
  mapped.path_ = path;
  const std::size_t size = regular_file_bytes(file.fd, path);
  if (size == 0) return mapped;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) throw_io_error(path, "cannot be mapped", errno);
  mapped.bytes_ = {static_cast<const std::byte*>(data), size};
  return mapped;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void drop_pages(std::span<const std::byte> part) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(part.data());
  const std::uintptr_t begin = (first + page - 1) / page * page, end = (first + part.size()) / page * page;
  if (begin >= end) return;
  // Advice only: a refusal costs memory, not correctness.
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

bool same_file(const std::string& a, const std::string& b) noexcept {
  struct stat status_a {
  }, status_b{};
  return ::stat(a.c_str(), &status_a) == 0 && ::stat(b.c_str(), &status_b) == 0 &&
         status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

std::string read_text_file(const std::string& path, std::size_t max_bytes) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes)
    throw FormatError(path, str("has ", bytes.size(), " bytes, at most ", max_bytes, " expected"));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace qeff
