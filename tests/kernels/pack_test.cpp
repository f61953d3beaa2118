// Packing: what goes in comes out, what does not fit is refused with a sentence.
#include "qeff/kernels/pack.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "qeff/core/error.hpp"
#include "qeff/quant/round_scales.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

using kernels::Activations;
using kernels::WeightFormat;
using test::Scheme;

std::vector<float> unpacked(const kernels::PackedMatrix& packed) {
  std::vector<float> out(packed.view.n * packed.view.k);
  unpack(packed.view, {out.data(), packed.view.n, packed.view.k});
  return out;
}

/// The value of one element by the definition in quantized_matrix.hpp; FP8 codes in E4M3.
float value_of(const QuantizedMatrix& q, std::size_t n, std::size_t k) {
  const std::size_t g = q.group_index(n, k);
  const std::uint8_t byte = q.codes[n * q.cols + k];
  switch (q.kind) {
    case CodeKind::affine:
      return q.scales[g] * static_cast<float>(q.code(n, k) - (q.zero_points.empty() ? 0 : q.zero_points[g]));
    case CodeKind::codebook: return q.scales[g] * q.codebook[byte];
    case CodeKind::minifloat: break;
  }
  const int fraction = q.float_format == DType::e4m3 ? 3 : 2, bias = q.float_format == DType::e4m3 ? 7 : 15;
  const int exponent = (byte & 0x7f) >> fraction, low = byte & ((1 << fraction) - 1);
  const float magnitude = exponent ? std::ldexp(static_cast<float>((1 << fraction) + low), exponent - bias - fraction)
                                   : std::ldexp(static_cast<float>(low), 1 - bias - fraction);
  return q.scales[g] * (byte & 0x80 ? -magnitude : magnitude);
}

TEST(Pack, EverySchemeComesOutAsItsDefinitionSays) {
  test::Rng rng(7);
  for (const Scheme scheme : {Scheme::i8, Scheme::i8_groups, Scheme::u4, Scheme::u3, Scheme::u8, Scheme::nf4,
                              Scheme::e4m3, Scheme::e5m2})
    for (const auto& [rows, cols] : {std::pair{1u, 1u}, {3u, 7u}, {16u, 64u}, {17u, 65u}, {33u, 129u}, {40u, 200u}})
      for (const std::size_t group : {0u, 1u, 3u, 16u, 64u, 100u}) {
        const QuantizedMatrix q = test::random_quantized(scheme, rows, cols, group, rng);
        const auto out = unpacked(pack(q, Activations::bf16));
        for (std::size_t n = 0; n < rows; ++n)
          for (std::size_t k = 0; k < cols; ++k)
            ASSERT_EQ(out[n * cols + k], value_of(q, n, k))
                << "scheme " << static_cast<int>(scheme) << ", (" << rows << ", " << cols << "), group " << group
                << " at (" << n << ", " << k << ")";
      }
}

TEST(Pack, SignedCodesOfEveryWidthComeOutUnchanged) {
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool with_zero : {false, true}) {
      const int low = bits == 8 && !with_zero ? -127 : -(1 << (bits - 1)), high = (1 << (bits - 1)) - 1;
      QuantizedMatrix q;
      q.bits = bits, q.is_signed = true, q.rows = 3, q.cols = 300, q.group_size = 100;
      for (int i = 0; i < 900; ++i) q.codes.push_back(static_cast<std::uint8_t>(low + i % (high - low + 1)));
      q.scales.assign(9, 0.5f);
      if (with_zero) q.zero_points = {low, -1, 0, 1, high, low, -1, 0, 1};
      const auto out = unpacked(pack(q));
      for (std::size_t i = 0; i < 900; ++i) ASSERT_EQ(out[i], value_of(q, i / 300, i % 300)) << bits << " bits, " << i;
    }
}

TEST(Pack, FloatsComeOutAsTheyAreOrRoundedToBf16) {
  test::Rng rng(2);
  std::vector<float> w(19 * 67);
  for (float& v : w) v = rng.normal();
  EXPECT_EQ(unpacked(pack_float({w.data(), 19, 67})), w);
  const auto rounded = unpacked(pack_float({w.data(), 19, 67}, WeightFormat::bf16));
  for (std::size_t i = 0; i < w.size(); ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, &rounded[i], sizeof bits);
    EXPECT_EQ(bits & 0xffffu, 0u);
    EXPECT_LE(std::abs(rounded[i] - w[i]), std::abs(w[i]) * 0x1p-8f);
  }
}

TEST(Pack, StridedFloatsArePackedByTheirIndices) {
  const float stored[] = {1, 2, 3, 4, 5, 6};  // column-major (2, 3)
  EXPECT_EQ(unpacked(pack_float({stored, 2, 3, 1, 2})), (std::vector<float>{1, 3, 5, 2, 4, 6}));
}

TEST(Pack, PaddingIsZeroAndBuffersHaveTheSizeTheViewSays) {
  test::Rng rng(4);
  const auto packed = pack(test::random_quantized(Scheme::i8, 17, 65, 0, rng));
  EXPECT_EQ(packed.view.n_padded(), 32u);
  EXPECT_EQ(packed.view.k_padded(), 128u);
  EXPECT_EQ(packed.codes.size(), 32u * 128u);
  EXPECT_EQ(packed.nbytes(), 32u * 128u + 32u * sizeof(float));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(packed.view.codes) % 64, 0u);
  std::size_t zeros = 0;
  for (const std::byte b : packed.codes.bytes()) zeros += b == std::byte{0};
  EXPECT_GE(zeros, 32u * 128u - 17u * 65u);
}

TEST(Pack, ScalesOfGroupsAreStoredInHalfTheBytesWhereNothingIsLost) {
  test::Rng rng(5);
  QuantizedMatrix q = test::random_quantized(Scheme::u4, 17, 200, 64, rng);
  EXPECT_EQ(pack(q).view.bf16_scales, nullptr);
  const std::vector<float> before = q.scales;
  round_scales(q);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(q.scales[i], before[i], before[i] / 256);
  const auto packed = pack(q);
  ASSERT_NE(packed.view.bf16_scales, nullptr);
  EXPECT_EQ(packed.view.scales, nullptr);
  EXPECT_EQ(packed.scales.size(), 32u * 4u * 2u);
  const auto out = unpacked(packed);
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t k = 0; k < q.cols; ++k) ASSERT_EQ(out[n * q.cols + k], value_of(q, n, k));

  q.scales[5] = 0.3f;  // one that is no bf16 value
  EXPECT_EQ(pack(q).view.bf16_scales, nullptr);
  QuantizedMatrix one = test::random_quantized(Scheme::i8, 17, 200, 0, rng);
  const std::vector<float> of_rows = one.scales;
  round_scales(one);
  EXPECT_EQ(one.scales, of_rows);
  q.scales[5] = std::numeric_limits<float>::max() / 255;  // rounded up, 255 of it would be infinite
  round_scales(q);
  EXPECT_TRUE(std::isfinite(q.scales[5] * 255));
}

TEST(Pack, FormatAndActivationsFollowFromTheCodes) {
  test::Rng rng(4);
  const auto view = [&](Scheme s) { return pack(test::random_quantized(s, 4, 32, 16, rng)).view; };
  EXPECT_EQ(view(Scheme::i8_groups).format, WeightFormat::i8);
  EXPECT_EQ(view(Scheme::i8_groups).activations, Activations::int8);
  EXPECT_EQ(view(Scheme::u3).format, WeightFormat::u4);
  EXPECT_EQ(view(Scheme::u4).activations, Activations::bf16);
  EXPECT_EQ(view(Scheme::u8).format, WeightFormat::u8);
  EXPECT_EQ(view(Scheme::nf4).format, WeightFormat::cb4);
  EXPECT_EQ(view(Scheme::e4m3).format, WeightFormat::e4m3);
  EXPECT_EQ(view(Scheme::e5m2).format, WeightFormat::e5m2);
}

/// An error of class E with exactly this message.
template <class E>
void expect_error(const std::function<void()>& f, const std::string& message) {
  try {
    f();
    ADD_FAILURE() << "no error; expected: " << message;
  } catch (const E& e) {
    EXPECT_EQ(e.what(), message);
  }
}

/// pack of a (3, 8) matrix of unsigned 4-bit codes in groups of 4, changed by `spoil`.
template <class E = InvalidArgument>
void refuses(const std::function<void(QuantizedMatrix&)>& spoil, const std::string& message,
             std::optional<Activations> activations = {}) {
  test::Rng rng(1);
  QuantizedMatrix q = test::random_quantized(Scheme::u4, 3, 8, 4, rng);
  spoil(q);
  expect_error<E>([&] { (void)pack(q, activations); }, message);
}

TEST(Pack, RefusesInconsistentMatricesNamingBothNumbers) {
  refuses([](auto& q) { q.rows = 0; }, "pack: empty matrix (0, 8)");
  refuses([](auto& q) { q.bits = 1; }, "pack: bits must be 2..8, got 1");
  refuses([](auto& q) { q.bits = 9; }, "pack: bits must be 2..8, got 9");
  refuses([](auto& q) { q.group_size = 0; }, "pack: group_size must be 1..8, got 0");
  refuses([](auto& q) { q.group_size = 9; }, "pack: group_size must be 1..8, got 9");
  refuses([](auto& q) { q.codes.pop_back(); }, "pack: 23 codes for (3, 8)");
  refuses([](auto& q) { q.scales.push_back(1); }, "pack: 7 scales where 6 are needed");
  refuses([](auto& q) { q.zero_points.resize(5); }, "pack: 5 zero points where 6 are needed");
  refuses([](auto& q) { q.input_scale.resize(7); }, "pack: 7 input scales for 8 columns");
  refuses([](auto& q) { q.scales[3] = INFINITY; }, "pack: scale of row 1, group 1 is inf");
}

TEST(Pack, RefusesCodesAndZeroPointsOutsideTheirRange) {
  refuses([](auto& q) { q.codes[10] = 16; }, "pack: code 16 at (1, 2) is outside 4 bits");
  refuses([](auto& q) { q.zero_points[4] = -1; }, "pack: zero point -1 of row 2, group 0 is outside 0..255");
  refuses([](auto& q) { q.zero_points[4] = 256; }, "pack: zero point 256 of row 2, group 0 is outside 0..255");
  refuses([](auto& q) { q.is_signed = true, q.codes.assign(24, 0), q.zero_points[4] = std::numeric_limits<std::int32_t>::max(); },
          "pack: zero point 2147483655 of row 2, group 0 is outside 0..255");
  refuses([](auto& q) { q.bits = 8, q.is_signed = true, q.zero_points.clear(), q.codes[0] = 0x80; },
          "pack: code -128 at (0, 0) is outside 8 bits (int8 stays within -127..127)");
  refuses([](auto& q) { q.kind = CodeKind::codebook, q.codes[23] = 17; },
          "pack: code 17 at (2, 7) needs more than 4 bits");
}

TEST(Pack, RefusesInt8ActivationsWhereNoIntegerKernelExists) {
  refuses<Unsupported>([](auto& q) { q.kind = CodeKind::minifloat; },
                       "pack: int8 activations need 8-bit symmetric or 4-bit weights; use bf16", Activations::int8);
  refuses<Unsupported>([](auto& q) { q.group_size = 6; },
                       "pack: int8 activations need a group_size that is a multiple of 4, got 6; use bf16",
                       Activations::int8);
  refuses<Unsupported>([](auto& q) { q.zero_points[2] = 128; },
                       "pack: int8 activations need zero points of at most 127, got 128; use bf16", Activations::int8);
}

TEST(Pack, RefusesFloatsOfOtherFormatsAndWrongOutputs) {
  const float w[6] = {};
  expect_error<InvalidArgument>([&] { (void)pack_float({w, 0, 3}); }, "pack_float: empty matrix (0, 3)");
  expect_error<InvalidArgument>([&] { (void)pack_float({w, 2, 3}, WeightFormat::i8); },
                                "pack_float: format must be f32 or bf16");
  const auto packed = pack_float({w, 2, 3});
  std::vector<float> out(6);
  expect_error<InvalidArgument>([&] { unpack(packed.view, {out.data(), 3, 2}); },
                                "unpack: out is (3, 2), weights are (2, 3)");
}

}  // namespace
}  // namespace qeff
