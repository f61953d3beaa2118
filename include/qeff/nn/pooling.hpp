/// @file
/// From the hidden states of a sequence to one embedding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qeff {

enum class Pooling : std::uint8_t { none, mean, cls, max };

/// "none", "mean", "cls", "max".
[[nodiscard]] std::string_view name(Pooling pooling) noexcept;
/// @throws InvalidArgument listing the names.
[[nodiscard]] Pooling pooling_from_name(std::string_view name);

/// out: (n) = pooling over the rows of states, (tokens, n). mean: sum of rows in order, divided;
/// cls: the first row; max: per column. @pre tokens > 0, pooling is not none
void pool(Pooling pooling, const float* states, std::size_t tokens, std::size_t n,
          float* out) noexcept;

/// x / max(|x|, 1e-12), as torch.nn.functional.normalize.
void normalize_l2(float* x, std::size_t n) noexcept;

}  // namespace qeff
