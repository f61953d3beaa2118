/// @file
/// GGUF files made by hand, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "qeff/io/gguf.hpp"

namespace qeff::testing {

template <class T>
std::string raw(const T& value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <class T>
std::string raw(const std::vector<T>& values) {
  std::string bytes;
  for (const T& value : values) bytes += raw(value);
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return raw<std::uint64_t>(text.size()).append(text);
}

class GgufBytes {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t more_keys = 0, more_tensors = 0;  ///< Added to the true counts.
  std::size_t alignment = 32;

  /// Any value: what comes after the type.
  GgufBytes& value(std::string_view key, GgufType type, const std::string& bytes) {
    keys_ += gguf_string(key) + raw(type) + bytes;
    ++key_count_;
    return *this;
  }
  GgufBytes& size(std::string_view key, std::uint32_t number) {
    return value(key, GgufType::u32, raw(number));
  }
  GgufBytes& number(std::string_view key, float number) {
    return value(key, GgufType::f32, raw(number));
  }
  GgufBytes& flag(std::string_view key, bool on) {
    return value(key, GgufType::boolean, std::string(1, on ? '\1' : '\0'));
  }
  GgufBytes& text(std::string_view key, std::string_view content) {
    return value(key, GgufType::string, gguf_string(content));
  }
  GgufBytes& strings(std::string_view key, const std::vector<std::string>& list) {
    std::string bytes = raw(GgufType::string) + raw<std::uint64_t>(list.size());
    for (const std::string& entry : list) bytes += gguf_string(entry);
    return value(key, GgufType::array, bytes);
  }
  template <class T>
  GgufBytes& numbers(std::string_view key, GgufType type, const std::vector<T>& list) {
    return value(key, GgufType::array, raw(type) + raw<std::uint64_t>(list.size()) + raw(list));
  }

  /// A tensor with its data behind those before. @param sizes  Fastest first, as in the file.
  GgufBytes& tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, GgmlType type,
                    const std::string& data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    entry(name, sizes, static_cast<std::uint32_t>(type), data_.size());
    data_ += data;
    return *this;
  }
  /// Only the entry.
  GgufBytes& entry(std::string_view name, const std::vector<std::uint64_t>& sizes,
                   std::uint32_t type, std::uint64_t offset) {
    tensors_ += gguf_string(name) + raw(static_cast<std::uint32_t>(sizes.size())) + raw(sizes) +
                raw(type) + raw(offset);
    ++tensor_count_;
    return *this;
  }

  [[nodiscard]] std::string bytes() const {
    std::string file = magic + raw(version) + raw(tensor_count_ + more_tensors) +
                       raw(key_count_ + more_keys) + keys_ + tensors_;
    if (tensor_count_ != 0) file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

 private:
  std::string keys_, tensors_, data_;
  std::uint64_t key_count_ = 0, tensor_count_ = 0;
};

/// Something of every kind.
inline GgufBytes some_gguf() {
  GgufBytes file;
  file.text("general.architecture", "llama").size("llama.block_count", 1);
  file.number("f", 0.5f).flag("on", true).strings("words", {"a", "", "bc"});
  file.numbers<std::int16_t>("list", GgufType::i16, {1, -2, 3});
  file.tensor("a", {2, 3}, GgmlType::f32, raw(std::vector<float>{1, 2, 3, 4, 5, 6}));
  file.tensor("b", {32, 2}, GgmlType::q8_0, std::string(2 * sizeof(BlockQ8_0), '\1'));
  return file;
}

}  // namespace qeff::testing
