#include "qeff/calib/hessian.hpp"

#include <algorithm>
#include <cmath>

#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {
namespace {

using kernels::kPanel;

constexpr std::size_t kChunkRows = 512;
constexpr std::size_t kTile = 128;  // features, a multiple of two panels

/// x^T of one chunk as the weights of a matmul.
kernels::PackedView chunk_view(std::size_t k, const AlignedBuffer& panels) {
  return {.format = kernels::WeightFormat::f32,
          .activations = kernels::Activations::f32,
          .n = k,
          .k = kChunkRows,
          .group_size = kChunkRows,
          .codes = panels.data()};
}

AlignedBuffer& thread_scratch(std::size_t bytes) {
  thread_local AlignedBuffer scratch;
  scratch.reserve(bytes);
  return scratch;
}

}  // namespace

HessianAccumulator::HessianAccumulator(std::size_t k) : k_(k) {
  require(k > 0, "Hessian: the size must be at least 1");
  sum_.assign(k * k, 0.0F);
  sum_abs_.assign(k, 0.0);
}

void HessianAccumulator::add(MatrixView<const float> x, Executor& executor) {
  require(x.cols == k_, "Hessian: the input has ", x.cols, " columns, expected ", k_);
  panels_.reserve(chunk_view(k_, panels_).code_bytes());
  transposed_.reserve(k_ * kChunkRows * sizeof(float));
  for (std::size_t begin = 0; begin < x.rows; begin += kChunkRows) {
    const std::size_t kept = copy_finite_rows(x, begin);
    if (kept == 0) continue;
    rows_ += kept;
    add_products(executor);
  }
}

/// Into panels_, with zeros behind the last row.
std::size_t HessianAccumulator::copy_finite_rows(MatrixView<const float> x, std::size_t begin) {
  std::fill_n(panels_.as<float>(), panels_.size() / sizeof(float), 0.0F);
  std::size_t kept = 0;
  for (std::size_t r = begin; r < std::min(x.rows, begin + kChunkRows); ++r) {
    bool finite = true;
    for (std::size_t c = 0; c < k_; ++c) finite = finite && std::isfinite(x(r, c));
    if (!finite) {
      ++skipped_;
      continue;
    }
    for (std::size_t c = 0; c < k_; ++c) {
      panels_.as<float>()[(c / kPanel * kChunkRows + kept) * kPanel + c % kPanel] = x(r, c);
      sum_abs_[c] += static_cast<double>(std::fabs(x(r, c)));
    }
    ++kept;
  }
  return kept;
}

/// sum_ += x^T x, tile by tile on the float kernels.
void HessianAccumulator::add_products(Executor& executor) {
  const kernels::KernelTable& table = kernels::active();
  const kernels::PackedView x = chunk_view(k_, panels_);
  inputs_.reserve(k_ * table.row_bytes(x, k_));
  const std::size_t tiles = (k_ + kTile - 1) / kTile;
  executor.run(tiles, [&](std::size_t tile) {
    const std::size_t first = tile * kTile, last = std::min(k_, first + kTile);
    for (std::size_t c = first; c < last; ++c)
      for (std::size_t r = 0; r < kChunkRows; ++r)
        transposed_.as<float>()[c * kChunkRows + r] =
            panels_.as<float>()[(c / kPanel * kChunkRows + r) * kPanel + c % kPanel];
    table.prepare_rows(x, k_, transposed_.as<float>(), kChunkRows, first, last, inputs_.data(),
                       nullptr);
  });
  const kernels::GemmArgs args{.weights = &x,
                               .rows = k_,
                               .a = inputs_.data(),
                               .y = sum_.data(),
                               .y_stride = k_,
                               .residual = sum_.data(),
                               .residual_stride = k_};
  executor.run(tiles * tiles, [&](std::size_t tile) {
    const std::size_t i = tile / tiles * kTile, j = tile % tiles * kTile;
    if (i > j) return;
    AlignedBuffer& scratch = thread_scratch(table.scratch_bytes(x, k_));
    table.gemm(args, i, std::min(k_, i + kTile), j / kPanel,
               std::min(x.panels(), (j + kTile) / kPanel), scratch.data());
  });
}

std::vector<float> HessianAccumulator::hessian() const {
  std::vector<float> out(k_ * k_);
  const float scale = rows_ ? 1.0F / static_cast<float>(rows_) : 0.0F;
  for (std::size_t i = 0; i < k_; ++i)
    for (std::size_t j = i; j < k_; ++j)
      out[i * k_ + j] = out[j * k_ + i] = sum_[i * k_ + j] * scale;
  return out;
}

std::vector<float> HessianAccumulator::mean_abs() const {
  std::vector<float> out(k_);
  const double scale = rows_ ? 1.0 / static_cast<double>(rows_) : 0.0;
  for (std::size_t c = 0; c < k_; ++c) out[c] = static_cast<float>(sum_abs_[c] * scale);
  return out;
}

}  // namespace qeff
