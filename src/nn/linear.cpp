#include "nn/linear.hpp"

#include "qeff/core/matrix_view.hpp"

namespace qeff::nn {
namespace {

template <class X>
void multiply(const Linear& linear, const X& x, std::size_t m, float* y, Activation activation, const float* residual,
              Team team) {
  const std::size_t n = linear.weights.n;
  const Epilogue epilogue{linear.bias, activation, residual, residual ? n : 0};
  matmul(x, linear.weights, MatrixView<float>{y, m, n}, epilogue, *team.executor);
}

}  // namespace

void apply(const Linear& linear, const float* x, std::size_t m, float* y, Activation activation,
           const float* residual, Team team) {
  multiply(linear, MatrixView<const float>{x, m, linear.weights.k}, m, y, activation, residual, team);
}

void apply(const Linear& linear, RowSource x, std::size_t m, float* y, Activation activation, const float* residual,
           Team team) {
  multiply(linear, x, m, y, activation, residual, team);
}

}  // namespace qeff::nn
