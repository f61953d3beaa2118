/// @file
/// Where things are in an artifact; shared by its reader and its writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qeff::artifact_layout {

inline constexpr std::string_view kMagic{"QEFF\r\n\x1a\n", 8};
inline constexpr std::size_t kVersion = 8;
inline constexpr std::size_t kReserved = 12;
inline constexpr std::size_t kHeaderBytes = 16;
inline constexpr std::size_t kHeaderHash = 24;
inline constexpr std::size_t kFileBytes = 32;
inline constexpr std::size_t kReservedTail = 40;
inline constexpr std::size_t kPrefixBytes = 64;
inline constexpr std::size_t kAlignment = 64;
inline constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 20;

}  // namespace qeff::artifact_layout
