/// @file
/// exp, the normal distribution and the activations made of them, over the policy. Errors against double on the range they
/// are used on: exp 2 ulp, normal_cdf 2e-7 absolute (tests/kernels/math_test.cpp).
#pragma once

#include <cstdint>

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

template <class S>
struct Math {
  using F32 = typename S::F32;

  /// e^x; x is clamped to [-87, 88], so that the result is normal and finite. NaN stays NaN: max and
  /// min return their second operand then.
  /// Source: Cody and Waite reduction to |r| <= ln(2) / 2, then 1 + r + r^2 p(r), p of degree 4 with the least largest
  /// relative error (3e-9).
  QEFF_INLINE static F32 exp(F32 x) noexcept {
    x = S::min(S::set1(88.0f), S::max(S::set1(-87.0f), x));
    const F32 n = S::nearest(S::mul(x, S::set1(1.44269504f)));
    F32 r = S::fma(n, S::set1(-0.693359375f), x);
    r = S::fma(n, S::set1(2.12194440e-4f), r);
    F32 p = S::set1(1.38145406e-3f);
    p = S::fma(p, r, S::set1(8.36874545e-3f));
    p = S::fma(p, r, S::set1(4.16683890e-2f));
    p = S::fma(p, r, S::set1(0.166665211f));
    p = S::fma(p, r, S::set1(0.499999940f));
    p = S::fma(p, r, S::set1(1.0f));
    p = S::fma(p, r, S::set1(1.0f));
    return times_two_to(p, n);
  }

  /// (1 + erf(x / sqrt 2)) / 2, the normal distribution function: exactly 0 and 1 from -5.52 and 5.52 on.
  /// 1/2 + x p(x^2) / q(x^2), both of degree 5, fitted to the least largest error (8e-9) on the range x is clamped to.
  QEFF_INLINE static F32 normal_cdf(F32 x) noexcept {
    constexpr float kEnd = 5.52f;
    constexpr float kP[] = {2.26255867e-8f, 6.35192373e-6f, 1.69786916e-4f, 4.68296045e-3f, 3.39537784e-2f, 3.98942232e-1f};
    constexpr float kQ[] = {1.19388585e-6f, 7.39207244e-5f, 1.88989507e-3f, 2.87024714e-2f, 2.51775384e-1f, 1.0f};
    x = S::min(S::set1(kEnd), S::max(S::set1(-kEnd), x));  // in this order NaN stays NaN
    const F32 square = S::mul(x, x);
    F32 p = S::set1(kP[0]), q = S::set1(kQ[0]);
#pragma GCC unroll 5
    for (int i = 1; i < 6; ++i) {
      p = S::fma(p, square, S::set1(kP[i]));
      q = S::fma(q, square, S::set1(kQ[i]));
    }
    return S::add(S::div(S::mul(x, p), q), S::set1(0.5f));
  }

  /// v 2^n. @pre n are integers, v and the result normal numbers or v is NaN
  QEFF_INLINE static F32 times_two_to(F32 v, F32 n) noexcept {
    if constexpr (requires { S::times_two_to(v, n); })
      return S::times_two_to(v, n);
    else
      return S::as_f32(S::add(S::as_i32(v), S::template shl<23>(S::round(n))));
  }

  QEFF_INLINE static F32 abs(F32 x) noexcept {
    return S::as_f32(S::and_(S::as_i32(x), S::set1(std::int32_t{0x7fffffff})));
  }
  QEFF_INLINE static F32 sigmoid(F32 x) noexcept {
    const F32 e = exp(S::sub(S::set1(0.0f), x));
    return S::div(S::set1(1.0f), S::add(S::set1(1.0f), e));
  }
  QEFF_INLINE static F32 gelu(F32 x) noexcept { return S::mul(x, normal_cdf(x)); }
  /// x / 2 * (1 + tanh(u)) = x * sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x^3)
  QEFF_INLINE static F32 gelu_tanh(F32 x) noexcept {
    const F32 cubic = S::mul(S::mul(x, x), S::mul(x, S::set1(0.044715f)));
    return S::mul(x, sigmoid(S::mul(S::add(x, cubic), S::set1(1.59576912f))));
  }
  QEFF_INLINE static F32 silu(F32 x) noexcept { return S::mul(x, sigmoid(x)); }

  /// Nearest bfloat16, ties to even, as a float. @pre x is finite
  QEFF_INLINE static F32 round_bf16(F32 x) noexcept {
    const auto bits = S::as_i32(x);
    const auto odd = S::and_(S::template shr<16>(bits), S::set1(std::int32_t{1}));
    const auto rounded = S::add(bits, S::add(odd, S::set1(std::int32_t{0x7fff})));
    return S::as_f32(S::and_(rounded, S::set1(static_cast<std::int32_t>(0xffff0000))));
  }
};

}  // namespace qeff::kernels
