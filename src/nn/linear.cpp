#include "nn/linear.hpp"

#include "qeff/core/matrix_view.hpp"

namespace qeff::nn {

void apply(const Linear& linear, const float* x, std::size_t m, float* y, Activation activation,
           const float* residual, Team team) {
  const auto& w = linear.weights;
  const Epilogue epilogue{linear.bias, activation, residual, residual ? w.n : 0};
  matmul(MatrixView<const float>{x, m, w.k}, w, MatrixView<float>{y, m, w.n}, epilogue,
         *team.executor);
}

void apply(const Linear& linear, RowSource x, std::size_t m, float* y, Activation activation, const float* residual,
           Team team) {
  const auto& w = linear.weights;
  const Epilogue epilogue{linear.bias, activation, residual, residual ? w.n : 0};
  matmul(x, w, MatrixView<float>{y, m, w.n}, epilogue, *team.executor);
}

}  // namespace qeff::nn
