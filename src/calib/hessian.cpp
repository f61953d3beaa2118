#include "qeff/calib/hessian.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "calib/validate.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {
namespace {

using kernels::kPanel;

constexpr std::size_t kChunkRows = 1024;
constexpr std::size_t kCheckedRows = 32;  // of a task
constexpr std::size_t kTile = 128;        // features, a multiple of two panels

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

/// Whether no element of the row is a NaN or an infinity.
bool finite_row(MatrixView<const float> x, std::size_t row) {
  return calib::all_finite({x.row(row), 1, x.cols, x.row_stride, x.col_stride});
}

void copy_columns(MatrixView<const float> x, std::size_t row, std::size_t first, std::size_t columns, float* out) {
  if (x.contiguous_rows() && columns == kPanel)  // a copy of a known size
    std::copy_n(x.row(row) + first, kPanel, out);
  else
    for (std::size_t c = 0; c < columns; ++c) out[c] = x(row, first + c);
}

}  // namespace

HessianAccumulator::HessianAccumulator(std::size_t k) : k_(k) {
  require(k > 0, "Hessian: the size must be at least 1");
  sum_.assign(k * k, 0.0F);
  sum_abs_.assign(k, 0.0);
}

void HessianAccumulator::add(MatrixView<const float> x, Executor& executor) { add_rows(x, nullptr, executor); }

void HessianAccumulator::add(MatrixView<const float> x, MatrixView<const float> x_float, Executor& executor) {
  require(x_float.cols == k_ && x_float.rows == x.rows, "Hessian: the inputs are (", x.rows, ", ", x.cols,
          "), those of the float model (", x_float.rows, ", ", x_float.cols, ")");
  add_rows(x, &x_float, executor);
}

void HessianAccumulator::add_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                  Executor& executor) {
  require(x.cols == k_, "Hessian: the input has ", x.cols, " columns, expected ", k_);
  const std::size_t bytes = chunk_view(k_, panels_).code_bytes();
  panels_.reserve(bytes);
  transposed_.reserve(k_ * kChunkRows * sizeof(float));
  if (x_float) {
    changes_.reserve(bytes);
    drift_.resize(k_ * k_);
  }
  for (std::size_t begin = 0; begin < x.rows; begin += kChunkRows) {
    const std::vector<std::size_t> kept = finite_rows(x, x_float, begin, executor);
    if (kept.empty()) continue;
    copy_rows(x, x_float, kept, executor);
    rows_ += kept.size();
    prepare_inputs(panels_, executor);
    add_products(sum_, true, executor);
    if (!x_float) continue;
    drift_rows_ += kept.size();
    prepare_inputs(changes_, executor);
    add_products(drift_, false, executor);
  }
}

/// Rows from `begin` on, a chunk at most, without a NaN or an infinity.
std::vector<std::size_t> HessianAccumulator::finite_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                                         std::size_t begin, Executor& executor) {
  const std::size_t rows = std::min(kChunkRows, x.rows - begin);
  std::array<bool, kChunkRows> finite;
  executor.run((rows + kCheckedRows - 1) / kCheckedRows, [&](std::size_t part) {
    for (std::size_t i = part * kCheckedRows; i < std::min(rows, (part + 1) * kCheckedRows); ++i)
      finite[i] = finite_row(x, begin + i) && (!x_float || finite_row(*x_float, begin + i));
  });
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < rows; ++i)
    if (finite[i]) kept.push_back(begin + i);
  skipped_ += rows - kept.size();
  return kept;
}

/// Into panels_ and changes_, with zeros behind the last row.
void HessianAccumulator::copy_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                   std::span<const std::size_t> rows, Executor& executor) {
  executor.run((k_ + kPanel - 1) / kPanel, [&](std::size_t panel) {
    const std::size_t first = panel * kPanel, columns = std::min(kPanel, k_ - first), at = first * kChunkRows;
    float *to = panels_.as<float>() + at, *change = x_float ? changes_.as<float>() + at : nullptr;
    std::fill_n(to, kChunkRows * kPanel, 0.0F);
    if (change) std::fill_n(change, kChunkRows * kPanel, 0.0F);
    std::array<double, kPanel> sums{};
    for (const std::size_t r : rows) {
      copy_columns(x, r, first, columns, to);
      for (std::size_t c = 0; c < kPanel; ++c) sums[c] += static_cast<double>(std::fabs(to[c]));
      if (change) {
        copy_columns(*x_float, r, first, columns, change);
        for (std::size_t c = 0; c < kPanel; ++c) change[c] -= to[c];
        change += kPanel;
      }
      to += kPanel;
    }
    for (std::size_t c = 0; c < columns; ++c) sum_abs_[first + c] += sums[c];
  });
}

/// The rows in `panels` as inputs of a matmul by panels_.
void HessianAccumulator::prepare_inputs(const AlignedBuffer& panels, Executor& executor) {
  const kernels::KernelTable& table = kernels::active();
  const kernels::PackedView x = chunk_view(k_, panels_);
  inputs_.reserve(k_ * table.row_bytes(x, k_));
  executor.run((k_ + kTile - 1) / kTile, [&](std::size_t tile) {
    const std::size_t first = tile * kTile, last = std::min(k_, first + kTile);
    for (std::size_t c = first; c < last; ++c)
      for (std::size_t r = 0; r < kChunkRows; ++r)
        transposed_.as<float>()[c * kChunkRows + r] =
            panels.as<float>()[(c / kPanel * kChunkRows + r) * kPanel + c % kPanel];
    table.prepare_rows(x, k_, transposed_.as<float>(), kChunkRows, first, last, inputs_.data(),
                       nullptr);
  });
}

/// sum += inputs_ x^T, tile by tile on the float kernels; symmetric: blocks on and above the diagonal only.
void HessianAccumulator::add_products(std::vector<float>& sum, bool symmetric, Executor& executor) {
  const kernels::KernelTable& table = kernels::active();
  const kernels::PackedView x = chunk_view(k_, panels_);
  const std::size_t tiles = (k_ + kTile - 1) / kTile;
  const kernels::GemmArgs args{.weights = &x,
                               .rows = k_,
                               .a = inputs_.data(),
                               .y = sum.data(),
                               .y_stride = k_,
                               .residual = sum.data(),
                               .residual_stride = k_};
  executor.run(tiles * tiles, [&](std::size_t tile) {
    const std::size_t i = tile / tiles * kTile, j = tile % tiles * kTile;
    if (symmetric && i > j) return;
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

std::vector<float> HessianAccumulator::drift() const {
  std::vector<float> out(drift_.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = drift_[i % k_ * k_ + i / k_] / static_cast<float>(drift_rows_);
  return out;
}

std::vector<float> HessianAccumulator::mean_abs() const {
  std::vector<float> out(k_);
  const double scale = rows_ ? 1.0 / static_cast<double>(rows_) : 0.0;
  for (std::size_t c = 0; c < k_; ++c) out[c] = static_cast<float>(sum_abs_[c] * scale);
  return out;
}

}  // namespace qeff
