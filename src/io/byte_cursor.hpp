/// @file
/// Reads an untrusted file front to back; no read leaves it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "io/little_endian.hpp"
#include "qeff/core/error.hpp"

namespace qeff {

class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(file) {}

  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - offset_; }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

  /// The next `n` bytes. `what` names them in the message. @throws FormatError
  [[nodiscard]] std::span<const std::byte> bytes(std::uint64_t n, std::string_view what) {
    if (n > remaining())
      throw FormatError(file_,
                        str(what, " takes ", n, " bytes, ", remaining(), " are left (truncated?)"),
                        offset_);
    const auto taken = bytes_.subspan(offset_, n);
    offset_ += n;
    return taken;
  }
  template <class T>
  [[nodiscard]] T number(std::string_view what) {
    return load_little_endian<T>(bytes(sizeof(T), what), 0);
  }
  /// A count of records that take at least `least` bytes each. @throws FormatError
  [[nodiscard]] std::size_t count(std::size_t least, std::string_view what) {
    const std::size_t at = offset_;
    const auto n = number<std::uint64_t>(what);
    check_count(n, least, what, at);
    return n;
  }
  /// @throws FormatError unless `n` records of at least `least` bytes fit what is left.
  void check_count(std::uint64_t n, std::size_t least, std::string_view what,
                   std::size_t at) const {
    if (n > remaining() / least)
      throw FormatError(file_,
                        str(what, " is ", n, ", more than the ", remaining(),
                            " bytes left can hold (truncated?)"),
                        at);
  }
  /// A u64 length and as many bytes.
  [[nodiscard]] std::string_view string(std::string_view what) {
    const auto text = bytes(number<std::uint64_t>(what), what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::size_t offset_ = 0;
};

}  // namespace qeff
