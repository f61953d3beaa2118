#include "calib/float_matrix.hpp"

#include <algorithm>

#include "qeff/kernels/matmul.hpp"

namespace qeff::calib {
namespace {

using kernels::kPanel;

kernels::PackedView float_view(std::size_t n, std::size_t k) {
  kernels::PackedView view;
  view.n = n;
  view.k = view.group_size = k;
  return view;
}

/// The panels of x^T, (n, m), from x (m, n): lines of 16 neighbours of a row.
void pack_columns(MatrixView<const float> x, float* out, Executor& executor) {
  const kernels::PackedView view = float_view(x.cols, x.rows);
  executor.run(view.panels(), [&](std::size_t p) {
    float* line = out + p * view.k_padded() * kPanel;
    const std::size_t n = std::min(kPanel, x.cols - p * kPanel);
    for (std::size_t r = 0; r < x.rows; ++r, line += kPanel) {
      std::copy_n(x.row(r) + p * kPanel, n, line);
      std::fill(line + n, line + kPanel, 0.0F);
    }
    std::fill(line, out + (p + 1) * view.k_padded() * kPanel, 0.0F);
  });
}

/// out (n, m) = x^T
void transpose(MatrixView<const float> x, float* out, Executor& executor) {
  executor.run((x.cols + kPanel - 1) / kPanel, [&](std::size_t p) {
    const std::size_t end = std::min(x.cols, (p + 1) * kPanel);
    for (std::size_t r = 0; r < x.rows; ++r)
      for (std::size_t c = p * kPanel; c < end; ++c) out[c * x.rows + r] = x.row(r)[c];
  });
}

}  // namespace

FloatMatrix::FloatMatrix(std::size_t n, std::size_t k)
    : view_(float_view(n, k)), values_(view_.code_bytes()), gradient_(n * k * sizeof(float)) {
  view_.codes = values_.data();
}

void FloatMatrix::set(MatrixView<const float> w) {
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t c = 0; c < w.cols; ++c) panel(r / kPanel)[c * kPanel + r % kPanel] = w(r, c);
  changed();
}

/// Tiles of 16 x 16 from the panels of W to those of W^T.
void FloatMatrix::transpose_weights(Executor& executor) {
  const kernels::PackedView back = float_view(view_.k, view_.n);
  transposed_.reserve(back.code_bytes());
  executor.run(back.panels(), [&](std::size_t to) {
    float* out = transposed_.as<float>() + to * back.k_padded() * kPanel;
    for (std::size_t from = 0; from < view_.panels(); ++from) {
      const float* in = panel(from) + to * kPanel * kPanel;
      for (std::size_t r = 0; r < kPanel; ++r, out += kPanel)
        for (std::size_t c = 0; c < kPanel; ++c) out[c] = in[c * kPanel + r];
    }
  });
  transposed_is_old_ = false;
}

void FloatMatrix::multiply_transposed(MatrixView<const float> dy, MatrixView<float> dx,
                                      Executor& executor) {
  if (transposed_is_old_) transpose_weights(executor);
  kernels::PackedView back = float_view(view_.k, view_.n);
  back.codes = transposed_.data();
  matmul(dy, back, dx, {}, executor);
}

void FloatMatrix::add_gradient(MatrixView<const float> dy, MatrixView<const float> x,
                               Executor& executor) {
  kernels::PackedView outputs = float_view(dy.cols, dy.rows);
  packed_outputs_.reserve(outputs.code_bytes());
  inputs_.reserve(x.rows * x.cols * sizeof(float));
  pack_columns(dy, packed_outputs_.as<float>(), executor);
  transpose(x, inputs_.as<float>(), executor);
  outputs.codes = packed_outputs_.data();
  const MatrixView<float> sum{gradient(), x.cols, dy.cols};
  const Epilogue accumulate{.residual = gradient(), .residual_stride = dy.cols};
  matmul(MatrixView<const float>{inputs_.as<float>(), x.cols, x.rows}, outputs, sum, accumulate,
         executor);
}

}  // namespace qeff::calib
