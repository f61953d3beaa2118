/// @file
/// What calibration remembers of the inputs of a linear layer: H = mean of x x^T, mean |x|.
///
/// One accumulator serves all layers that read the same input (q, k and v; gate and up).
#pragma once

#include <cstddef>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff {

/// Sums over calibration rows in float32, in an order that does not depend on the thread count.
class HessianAccumulator {
 public:
  /// @throws InvalidArgument if k is 0; std::bad_alloc
  explicit HessianAccumulator(std::size_t k);

  /// Adds the rows of x, shape (m, k), any strides. A row with a NaN or an infinity is skipped.
  /// @throws InvalidArgument if x has not k columns.
  void add(MatrixView<const float> x, Executor& executor);

  [[nodiscard]] std::size_t size() const noexcept { return k_; }     ///< k
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }  ///< Rows added so far.
  [[nodiscard]] std::size_t skipped_rows() const noexcept { return skipped_; }

  /// (k, k) row-major, symmetric: sum x x^T / rows; zero without rows.
  [[nodiscard]] std::vector<float> hessian() const;
  /// (k) sum |x| / rows.
  [[nodiscard]] std::vector<float> mean_abs() const;

 private:
  std::size_t copy_finite_rows(MatrixView<const float> x, std::size_t begin);
  void add_products(Executor& executor);

  std::size_t k_;
  std::size_t rows_ = 0;
  std::size_t skipped_ = 0;
  std::vector<float> sum_;             // (k, k), only blocks on and above the diagonal
  std::vector<double> sum_abs_;        // (k)
  AlignedBuffer panels_;               // rows waiting for add_products, packed as weights (k, rows)
  AlignedBuffer transposed_, inputs_;  // the same as (k, rows), plain and as inputs of a matmul
};

}  // namespace qeff
