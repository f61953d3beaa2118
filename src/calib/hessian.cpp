#include "qeff/calib/hessian.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t kChunkRows = 512;
constexpr std::size_t kTile = 128;

}  // namespace

HessianAccumulator::HessianAccumulator(std::size_t k) : k_(k) {
  require(k > 0, "Hessian: the size must be at least 1");
  sum_.assign(k * k, 0.0F);
  sum_abs_.assign(k, 0.0);
}

void HessianAccumulator::add(MatrixView<const float> x, Executor& executor) {
  require(x.cols == k_, "Hessian: the input has ", x.cols, " columns, expected ", k_);
  chunk_.resize(kChunkRows * k_);
  for (std::size_t begin = 0; begin < x.rows; begin += kChunkRows)
    add_products(copy_finite_rows(x, begin), executor);
}

std::size_t HessianAccumulator::copy_finite_rows(MatrixView<const float> x, std::size_t begin) {
  std::size_t kept = 0;
  for (std::size_t r = begin; r < std::min(x.rows, begin + kChunkRows); ++r) {
    float* row = chunk_.data() + kept * k_;
    bool finite = true;
    for (std::size_t c = 0; c < k_; ++c) {
      row[c] = x(r, c);
      finite = finite && std::isfinite(row[c]);
    }
    if (!finite) {
      ++skipped_;
      continue;
    }
    for (std::size_t c = 0; c < k_; ++c) sum_abs_[c] += std::fabs(row[c]);
    ++kept;
  }
  rows_ += kept;
  return kept;
}

void HessianAccumulator::add_products(std::size_t rows, Executor& executor) {
  const auto index = [](std::size_t i) { return static_cast<Eigen::Index>(i); };
  const Eigen::Map<const RowMajor> x(chunk_.data(), index(rows), index(k_));
  Eigen::Map<RowMajor> sum(sum_.data(), index(k_), index(k_));
  const std::size_t tiles = (k_ + kTile - 1) / kTile;
  executor.run(tiles * tiles, [&](std::size_t tile) {
    const std::size_t i = tile / tiles * kTile, j = tile % tiles * kTile;
    if (i > j) return;
    const auto ni = index(std::min(kTile, k_ - i)), nj = index(std::min(kTile, k_ - j));
    sum.block(index(i), index(j), ni, nj).noalias() +=
        x.middleCols(index(i), ni).transpose() * x.middleCols(index(j), nj);
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
