/// @file
/// Parts of tokenizer.json that all kinds of tokenizers share.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace qeff::tokenizer_json {

using Json = nlohmann::json;

inline const std::string kFile = "tokenizer.json";

/// The member `key`; `what` names the object. @throws FormatError
[[nodiscard]] const Json& member(const Json& object, const char* key, const std::string& what);
/// The member `key` of `object`; null if it is not there or is null.
[[nodiscard]] const Json* find_member(const Json& object, const char* key);
/// The string at `key`. @throws FormatError
[[nodiscard]] const std::string& string_member(const Json& object, const char* key,
                                               const std::string& what);
/// The array at `key`. @throws FormatError
[[nodiscard]] const Json& array_member(const Json& object, const char* key,
                                       const std::string& what);
[[nodiscard]] bool flag(const Json& object, const char* key, bool otherwise);
/// @throws FormatError unless `value` is an integer from 0 on that int32 holds.
[[nodiscard]] std::int32_t token_id(const Json& value, const std::string& what);
/// The "type" of a component. @throws FormatError
[[nodiscard]] const std::string& type_of(const Json& component, const std::string& what);
/// @throws Unsupported: tokenizer.json: `what`, and what to do instead.
[[noreturn]] void refuse(const std::string& what);

/// What a post_processor puts before and after one text.
struct Template {
  std::vector<std::int32_t> prefix, suffix;
};
/// Of the document. @throws FormatError; Unsupported naming the type.
[[nodiscard]] Template parse_post_processor(const Json& document);

}  // namespace qeff::tokenizer_json
