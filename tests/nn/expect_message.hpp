/// @file
/// The message of an exception is part of the API: checks for what it must say.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace qeff::test {

/// Expects that `text` holds all of `parts`.
inline void expect_parts(const std::string& text, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

/// Expects that `call` throws a `Type` whose message holds all of `parts`.
template <class Type, class Call>
void expect_message(Call&& call, std::initializer_list<std::string_view> parts) {
  try {
    call();
  } catch (const Type& error) {
    expect_parts(error.what(), parts);
    return;
  }
  ADD_FAILURE() << "nothing was thrown; expected a message with: " << *parts.begin();
}

}  // namespace qeff::test
