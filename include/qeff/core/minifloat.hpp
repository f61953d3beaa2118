/// @file
/// Small floating point formats: f16, bf16, E4M3FN, E5M2, E2M3, E3M2, E2M1 and the scale E8M0.
///
///     value = (-1)^s * 2^(e - bias) * (1 + m / 2^M)      e > 0
///     value = (-1)^s * 2^(1 - bias) * m / 2^M            e = 0
///
/// From float: to nearest, ties to even, subnormals included; the result equals ml_dtypes' for
/// every float. What is beyond the largest value becomes that value when saturating (infinities
/// too, as in ONNX Cast), else infinity, or NaN where there is none. To float: exact.
///
/// Source: IEEE 754-2019; P. Micikevicius et al., "FP8 formats for deep learning", 2022; OCP
/// Microscaling Formats (MX) v1.0, section 5.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace qeff {

/// What the codes at the upper end of a format mean.
enum class Specials : std::uint8_t {
  ieee,      ///< the last exponent is infinity and NaN
  nan_only,  ///< the last code of each sign is NaN; no infinity
  none,      ///< every code is a number; out of range always saturates, NaN becomes a zero
  scale      ///< E8M0: no sign, no zero: code e is 2^(e - bias), 0xFF is NaN
};

/// A format with `E` exponent bits and `M` mantissa bits.
template <int E, int M, int Bias, Specials S>
struct FloatFormat {
  static constexpr int kExponentBits = E;
  static constexpr int kMantissaBits = M;
  static constexpr int kBias = Bias;
  static constexpr Specials kSpecials = S;
  static constexpr int kBits = E + M + (S == Specials::scale ? 0 : 1);
  using Bits = std::conditional_t<(kBits > 8), std::uint16_t, std::uint8_t>;

  static constexpr std::uint32_t kSign = S == Specials::scale ? 0 : 1u << (E + M);
  static constexpr std::uint32_t kLast = (1u << (E + M)) - 1;           ///< All ones but the sign.
  static constexpr std::uint32_t kInfinity = kLast & ~((1u << M) - 1);  ///< ieee only
  static constexpr std::uint32_t kMax = S == Specials::none   ? kLast
                                        : S == Specials::ieee ? kInfinity - 1
                                                              : kLast - 1;
};

using F16 = FloatFormat<5, 10, 15, Specials::ieee>;
using BF16 = FloatFormat<8, 7, 127, Specials::ieee>;
using E4M3 = FloatFormat<4, 3, 7, Specials::nan_only>;
using E5M2 = FloatFormat<5, 2, 15, Specials::ieee>;
using E2M3 = FloatFormat<2, 3, 1, Specials::none>;
using E3M2 = FloatFormat<3, 2, 3, Specials::none>;
using E2M1 = FloatFormat<2, 1, 1, Specials::none>;
using E8M0 = FloatFormat<8, 0, 127, Specials::scale>;

namespace detail {

inline constexpr std::uint32_t kFloatInfinity = 0x7F800000u;

/// `value` / 2^shift, to nearest, ties to even. @pre value < 2^25, shift >= 0
[[nodiscard]] constexpr std::uint32_t shift_half_even(std::uint32_t value, int shift) noexcept {
  if (shift == 0) return value;
  if (shift > 25) return 0;
  const std::uint32_t half = 1u << (shift - 1);
  const std::uint32_t odd = (value >> shift) & 1u;
  return (value + half - 1u + odd) >> shift;
}

/// Code of a finite magnitude (the bits of a float without sign), as if exponents had no end.
template <class F>
[[nodiscard]] constexpr std::uint32_t round_magnitude(std::uint32_t bits) noexcept {
  const auto field = static_cast<int>(bits >> 23);
  const std::uint32_t mantissa = (bits & 0x7FFFFFu) | (field ? 0x800000u : 0u);
  const int exponent = (field ? field : 1) - 127;
  constexpr int kLeast = 1 - F::kBias;
  const int shift = 23 - F::kMantissaBits + (exponent < kLeast ? kLeast - exponent : 0);
  const std::uint32_t rounded = shift_half_even(mantissa, shift);
  // The leading one of a normal mantissa adds the missing 1 to the exponent field.
  const int base = exponent < kLeast ? 0 : exponent - kLeast;
  return (static_cast<std::uint32_t>(base) << F::kMantissaBits) + rounded;
}

template <class F>
[[nodiscard]] constexpr std::uint32_t nan_code(std::uint32_t sign) noexcept {
  if constexpr (F::kSpecials == Specials::none) return sign ^ F::kSign;
  if constexpr (F::kSpecials == Specials::ieee)
    return sign | F::kInfinity | (1u << (F::kMantissaBits - 1));
  return sign | F::kLast;
}

template <class F>
[[nodiscard]] constexpr std::uint32_t overflow_code(bool saturate) noexcept {
  if (saturate || F::kSpecials == Specials::none) return F::kMax;
  return F::kSpecials == Specials::ieee ? F::kInfinity : F::kLast;
}

/// 2^exponent for every exponent of a float, subnormals included.
[[nodiscard]] constexpr float power_of_two(int exponent) noexcept {
  const auto bits =
      exponent >= -126 ? static_cast<std::uint32_t>(exponent + 127) << 23 : 1u << (exponent + 149);
  return std::bit_cast<float>(bits);
}

}  // namespace detail

/// How a scale that is not a power of two becomes one.
enum class ScaleRounding : std::uint8_t {
  nearest,  ///< ties upwards; as ml_dtypes, between 2^-127 and 2^-126 always upwards
  up,       ///< the least power of two that is not less
  down      ///< the largest power of two that is not more
};

/// E8M0 code of a scale. Negative values, infinity and NaN give NaN (0xFF); what is below 2^-127
/// gives 0x00. Zero and more than 2^127 give the nearest end of the range when saturating, else
/// NaN.
[[nodiscard]] constexpr std::uint8_t to_e8m0(float x, ScaleRounding rounding,
                                             bool saturate = true) noexcept {
  constexpr auto kNan = static_cast<std::uint8_t>(E8M0::kLast);
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) == 0) return saturate ? std::uint8_t{0} : kNan;
  if (bits >= detail::kFloatInfinity) return kNan;
  std::uint32_t code = detail::round_magnitude<E8M0>(bits);
  if (rounding != ScaleRounding::nearest) {
    const bool between = bits >= 0x800000u ? (bits & 0x7FFFFFu) != 0 : bits > 0x400000u;
    code = (bits >> 23) + (rounding == ScaleRounding::up && between ? 1u : 0u);
  }
  if (code > E8M0::kMax) return saturate ? static_cast<std::uint8_t>(E8M0::kMax) : kNan;
  return static_cast<std::uint8_t>(code);
}

/// Code of `x` in format `F`.
template <class F>
[[nodiscard]] constexpr typename F::Bits to_bits(float x, bool saturate = false) noexcept {
  if constexpr (F::kSpecials == Specials::scale) {
    return to_e8m0(x, ScaleRounding::nearest, saturate);
  } else {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    const std::uint32_t sign = bits >> 31 ? F::kSign : 0u;
    if constexpr (std::is_same_v<F, BF16>) {  // selects, no jumps: a compiler can do several at once
      const std::uint32_t rounded = (magnitude + 0x7FFFu + ((magnitude >> 16) & 1u)) >> 16;
      const std::uint32_t limited = rounded > F::kMax ? detail::overflow_code<F>(saturate) : rounded;
      const std::uint32_t code = magnitude > detail::kFloatInfinity ? detail::nan_code<F>(0) : limited;
      return static_cast<typename F::Bits>(sign | code);
    }
    if (magnitude > detail::kFloatInfinity)
      return static_cast<typename F::Bits>(detail::nan_code<F>(sign));
    std::uint32_t code = F::kMax + 1;
    if (magnitude < detail::kFloatInfinity) code = detail::round_magnitude<F>(magnitude);
    if (code > F::kMax) code = detail::overflow_code<F>(saturate);
    return static_cast<typename F::Bits>(sign | code);
  }
}

/// Value of a code of format `F`; bits above its width are ignored.
template <class F>
[[nodiscard]] constexpr float to_float(typename F::Bits code) noexcept {
  constexpr float kNan = std::bit_cast<float>(0x7FC00000u);
  if constexpr (std::is_same_v<F, BF16>) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16);
  } else if constexpr (F::kSpecials == Specials::scale) {
    return code == F::kLast ? kNan : detail::power_of_two(static_cast<int>(code) - F::kBias);
  } else {
    const std::uint32_t magnitude = code & F::kLast;
    const std::uint32_t sign = code & F::kSign ? 0x80000000u : 0u;
    const auto signed_bits = [sign](float x) {
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) | sign);
    };
    if (F::kSpecials == Specials::ieee && magnitude == F::kInfinity)
      return std::bit_cast<float>(detail::kFloatInfinity | sign);
    if (F::kSpecials != Specials::none && magnitude > F::kMax) return signed_bits(kNan);
    if (magnitude >> F::kMantissaBits == 0)
      return signed_bits(static_cast<float>(magnitude) *
                         detail::power_of_two(1 - F::kBias - F::kMantissaBits));
    const std::uint32_t exponent_shift = static_cast<std::uint32_t>(127 - F::kBias) << 23;
    return std::bit_cast<float>(((magnitude << (23 - F::kMantissaBits)) + exponent_shift) | sign);
  }
}

/// The largest finite value of `F`.
template <class F>
inline constexpr float max_value = to_float<F>(static_cast<typename F::Bits>(F::kMax));

/// A value in format `F`: as large as its code, converts both ways, does no arithmetic.
template <class F>
struct Minifloat {
  using Format = F;
  typename F::Bits bits;

  Minifloat() = default;
  /// The nearest value; infinity or NaN beyond the range.
  constexpr explicit Minifloat(float x) noexcept : bits(to_bits<F>(x)) {}
  [[nodiscard]] static constexpr Minifloat from_bits(typename F::Bits code) noexcept {
    Minifloat result(0.0f);
    result.bits = code;
    return result;
  }
  constexpr explicit operator float() const noexcept { return to_float<F>(bits); }
  friend constexpr bool operator==(Minifloat, Minifloat) noexcept = default;  ///< Same code.
};

using f16_t = Minifloat<F16>;
using bf16_t = Minifloat<BF16>;
using e4m3_t = Minifloat<E4M3>;
using e5m2_t = Minifloat<E5M2>;
using e2m3_t = Minifloat<E2M3>;
using e3m2_t = Minifloat<E3M2>;
using e2m1_t = Minifloat<E2M1>;
using e8m0_t = Minifloat<E8M0>;

static_assert(sizeof(bf16_t) == 2 && sizeof(e4m3_t) == 1 && std::is_trivially_copyable_v<f16_t>);
static_assert(max_value<E4M3> == 448.0f && max_value<E5M2> == 57344.0f && max_value<E2M1> == 6.0f);
static_assert(max_value<F16> == 65504.0f && max_value<E2M3> == 7.5f && max_value<E3M2> == 28.0f);

}  // namespace qeff
