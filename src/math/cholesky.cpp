#include "qeff/math/cholesky.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace qeff {
namespace {

using Matrix = Eigen::MatrixXd;
using Index = Eigen::Index;

constexpr Index kPanel = 64;   // columns of the triangular inverse per task
constexpr Index kBlock = 128;  // columns that are factored together

/// The matrix with rows and columns in reverse order, in the same memory; its lower triangle is the upper one of before.
Eigen::Map<Matrix> reversed(std::vector<double>& row_major, Index k) {
  std::ranges::reverse(row_major);
  Eigen::Map<Matrix> out(row_major.data(), k, k);  // by columns: transposed
  out.transposeInPlace();
  return out;
}

/// Calls task(first, rows) for the rows [begin, end) in pieces, side by side.
template <class Task>
void by_rows(Index begin, Index end, Executor& executor, Task&& task) {
  executor.run(static_cast<std::size_t>((end - begin + kPanel - 1) / kPanel), [&](std::size_t i) {
    const Index first = begin + static_cast<Index>(i) * kPanel;
    task(first, std::min(kPanel, end - first));
  });
}

/// a = L L^T, of which the lower triangle is read and written. @return whether a is positive definite
bool factor(Eigen::Map<Matrix>& a, Executor& executor) {
  const Index k = a.rows();
  for (Index j = 0; j < k; j += kBlock) {
    const Index n = std::min(kBlock, k - j), behind = j + n;
    Eigen::Ref<Matrix> corner = a.block(j, j, n, n);
    const Eigen::LLT<Eigen::Ref<Matrix>> its(corner);  // in place
    if (its.info() != Eigen::Success) return false;
    by_rows(behind, k, executor, [&](Index row, Index rows) {
      auto part = a.block(row, j, rows, n);
      corner.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(part);
    });
    by_rows(behind, k, executor, [&](Index row, Index rows) {
      const Index columns = row + rows - behind;
      a.block(row, behind, rows, columns).noalias() -= a.block(row, j, rows, n) * a.block(behind, j, columns, n).transpose();
    });
  }
  return true;
}

/// Columns [begin, begin + n) of L^-1: zero above `begin`, so only the trailing block is solved.
Matrix inverse_columns(const Eigen::Ref<const Matrix>& lower, Index begin, Index n) {
  const Index m = lower.rows() - begin;
  Matrix out = Matrix::Zero(m, n);
  out.topRows(n).setIdentity();
  lower.bottomRightCorner(m, m).triangularView<Eigen::Lower>().solveInPlace(out);
  return out;
}

}  // namespace

bool inverse_cholesky(std::vector<double> a, std::size_t size, float* u, Executor& executor) {
  const auto k = static_cast<Index>(size);
  Eigen::Map<Matrix> lower = reversed(a, k);
  if (!factor(lower, executor)) return false;
  for (Index i = 0; i < k; ++i)
    if (!(lower(i, i) > 0) || !std::isfinite(lower(i, i))) return false;

  std::fill_n(u, size * size, 0.0F);
  const Index panels = (k + kPanel - 1) / kPanel;
  executor.run(static_cast<std::size_t>(panels), [&](std::size_t panel) {
    const Index begin = static_cast<Index>(panel) * kPanel;
    const Index n = std::min(kPanel, k - begin);
    const Matrix inverse = inverse_columns(lower, begin, n);
    for (Index r = 0; r < inverse.rows(); ++r)
      for (Index c = 0; c < std::min(n, r + 1); ++c)
        u[(k - 1 - begin - r) * k + (k - 1 - begin - c)] = static_cast<float>(inverse(r, c));
  });
  return std::all_of(u, u + size * size, [](float x) { return std::isfinite(x); });
}

}  // namespace qeff
