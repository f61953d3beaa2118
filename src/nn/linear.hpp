/// @file
/// A linear layer as every forward pass runs it.
#pragma once

#include <cstddef>
#include <string>

#include "qeff/core/executor.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::nn {

struct Linear {
  std::string name;  ///< As in the artifact: "layers.3.ffn1"
  kernels::PackedView weights;
  const float* bias = nullptr;  ///< (n), or null
};

/// How a step runs: alone on one thread, or with all threads inside it.
struct Team {
  Executor* executor = nullptr;
  std::size_t threads = 1;  ///< Inside the step.
};

/// y = activation(x W^T + bias) + residual, m rows; residual may be y or null.
void apply(const Linear& linear, const float* x, std::size_t m, float* y, Activation activation,
           const float* residual, Team team);
/// The same for rows of x that are made by the thread that needs them.
void apply(const Linear& linear, RowSource x, std::size_t m, float* y, Activation activation, const float* residual,
           Team team);

}  // namespace qeff::nn
