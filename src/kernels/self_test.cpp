#include "kernels/self_test.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"

namespace qeff::kernels {
namespace {

constexpr std::size_t kM = 18, kN = 19, kK = 70;  // more than half a tile of rows, two panels, odd everything

/// Small integers, exactly representable everywhere: every product and sum is exact.
float x_at(std::size_t m, std::size_t k) { return static_cast<float>(static_cast<int>((m * 31 + k * 7) % 15) - 7); }
int w_at(std::size_t n, std::size_t k) { return static_cast<int>((n * 13 + k * 5) % 255) - 127; }

/// The int8 codes of w_at as bf16 or int8 panels.
AlignedBuffer codes_of(const PackedView& view) {
  AlignedBuffer codes(view.code_bytes());
  for (std::size_t n = 0; n < kN; ++n)
    for (std::size_t k = 0; k < kK; ++k)
      codes.as<std::int8_t>()[n / 16 * view.k_padded() * 16 + k / 4 * 64 + n % 16 * 4 + k % 4] =
          static_cast<std::int8_t>(w_at(n, k));
  return codes;
}

bool check(const KernelTable& table, Activations mode) {
  PackedView view{.format = WeightFormat::i8, .activations = mode, .n = kN, .k = kK, .group_size = kK};
  const AlignedBuffer codes = codes_of(view);
  AlignedBuffer scales(view.scale_count() * sizeof(float));
  for (std::size_t i = 0; i < view.scale_count(); ++i) scales.as<float>()[i] = 1.0f;
  view.codes = codes.data();
  view.scales = scales.as<const float>();

  std::vector<float> x(kM * kK), y(kM * kN), a_scales(kM * view.groups());
  for (std::size_t m = 0; m < kM; ++m)
    for (std::size_t k = 0; k < kK; ++k) x[m * kK + k] = x_at(m, k);
  AlignedBuffer a(kM * table.row_bytes(view, kM)), scratch(table.scratch_bytes(view, kM));
  table.prepare_rows(view, kM, x.data(), kK, 0, kM, a.data(), a_scales.data());
  const GemmArgs args{
      .weights = &view, .rows = kM, .a = a.data(), .a_scales = a_scales.data(), .y = y.data(), .y_stride = kN};
  table.gemm(args, 0, kM, 0, view.panels(), scratch.data());

  for (std::size_t m = 0; m < kM; ++m)
    for (std::size_t n = 0; n < kN; ++n) {
      double sum = 0, magnitude = 0;
      for (std::size_t k = 0; k < kK; ++k) {
        sum += static_cast<double>(x_at(m, k)) * w_at(n, k);
        magnitude += std::abs(static_cast<double>(x_at(m, k)) * w_at(n, k));
      }
      // int8 rounds x to 7 / 127 steps: half a step of each product.
      const double bound = mode == Activations::int8 ? magnitude * 0.01 + kK * 127 * 0.03 : magnitude * 1e-6;
      if (!(std::abs(static_cast<double>(y[m * kN + n]) - sum) <= bound)) return false;
    }
  return true;
}

}  // namespace

bool products_are_right(const KernelTable& table) {
  return check(table, Activations::int8) && check(table, Activations::bf16);
}

}  // namespace qeff::kernels
