#include "qeff/io/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <utility>

#include "io/errno_text.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {
namespace {

std::string temporary_name(const std::string& file_name) {
  static std::atomic<unsigned> counter{0};
  constexpr std::size_t kMaxNameBytes = 200;  // leaves room for the suffix below NAME_MAX
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return str(".", file_name.substr(0, kMaxNameBytes), ".tmp-", ::getpid(), "-", now, "-",
             counter++);
}

void sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_io_error(directory, "cannot be opened to be synchronized", errno);
  const int code = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // EINVAL: a file system on which directories cannot be synchronized.
  if (code != 0 && code != EINVAL) throw_io_error(directory, "cannot be synchronized", code);
}

}  // namespace

AtomicFile::AtomicFile(std::string path, std::span<const std::string> inputs)
    : path_(std::move(path)) {
  for (const std::string& input : inputs)
    require(!same_file(path_, input), "output '", path_, "' is the same file as the input '", input,
            "'; write to another path");
  const std::size_t slash = path_.rfind('/');
  directory_ = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  create_temporary();
}

void AtomicFile::create_temporary() {
  const std::string name = path_.substr(path_.rfind('/') + 1);
  struct stat old {};
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  if (name.empty() || (exists && S_ISDIR(old.st_mode)))
    throw_io_error(path_, "cannot be written", EISDIR);
  if (exists && !S_ISREG(old.st_mode))
    throw IoError(path_, "cannot be written: it exists and is not a regular file", EINVAL);
  const std::string prefix = directory_ == "." ? "" : directory_;
  for (int attempt = 0; fd_ < 0; ++attempt) {
    temporary_ = prefix + temporary_name(name);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && (errno != EEXIST || attempt == 16)) {
      const int code = errno;
      throw_io_error(path_, "cannot be written in directory '" + directory_ + "'", code);
    }
  }
  // Best effort: a replaced file keeps its permissions where the owner may set them.
  if (exists && ::fchmod(fd_, old.st_mode & 0777) != 0) errno = 0;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_io_error(path_, "cannot be written", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit(Durability durability) {
  const bool synchronized = durability == Durability::machine;
  if (synchronized && ::fsync(fd_) != 0) throw_io_error(path_, "cannot be synchronized", errno);
  if (::close(std::exchange(fd_, -1)) != 0) throw_io_error(path_, "cannot be closed", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw_io_error(path_, "cannot be replaced", errno);
  temporary_.clear();
  if (synchronized) sync_directory(directory_);
}

}  // namespace qeff
