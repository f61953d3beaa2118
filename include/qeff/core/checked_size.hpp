/// @file
/// Sizes computed from untrusted numbers: every operation either is exact or says that it is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace qeff {

/// A size that remembers whether any step of its computation left the range of std::size_t.
///
///     const auto bytes = CheckedSize(rows) * cols * sizeof(float) + header;
///     if (!bytes.valid()) throw FormatError(...);
class CheckedSize {
 public:
  constexpr CheckedSize(std::size_t value) noexcept : value_(value) {}

  [[nodiscard]] constexpr bool valid() const noexcept { return valid_; }
  /// The size, or nothing after an overflow.
  [[nodiscard]] constexpr std::optional<std::size_t> get() const noexcept {
    return valid_ ? std::optional(value_) : std::nullopt;
  }
  /// @pre valid()
  [[nodiscard]] constexpr std::size_t value() const noexcept { return value_; }

  friend constexpr CheckedSize operator*(CheckedSize a, CheckedSize b) noexcept {
    CheckedSize result(0);
    const bool overflow = __builtin_mul_overflow(a.value_, b.value_, &result.value_);
    result.valid_ = a.valid_ && b.valid_ && !overflow;
    return result;
  }
  friend constexpr CheckedSize operator+(CheckedSize a, CheckedSize b) noexcept {
    CheckedSize result(0);
    const bool overflow = __builtin_add_overflow(a.value_, b.value_, &result.value_);
    result.valid_ = a.valid_ && b.valid_ && !overflow;
    return result;
  }
  /// Rounded up to a multiple of `alignment`, which is a power of two.
  [[nodiscard]] constexpr CheckedSize aligned(std::size_t alignment) const noexcept {
    CheckedSize result = *this + CheckedSize(alignment - 1);
    result.value_ &= ~(alignment - 1);
    return result;
  }

 private:
  std::size_t value_;
  bool valid_ = true;
};

/// `value` rounded up to a multiple of `multiple`. @pre no overflow: for trusted sizes only.
[[nodiscard]] constexpr std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace qeff
