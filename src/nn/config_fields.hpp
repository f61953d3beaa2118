/// @file
/// Fields of a config.json.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "qeff/kernels/matmul.hpp"

namespace qeff::nn {

using Json = nlohmann::json;

/// Discarded if the text is not JSON.
[[nodiscard]] Json parse_config(const std::string& text);

/// By the names transformers has for it; nothing if there is no kernel.
[[nodiscard]] std::optional<Activation> activation_from_name(std::string_view name);

/// The field if it is there and of that type.
template <class T>
T field(const Json& config, std::string_view key, T otherwise) {
  const auto it = config.find(key);
  if constexpr (std::is_same_v<T, bool>) {
    return it != config.end() && it->is_boolean() ? it->get<bool>() : otherwise;
  } else if constexpr (std::is_same_v<T, std::string>) {
    return it != config.end() && it->is_string() ? it->get<std::string>() : otherwise;
  } else {
    return it != config.end() && it->is_number() ? it->get<T>() : otherwise;
  }
}

/// A size that must be there, from 1 to 2^31. @throws FormatError naming file and field
[[nodiscard]] std::size_t size_field(const Json& config, std::string_view key,
                                     const std::string& file);

}  // namespace qeff::nn
