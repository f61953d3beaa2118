#include "io/gguf_metadata.hpp"

#include <cmath>
#include <limits>

#include "qeff/core/error.hpp"

namespace qeff {

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = table_.metadata.find(key);
  return found == table_.metadata.end() ? nullptr : &found->second;
}

template <class T>
const T* GgufMetadata::get(std::string_view key, std::string_view expected) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) throw FormatError(file_, str("key '", key, "' is not ", expected));
  return typed;
}

std::optional<std::size_t> GgufMetadata::size(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* natural = std::get_if<std::uint64_t>(value)) return *natural;
  if (const auto* integer = std::get_if<std::int64_t>(value); integer != nullptr && *integer >= 0)
    return static_cast<std::size_t>(*integer);
  throw FormatError(file_, str("key '", key, "' is not one non-negative integer"));
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const auto* value = get<double>(key, "a number");
  if (value == nullptr) return std::nullopt;
  if (!(std::abs(*value) <= std::numeric_limits<float>::max()))
    throw FormatError(file_, str("key '", key, "' is not a finite float"));
  return *value;
}

std::optional<bool> GgufMetadata::flag(std::string_view key) const {
  const auto* value = get<bool>(key, "a boolean");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string_view> GgufMetadata::text(std::string_view key) const {
  const auto* value = get<std::string_view>(key, "a string");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::vector<std::string_view>* GgufMetadata::strings(std::string_view key) const {
  return get<std::vector<std::string_view>>(key, "an array of strings");
}

const GgufNumbers* GgufMetadata::numbers(std::string_view key) const {
  return get<GgufNumbers>(key, "an array of numbers");
}

std::size_t GgufMetadata::required_size(std::string_view key) const {
  constexpr std::size_t kMost = std::size_t{1} << 31;
  const auto value = size(key);
  if (!value) throw FormatError(file_, str("has no key '", key, "'"));
  if (*value == 0 || *value > kMost)
    throw FormatError(file_, str("key '", key, "' is ", *value, ", 1 to ", kMost, " are allowed"));
  return *value;
}

}  // namespace qeff
