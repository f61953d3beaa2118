/// @file
/// Random matmuls with their double-precision answers.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "qeff/core/minifloat.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/pack.hpp"

namespace qeff::test {

/// Which weights a problem has.
enum class Scheme { i8, i8_groups, u4, u4_int8, u3, u8, nf4, nf4_int8, e4m3, e5m2, bf16, f32 };

inline constexpr Scheme kSchemes[] = {Scheme::i8,  Scheme::i8_groups, Scheme::u4,   Scheme::u4_int8,
                                      Scheme::u3,  Scheme::u8,        Scheme::nf4,  Scheme::nf4_int8,
                                      Scheme::e4m3, Scheme::e5m2,     Scheme::bf16, Scheme::f32};

struct Rng {
  std::mt19937 engine;
  explicit Rng(unsigned seed) : engine(seed) {}
  int integer(int lo, int hi) { return lo + static_cast<int>(engine() % static_cast<unsigned>(hi - lo + 1)); }
  float normal() {  // sum of 12 uniforms: the same numbers with every standard library
    float s = -6;
    for (int i = 0; i < 12; ++i) s += static_cast<float>(engine() >> 8) * 0x1p-24f;
    return s;
  }
};

/// Weights as they are: few are subnormal, none are NaN or Inf.
inline std::uint8_t fp8_code(Scheme scheme, float x) {
  return static_cast<std::uint8_t>(scheme == Scheme::e4m3 ? to_bits<E4M3>(64 * x, true) : to_bits<E5M2>(64 * x, true));
}

inline QuantizedMatrix random_quantized(Scheme scheme, std::size_t rows, std::size_t cols, std::size_t group,
                                        Rng& rng) {
  QuantizedMatrix q;
  q.rows = rows, q.cols = cols, q.group_size = group == 0 || group > cols ? cols : group;
  const bool nf4 = scheme == Scheme::nf4 || scheme == Scheme::nf4_int8;
  q.bits = scheme == Scheme::u3 ? 3 : scheme == Scheme::u4 || scheme == Scheme::u4_int8 || nf4 ? 4 : 8;
  q.is_signed = scheme == Scheme::i8 || scheme == Scheme::i8_groups;
  q.codes.resize(rows * cols);
  q.scales.resize(rows * q.groups());
  for (float& s : q.scales) s = 0.01f * (1.0f + static_cast<float>(rng.integer(0, 100)) / 100);
  const bool fp8 = scheme == Scheme::e4m3 || scheme == Scheme::e5m2;
  if (fp8) q.kind = CodeKind::minifloat, q.float_format = scheme == Scheme::e4m3 ? DType::e4m3 : DType::e5m2;
  if (nf4) {
    q.kind = CodeKind::codebook;
    for (int i = 0; i < 16; ++i) q.codebook[static_cast<std::size_t>(i)] = std::sin(static_cast<float>(i) / 5 - 1.5f);
  }
  if (!q.is_signed && q.kind == CodeKind::affine) {
    q.zero_points.resize(q.scales.size());
    for (auto& z : q.zero_points) z = rng.integer(0, (1 << q.bits) - 1);
  }
  for (auto& c : q.codes) {
    c = fp8 ? fp8_code(scheme, rng.normal())
            : static_cast<std::uint8_t>(q.is_signed ? rng.integer(-127, 127) : rng.integer(0, (1 << q.bits) - 1));
  }
  return q;
}

struct Problem {
  kernels::PackedMatrix packed;
  std::vector<float> weights;  ///< (n, k) what the packed codes stand for
  std::vector<float> x;        ///< (m, k)
  std::size_t m, n, k;
};

inline Problem random_problem(Scheme scheme, std::size_t m, std::size_t n, std::size_t k, std::size_t group,
                              unsigned seed = 1) {
  Rng rng(seed);
  Problem p{.packed = {}, .weights = std::vector<float>(n * k), .x = std::vector<float>(m * k), .m = m, .n = n, .k = k};
  for (float& v : p.x) v = rng.normal();
  if (scheme == Scheme::bf16 || scheme == Scheme::f32) {
    for (float& v : p.weights) v = rng.normal();
    p.packed = pack_float({p.weights.data(), n, k},
                          scheme == Scheme::f32 ? kernels::WeightFormat::f32 : kernels::WeightFormat::bf16);
  } else {
    const bool int8 = scheme == Scheme::u4_int8 || scheme == Scheme::nf4_int8;
    const auto mode = int8 ? std::optional(kernels::Activations::int8) : std::nullopt;
    const bool per_channel = scheme == Scheme::i8;
    p.packed = pack(random_quantized(scheme, n, k, per_channel ? 0 : group, rng), mode);
  }
  unpack(p.packed.view, {p.weights.data(), n, k});
  return p;
}

/// sum and sum of magnitudes of the products of one output.
struct Exact {
  double sum = 0, magnitude = 0, largest_x = 0, weight_l1 = 0, x_l1 = 0;
};
inline Exact exact(const Problem& p, std::size_t m, std::size_t n) {
  Exact e;
  for (std::size_t i = 0; i < p.k; ++i) {
    const double x = p.x[m * p.k + i], w = p.weights[n * p.k + i];
    e.sum += x * w;
    e.magnitude += std::abs(x * w);
    e.largest_x = std::max(e.largest_x, std::abs(x));
    e.weight_l1 += std::abs(w);
    e.x_l1 += std::abs(x);
  }
  return e;
}

/// What a weight moves at most when a codebook is rounded to 127 steps; 0 without a codebook. Scales of
/// random_quantized are at most 0.02, values of its codebook at most 1.
inline double rounded_codebook(const Problem& p) {
  return p.packed.view.format == kernels::WeightFormat::cb4 ? 0.02 / 254 * 1.01 : 0;
}

/// What rounding may do to one output: int8 moves each x by at most half a step of max|x| / 127; bf16
/// moves x and w by 2^-8 of themselves; float32 sums lose at most k roundings.
inline double bound(const Problem& p, const Exact& e) {
  const double sums = (static_cast<double>(p.k) + 8) * 0x1p-24 * e.magnitude + 1e-30;
  switch (p.packed.view.activations) {
    case kernels::Activations::int8:
      return e.largest_x / 254 * e.weight_l1 * 1.001 + rounded_codebook(p) * e.x_l1 + 8 * sums;
    case kernels::Activations::bf16: return e.magnitude * 0x1p-7 * 1.01 + 8 * sums;
    case kernels::Activations::f32: return 8 * sums;
  }
  return 0;
}

}  // namespace qeff::test
