#include "qeff/calib/hessian.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "calib/validate.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {
namespace {

using kernels::kPanel;

constexpr std::size_t kChunkRows = 256;   // so few that the panels of a step fit the nearest cache
constexpr std::size_t kCheckedRows = 32;  // of a task
constexpr std::size_t kPackedPanels = 4;  // of a task: a row of them is read in one piece
constexpr std::size_t kLeft = 2, kRight = 3;  // panels that are multiplied by each other in a step

/// Memory of this thread: the columns of some panels, [panel][kChunkRows][16].
struct Columns {
  AlignedBuffer x, change;
};
Columns& thread_columns() {
  thread_local Columns columns;
  for (AlignedBuffer* buffer : {&columns.x, &columns.change})
    buffer->reserve(kPackedPanels * kChunkRows * kPanel * sizeof(float));
  return columns;
}

/// Whether no element of the row is a NaN or an infinity.
bool finite_row(MatrixView<const float> x, std::size_t row) {
  return calib::all_finite({x.row(row), 1, x.cols, x.row_stride, x.col_stride});
}

/// Columns [first, first + 16) of a row, zeros behind the last one.
void copy_columns(MatrixView<const float> x, std::size_t row, std::size_t first, float* out) {
  const std::size_t columns = std::min(kPanel, x.cols - first);
  if (x.contiguous_rows() && columns == kPanel) {
    std::memcpy(out, x.row(row) + first, kPanel * sizeof(float));
    return;
  }
  for (std::size_t c = 0; c < kPanel; ++c) out[c] = c < columns ? x(row, first + c) : 0.0F;
}

}  // namespace

HessianAccumulator::HessianAccumulator(std::size_t k) : k_(k) {
  require(k > 0, "Hessian: the size must be at least 1");
  sum_.assign(stride() * stride(), 0.0F);
  sum_abs_.assign(stride(), 0.0);
}

std::size_t HessianAccumulator::panels() const noexcept { return (k_ + kPanel - 1) / kPanel; }
std::size_t HessianAccumulator::stride() const noexcept { return panels() * kPanel; }

void HessianAccumulator::add(MatrixView<const float> x, Executor& executor) { add_rows(x, nullptr, executor); }

void HessianAccumulator::add(MatrixView<const float> x, MatrixView<const float> x_float, Executor& executor) {
  require(x_float.cols == k_ && x_float.rows == x.rows, "Hessian: the inputs are (", x.rows, ", ", x.cols,
          "), those of the float model (", x_float.rows, ", ", x_float.cols, ")");
  add_rows(x, &x_float, executor);
}

void HessianAccumulator::add_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                  Executor& executor) {
  require(x.cols == k_, "Hessian: the input has ", x.cols, " columns, expected ", k_);
  const std::size_t bytes = panels() * kernels::active().column_panel_bytes(kChunkRows);
  panels_.reserve(bytes);
  if (x_float) {
    changes_.reserve(bytes);
    drift_.resize(sum_.size());
  }
  for (std::size_t begin = 0; begin < x.rows; begin += kChunkRows) {
    const std::vector<std::size_t> kept = finite_rows(x, x_float, begin, executor);
    if (kept.empty()) continue;
    pack_rows(x, x_float, kept, executor);
    rows_ += kept.size();
    add_products(panels_, kept.size(), sum_, true, executor);
    if (!x_float) continue;
    drift_rows_ += kept.size();
    add_products(changes_, kept.size(), drift_, false, executor);
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

/// Into panels_ and changes_.
void HessianAccumulator::pack_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                   std::span<const std::size_t> rows, Executor& executor) {
  const kernels::KernelTable& table = kernels::active();
  const std::size_t bytes = table.column_panel_bytes(rows.size()), all = panels();
  executor.run((all + kPackedPanels - 1) / kPackedPanels, [&](std::size_t task) {
    const std::size_t begin = task * kPackedPanels, end = std::min(all, begin + kPackedPanels);
    Columns& columns = thread_columns();
    float magnitudes[kPackedPanels * kPanel] = {};
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (std::size_t p = begin; p < end; ++p) {
        const std::size_t at = ((p - begin) * kChunkRows + r) * kPanel;
        float* const to = columns.x.as<float>() + at;
        copy_columns(x, rows[r], p * kPanel, to);
        float* const sums = magnitudes + (p - begin) * kPanel;
        for (std::size_t c = 0; c < kPanel; ++c) sums[c] += std::fabs(to[c]);
        if (!x_float) continue;
        float* const change = columns.change.as<float>() + at;
        copy_columns(*x_float, rows[r], p * kPanel, change);
        for (std::size_t c = 0; c < kPanel; ++c) change[c] -= to[c];
      }
    for (std::size_t c = begin * kPanel; c < end * kPanel; ++c)
      sum_abs_[c] += static_cast<double>(magnitudes[c - begin * kPanel]);
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t at = (p - begin) * kChunkRows * kPanel;
      table.pack_columns(columns.x.as<float>() + at, rows.size(), panels_.data() + p * bytes);
      if (x_float) table.pack_columns(columns.change.as<float>() + at, rows.size(), changes_.data() + p * bytes);
    }
  });
}

/// sum += the packed rows times those of `right`; symmetric: what is below the diagonal says nothing.
void HessianAccumulator::add_products(const AlignedBuffer& right, std::size_t rows, std::vector<float>& sum,
                                      bool symmetric, Executor& executor) {
  const kernels::KernelTable& table = kernels::active();
  const std::size_t bytes = table.column_panel_bytes(rows), all = panels(), pitch = stride();
  executor.run((all + kLeft - 1) / kLeft, [&](std::size_t task) {
    const std::size_t begin = task * kLeft, end = std::min(all, begin + kLeft);
    for (std::size_t j = symmetric ? begin : 0; j < all; j += kRight)
      for (std::size_t i = begin; i < end; ++i)
        table.add_column_products(panels_.data() + i * bytes, right.data() + j * bytes, std::min(kRight, all - j), rows,
                                  sum.data() + i * kPanel * pitch + j * kPanel, pitch);
  });
}

std::vector<float> HessianAccumulator::hessian() const {
  std::vector<float> out(k_ * k_);
  const float scale = rows_ ? 1.0F / static_cast<float>(rows_) : 0.0F;
  const std::size_t pitch = stride();
  for (std::size_t i = 0; i < k_; ++i)
    for (std::size_t j = i; j < k_; ++j)
      out[i * k_ + j] = out[j * k_ + i] = sum_[i * pitch + j] * scale;
  return out;
}

std::vector<float> HessianAccumulator::drift() const {
  if (drift_.empty()) return {};
  std::vector<float> out(k_ * k_);
  const std::size_t pitch = stride();
  for (std::size_t i = 0; i < k_; ++i)
    for (std::size_t j = 0; j < k_; ++j)
      out[i * k_ + j] = drift_[i * pitch + j] / static_cast<float>(drift_rows_);
  return out;
}

std::vector<float> HessianAccumulator::mean_abs() const {
  std::vector<float> out(k_);
  const double scale = rows_ ? 1.0 / static_cast<double>(rows_) : 0.0;
  for (std::size_t c = 0; c < k_; ++c) out[c] = static_cast<float>(sum_abs_[c] * scale);
  return out;
}

}  // namespace qeff
