#include "qeff/math/cholesky.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace qeff {
namespace {

using Matrix = Eigen::MatrixXd;
using Index = Eigen::Index;

constexpr Index kPanel = 64;  // columns of the triangular inverse per task

/// The matrix with rows and columns in reverse order, in the same memory; its lower triangle is the upper one of before.
Eigen::Map<Matrix> reversed(std::vector<double>& row_major, Index k) {
  std::ranges::reverse(row_major);
  Eigen::Map<Matrix> out(row_major.data(), k, k);  // by columns: transposed
  out.transposeInPlace();
  return out;
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
  const Eigen::LLT<Eigen::Ref<Matrix>> factor(lower);  // in place
  if (factor.info() != Eigen::Success) return false;
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
