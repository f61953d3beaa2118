/// @file
/// The errors of qeff. Every one names the offender: argument, file, tensor, offset, value.
///
/// Python sees each class as its own type and as the natural builtin
/// (InvalidArgument, FormatError, Unsupported: ValueError; IoError: OSError).
#pragma once

#include <cstddef>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace qeff {

/// Base of all errors thrown on purpose by the library.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A wrong argument of a caller: shape, range, name.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// Something valid that this build or format cannot do; the message says what to do instead.
class Unsupported : public Error {
 public:
  using Error::Error;
};

/// A file whose bytes break the rules of its format.
class FormatError : public Error {
 public:
  FormatError(std::string file, const std::string& what, std::optional<std::size_t> offset = {})
      : Error(file + ": " + what + (offset ? " (at byte " + std::to_string(*offset) + ")" : "")),
        file_(std::move(file)),
        offset_(offset) {}

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] std::optional<std::size_t> offset() const noexcept { return offset_; }

 private:
  std::string file_;
  std::optional<std::size_t> offset_;
};

/// The operating system refused: carries errno.
class IoError : public Error {
 public:
  IoError(std::string file, const std::string& what, int code)
      : Error(file + ": " + what), file_(std::move(file)), code_(code) {}

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] int code() const noexcept { return code_; }  ///< errno

 private:
  std::string file_;
  int code_;
};

/// The parts joined to one string, as `<<` prints them.
template <class... Parts>
[[nodiscard]] std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws InvalidArgument made of `parts` unless `ok`. For the public border, before anything is
/// written; code below the border is noexcept and trusts its arguments.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) throw InvalidArgument(str(parts...));
}

}  // namespace qeff
