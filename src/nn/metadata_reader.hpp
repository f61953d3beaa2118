/// @file
/// Typed access to the JSON metadata of an artifact.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "qeff/core/error.hpp"

namespace qeff::nn {

inline constexpr std::size_t kMaxMetadataSize = std::size_t{1} << 31;

/// Typed access to the metadata of one artifact; whatever is wrong becomes a FormatError.
class MetadataReader {
 public:
  MetadataReader(const std::string& file, const nlohmann::ordered_json& json, std::string where)
      : file_(file), json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("is not an object");
  }

  /// A part of the same metadata.
  MetadataReader inside(const nlohmann::ordered_json& json, std::string where) const {
    return {file_, json, std::move(where)};
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(file_, fmt::format("metadata: {} {}", where_, what));
  }
  const nlohmann::ordered_json& at(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) fail(fmt::format("has no \"{}\"", key));
    return *it;
  }
  std::size_t size(const char* key, std::size_t least = 1) const {
    const nlohmann::ordered_json& value = at(key);
    if (!value.is_number_unsigned() || value.get<std::size_t>() < least ||
        value.get<std::size_t>() > kMaxMetadataSize)
      fail(fmt::format("\"{}\" is {}, not an integer from {} to {}", key, value.dump(), least,
                       kMaxMetadataSize));
    return value.get<std::size_t>();
  }
  bool boolean(const char* key) const {
    const nlohmann::ordered_json& value = at(key);
    if (!value.is_boolean())
      fail(fmt::format("\"{}\" is {}, not true or false", key, value.dump()));
    return value.get<bool>();
  }
  float number(const char* key) const {
    const nlohmann::ordered_json& value = at(key);
    if (!value.is_number()) fail(fmt::format("\"{}\" is {}, not a number", key, value.dump()));
    return value.get<float>();
  }
  std::string text(const char* key) const {
    const nlohmann::ordered_json& value = at(key);
    if (!value.is_string()) fail(fmt::format("\"{}\" is {}, not a string", key, value.dump()));
    return value.get<std::string>();
  }
  template <class Enum, std::size_t N>
  Enum one_of(const char* key, const std::array<std::string_view, N>& names) const {
    const std::string value = text(key);
    const auto it = std::ranges::find(names, value);
    if (it == names.end())
      fail(fmt::format("\"{}\" is \"{}\", which this version does not know", key, value));
    return static_cast<Enum>(it - names.begin());
  }

 private:
  const std::string& file_;
  const nlohmann::ordered_json& json_;
  std::string where_;
};

}  // namespace qeff::nn
