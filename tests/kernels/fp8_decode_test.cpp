// Every FP8 code through matmul, exactly, with every kernel table.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/emulation/emulated_tables.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

/// The value of an FP8 code by the definition of the format (OCP 8-bit floating point, section 5).
double fp8_value(int code, DType format) {
  const int fraction_bits = format == DType::e4m3 ? 3 : 2, bias = format == DType::e4m3 ? 7 : 15;
  const int exponent = (code & 0x7f) >> fraction_bits, fraction = code & ((1 << fraction_bits) - 1);
  const double sign = code & 0x80 ? -1 : 1;
  if (format == DType::e4m3 && (code & 0x7f) == 0x7f) return NAN;
  if (format == DType::e5m2 && exponent == 31) return fraction ? NAN : sign * INFINITY;
  const double one = 1 << fraction_bits;
  return sign * (exponent == 0 ? std::ldexp(fraction / one, 1 - bias) : std::ldexp(1 + fraction / one, exponent - bias));
}

/// 256 rows: code n at index j, zeros elsewhere.
kernels::PackedMatrix all_codes_at(std::size_t j, DType format, kernels::Activations mode) {
  QuantizedMatrix q;
  q.kind = CodeKind::minifloat, q.float_format = format;
  q.rows = 256, q.cols = 5, q.group_size = 5;
  q.codes.assign(256 * 5, 0);
  q.scales.assign(256, 1.0f);
  for (std::size_t n = 0; n < 256; ++n) q.codes[n * 5 + j] = static_cast<std::uint8_t>(n);
  return pack(q, mode);
}

class Fp8OnIsa : public test::IsaTest {};

TEST_P(Fp8OnIsa, All256CodesDecodeExactly) {
  Executor serial(1);
  for (const DType format : {DType::e4m3, DType::e5m2})
    for (const auto mode : {kernels::Activations::f32, kernels::Activations::bf16})
      for (std::size_t j = 0; j < 5; ++j) {
        const auto packed = all_codes_at(j, format, mode);
        std::vector<float> x(5, 0.0f), y(256);
        x[j] = 1.0f;
        matmul({x.data(), 1, 5}, packed.view, {y.data(), 1, 256}, {}, serial);
        for (int code = 0; code < 256; ++code) {
          const double expected = fp8_value(code, format);
          const float got = y[static_cast<std::size_t>(code)];
          const bool right = std::isnan(expected) ? std::isnan(got) : got == expected;
          EXPECT_TRUE(right) << "code " << code << " at index " << j << " gives " << got << ", not " << expected;
        }
      }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(Fp8OnIsa);

}  // namespace
}  // namespace qeff
