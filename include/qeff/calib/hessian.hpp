/// @file
/// What calibration remembers of the inputs of a linear layer: H = mean of x x^T, mean |x|, and where the float
/// model's inputs are known too, how far the two have drifted apart: D = mean of x (x_float - x)^T.
///
/// One accumulator serves all layers that read the same input (q, k and v; gate and up).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff {

/// Sums over calibration rows in float32, in an order that does not depend on the thread count; of inputs rounded to
/// bf16 where the CPU multiplies those.
class HessianAccumulator {
 public:
  /// @throws InvalidArgument if k is 0; std::bad_alloc
  explicit HessianAccumulator(std::size_t k);

  /// Adds the rows of x, shape (m, k), any strides. A row with a NaN or an infinity is skipped.
  /// @throws InvalidArgument if x has not k columns.
  void add(MatrixView<const float> x, Executor& executor);
  /// Also adds to the drift. x_float: (m, k), what the float model has in the place of x.
  void add(MatrixView<const float> x, MatrixView<const float> x_float, Executor& executor);

  [[nodiscard]] std::size_t size() const noexcept { return k_; }     ///< k
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }  ///< Rows added so far.
  [[nodiscard]] std::size_t skipped_rows() const noexcept { return skipped_; }

  /// (k, k) row-major, symmetric: sum x x^T / rows; zero without rows.
  [[nodiscard]] std::vector<float> hessian() const;
  /// (k, k) row-major: sum x (x_float - x)^T / rows that came with x_float; empty if none did.
  [[nodiscard]] std::vector<float> drift() const;
  /// (k) sum |x| / rows.
  [[nodiscard]] std::vector<float> mean_abs() const;

 private:
  std::vector<std::size_t> finite_rows(MatrixView<const float> x, const MatrixView<const float>* x_float,
                                       std::size_t begin, Executor& executor);
  void pack_rows(MatrixView<const float> x, const MatrixView<const float>* x_float, std::span<const std::size_t> rows,
                 Executor& executor);
  void add_rows(MatrixView<const float> x, const MatrixView<const float>* x_float, Executor& executor);
  void add_products(const AlignedBuffer& right, std::size_t rows, std::vector<float>& sum, bool symmetric,
                    Executor& executor);
  [[nodiscard]] std::size_t panels() const noexcept;
  [[nodiscard]] std::size_t stride() const noexcept;  // k_, padded to whole panels

  std::size_t k_;
  std::size_t rows_ = 0;
  std::size_t drift_rows_ = 0;
  std::size_t skipped_ = 0;
  std::vector<float> sum_;        // (stride, stride), only blocks on and above the diagonal
  std::vector<float> drift_;      // (stride, stride)
  std::vector<double> sum_abs_;   // (stride)
  AlignedBuffer panels_;          // columns of the rows at hand, KernelTable::pack_columns
  AlignedBuffer changes_;         // likewise x_float - x
};

}  // namespace qeff
