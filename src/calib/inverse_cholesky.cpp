#include "calib/inverse_cholesky.hpp"

#include <algorithm>
#include <cmath>

#include "calib/panel.hpp"

namespace qeff::calib {
namespace {

constexpr std::size_t kRows = 64;        // of a task
constexpr std::size_t kSolvedRows = 32;  // of the triangular inverse, solved one by one
/// Share of a diagonal element that has to be left of it: less is what the sums before it were rounded by.
constexpr double kLeastPivot = 1e-6;

/// Columns [begin, begin + n) of the first rows of L^T, which has rows of k floats; n <= 16.
void load_columns(const float* from, std::size_t k, std::size_t begin, std::size_t n, std::span<Lanes> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = Lanes::Zero();
    std::copy_n(from + i * k + begin, n, out[i].data());
  }
}

/// 16 columns of L: what is known of them in columns and in L^T.
class FactorPanel {
 public:
  /// `before`: the panel's columns of the rows of L^T above it.
  FactorPanel(std::vector<float>& transposed, std::size_t k, std::size_t begin, std::span<const Lanes> before)
      : lt_(transposed.data()), k_(k), begin_(begin), n_(std::min(kLanes, k - begin)), before_(before) {}

  /// The triangle on the diagonal. @return whether it is positive definite
  bool factor_corner() {
    Lanes corner[kLanes];
    correct(begin_, std::span(corner, n_));
    for (std::size_t j = 0; j < n_; ++j) {
      double pivot = static_cast<double>(lane(corner[j], j));
      for (std::size_t d = 0; d < j; ++d) pivot -= corner_[j][d] * corner_[j][d];
      const auto diagonal = static_cast<double>(lt_[(begin_ + j) * k_ + begin_ + j]);
      if (!(pivot > kLeastPivot * diagonal) || !std::isfinite(pivot)) return false;
      corner_[j][j] = std::sqrt(pivot);
      for (std::size_t t = j + 1; t < n_; ++t) {
        double value = static_cast<double>(lane(corner[t], j));
        for (std::size_t d = 0; d < j; ++d) value -= corner_[t][d] * corner_[j][d];
        corner_[t][j] = value / corner_[j][j];
      }
    }
    for (std::size_t j = 0; j < n_; ++j)
      for (std::size_t t = j; t < n_; ++t) lt_[(begin_ + j) * k_ + begin_ + t] = static_cast<float>(corner_[t][j]);
    return true;
  }

  /// Rows [row, row + rows) of the columns. @pre rows <= kRows
  void solve_rows(std::size_t row, std::size_t rows) {
    Lanes values[kRows];
    correct(row, std::span(values, rows));
    float columns[kLanes][kRows];
    for (std::size_t j = 0; j < n_; ++j) {
      for (std::size_t t = 0; t < rows; ++t) columns[j][t] = lane(values[t], j);
      for (std::size_t d = 0; d < j; ++d) {
        const auto factor = static_cast<float>(corner_[j][d]);
        for (std::size_t t = 0; t < rows; ++t) columns[j][t] -= factor * columns[d][t];
      }
      const auto inverse = static_cast<float>(1 / corner_[j][j]);
      for (std::size_t t = 0; t < rows; ++t) columns[j][t] *= inverse;
      std::copy_n(columns[j], rows, lt_ + (begin_ + j) * k_ + row);
    }
  }

 private:
  /// A less what the columns before make of it, rows [row, row + out.size()).
  void correct(std::size_t row, std::span<Lanes> out) const {
    for (std::size_t t = 0; t < out.size(); ++t) {
      out[t] = Lanes::Zero();
      for (std::size_t j = 0; j < n_ && begin_ + j <= row + t; ++j) lane(out[t], j) = lt_[(begin_ + j) * k_ + row + t];
    }
    subtract_products(before_, lt_ + row, k_, out);
  }

  float* lt_;
  std::size_t k_, begin_, n_;
  std::span<const Lanes> before_;
  double corner_[kLanes][kLanes];  // of L
};

/// a, of which the upper triangle is read and written, becomes L^T with A = L L^T.
bool factor(std::vector<float>& a, std::size_t k, Executor& executor) {
  std::vector<Lanes> before(k);
  for (std::size_t begin = 0; begin < k; begin += kLanes) {
    const auto above = std::span(before).first(begin);
    const std::size_t end = std::min(k, begin + kLanes);
    load_columns(a.data(), k, begin, end - begin, above);
    FactorPanel panel(a, k, begin, above);
    if (!panel.factor_corner()) return false;
    executor.run((k - end + kRows - 1) / kRows, [&](std::size_t i) {
      const std::size_t row = end + i * kRows;
      panel.solve_rows(row, std::min(kRows, k - row));
    });
  }
  return true;
}

/// Columns [begin, begin + 16) of L^-1 from row `begin` on.
std::vector<Lanes> inverse_columns(const std::vector<float>& transposed, std::size_t k, std::size_t begin) {
  std::vector<Lanes> x(k - begin, Lanes::Zero());
  for (std::size_t i = 0; i < std::min(kLanes, x.size()); ++i) lane(x[i], i) = 1;
  const std::span<Lanes> rows(x);
  const float* const lt = transposed.data() + begin * k + begin;
  for (std::size_t first = 0; first < x.size(); first += kSolvedRows) {
    const auto block = rows.subspan(first, std::min(kSolvedRows, x.size() - first));
    subtract_products(rows.first(first), lt + first, k, block);
    for (std::size_t i = 0; i < block.size(); ++i) {
      const float* const column = lt + (first + i) * k + first + i;
      block[i] /= *column;
      subtract_products(block.subspan(i, 1), column + 1, k, block.subspan(i + 1));
    }
  }
  return x;
}

}  // namespace

bool inverse_cholesky(std::vector<float> a, std::size_t k, float* u, Executor& executor) {
  std::ranges::reverse(a);  // last column first: what was below the diagonal is above it
  if (!factor(a, k, executor)) return false;
  std::fill_n(u, k * k, 0.0F);
  executor.run(panel_count(k), [&](std::size_t panel) {
    const std::size_t begin = panel * kLanes;
    const std::vector<Lanes> x = inverse_columns(a, k, begin);
    for (std::size_t r = 0; r < x.size(); ++r)
      for (std::size_t c = 0; c < std::min(kLanes, r + 1); ++c)
        u[(k - 1 - begin - r) * k + (k - 1 - begin - c)] = lane(x[r], c);
  });
  return std::all_of(u, u + k * k, [](float x) { return std::isfinite(x); });
}

}  // namespace qeff::calib
