/// @file
/// Values of GGUF metadata under the type they must have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/io/gguf.hpp"

namespace qeff {

/// Every getter returns nothing if the key is not there. @throws FormatError naming the key if its
/// value has another type.
class GgufMetadata {
 public:
  explicit GgufMetadata(const GgufFile& file) : GgufMetadata(file.table(), file.path()) {}
  /// Both are borrowed.
  GgufMetadata(const GgufTable& table, const std::string& file) : table_(table), file_(file) {}

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] std::optional<std::size_t> size(std::string_view key) const;
  /// @throws FormatError also if the number is not finite, or is beyond float32.
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  [[nodiscard]] std::optional<bool> flag(std::string_view key) const;
  [[nodiscard]] std::optional<std::string_view> text(std::string_view key) const;
  [[nodiscard]] const std::vector<std::string_view>* strings(std::string_view key) const;
  [[nodiscard]] const GgufNumbers* numbers(std::string_view key) const;
  /// As size(). @throws FormatError if the key is missing, or its value 0 or more than 2^31.
  [[nodiscard]] std::size_t required_size(std::string_view key) const;

 private:
  template <class T>
  const T* get(std::string_view key, std::string_view expected) const;
  const GgufValue* find(std::string_view key) const;

  const GgufTable& table_;
  const std::string& file_;
};

}  // namespace qeff
