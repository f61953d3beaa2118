/// @file
/// JSON from untrusted files: bounded, without duplicate keys, every error with file and offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace qeff {

struct JsonLimits {
  std::size_t max_bytes = std::size_t{64} << 20;
  std::size_t max_depth = 64;  ///< Nested arrays and objects.
};

/// @param file    Name for messages.
/// @param offset  Where in the file `text` begins, added to reported offsets.
/// @throws FormatError on anything but one strictly valid JSON document within the limits.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, const std::string& file,
                                        JsonLimits limits = {}, std::size_t offset = 0);

/// A number written as a non-negative integer (not 16.0, 1e1, -0). `what` names it in the message.
/// @throws FormatError
[[nodiscard]] std::uint64_t json_unsigned(const nlohmann::json& value, const std::string& file,
                                          const std::string& what);

/// The member `key` of `object`, which must be an object and have it. @throws FormatError
[[nodiscard]] const nlohmann::json& json_member(const nlohmann::json& object, const char* key,
                                                const std::string& file, const std::string& what);

/// A string. @throws FormatError
[[nodiscard]] const std::string& json_string(const nlohmann::json& value, const std::string& file,
                                             const std::string& what);

}  // namespace qeff
