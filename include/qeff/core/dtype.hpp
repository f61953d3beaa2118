/// @file
/// Element types known at run time, and the one table of their names and widths.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace qeff {

/// Element type of a stored tensor. The values are part of the artifact format: never reorder.
enum class DType : std::uint8_t {
  f64, f32, f16, bf16, e4m3, e5m2, e2m1, e8m0, i64, i32, i16, i8, u64, u32, u16, u8, boolean, i4, u4
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;         ///< qeff and numpy/ml_dtypes name
  std::string_view safetensors;  ///< name in a safetensors header, empty if none
  std::size_t bits;
  bool is_float;
};

inline constexpr std::array<DTypeInfo, 19> kDTypes{{
    {DType::f64, "float64", "F64", 64, true},
    {DType::f32, "float32", "F32", 32, true},
    {DType::f16, "float16", "F16", 16, true},
    {DType::bf16, "bfloat16", "BF16", 16, true},
    {DType::e4m3, "float8_e4m3fn", "F8_E4M3", 8, true},
    {DType::e5m2, "float8_e5m2", "F8_E5M2", 8, true},
    {DType::e2m1, "float4_e2m1fn", "F4", 4, true},
    {DType::e8m0, "float8_e8m0fnu", "F8_E8M0", 8, true},
    {DType::i64, "int64", "I64", 64, false},
    {DType::i32, "int32", "I32", 32, false},
    {DType::i16, "int16", "I16", 16, false},
    {DType::i8, "int8", "I8", 8, false},
    {DType::u64, "uint64", "U64", 64, false},
    {DType::u32, "uint32", "U32", 32, false},
    {DType::u16, "uint16", "U16", 16, false},
    {DType::u8, "uint8", "U8", 8, false},
    {DType::boolean, "bool", "BOOL", 8, false},
    {DType::i4, "int4", "", 4, false},
    {DType::u4, "uint4", "", 4, false},
}};

[[nodiscard]] constexpr const DTypeInfo& info(DType dtype) noexcept {
  return kDTypes[static_cast<std::size_t>(dtype)];
}

/// The type with this qeff name or safetensors name.
[[nodiscard]] constexpr std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const auto& entry : kDTypes)
    if (name == entry.name || (!name.empty() && name == entry.safetensors)) return entry.dtype;
  return std::nullopt;
}

}  // namespace qeff
