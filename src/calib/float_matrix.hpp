/// @file
/// A float weight matrix W that a loss is differentiated by: the three products of a linear layer
///
///     y = x W^T        dx = dy W        dW += dy^T x
///
/// on the float kernels. W lies packed (kernels/packed_weights.hpp), so that what writes it in lanes of
/// 16 rows need not pack it again.
#pragma once

#include <cstddef>

#include "qeff/core/aligned_buffer.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::calib {

class FloatMatrix {
 public:
  FloatMatrix(std::size_t n, std::size_t k);

  [[nodiscard]] std::size_t rows() const noexcept { return view_.n; }
  [[nodiscard]] std::size_t cols() const noexcept { return view_.k; }
  /// The weights, for y = x W^T.
  [[nodiscard]] const kernels::PackedView& view() const noexcept { return view_; }

  /// Row r of a panel of 16 rows, column c: panel(p)[c * 16 + r]. Call changed() after writing.
  [[nodiscard]] float* panel(std::size_t p) noexcept {
    return values_.as<float>() + p * view_.k_padded() * kernels::kPanel;
  }
  void set(MatrixView<const float> w);
  void changed() noexcept { transposed_is_old_ = true; }

  /// (cols, rows): element (c, r) belongs to W(r, c); add_gradient adds to what is there.
  [[nodiscard]] float* gradient() noexcept { return gradient_.as<float>(); }

  /// dx (m, cols) = dy (m, rows) W
  void multiply_transposed(MatrixView<const float> dy, MatrixView<float> dx, Executor& executor);
  /// gradient += dy^T x
  void add_gradient(MatrixView<const float> dy, MatrixView<const float> x, Executor& executor);

 private:
  void transpose_weights(Executor& executor);

  kernels::PackedView view_;
  AlignedBuffer values_, transposed_, gradient_;
  AlignedBuffer packed_outputs_, inputs_;  // of add_gradient
  bool transposed_is_old_ = true;
};

}  // namespace qeff::calib
