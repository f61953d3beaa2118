/// @file
/// y = act(x W^T + bias) + residual with packed weights: what a linear layer asks of the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "qeff/core/executor.hpp"
#include "qeff/core/function_ref.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff {

/// Function applied to a sum after the bias.
enum class Activation : std::uint8_t {
  none,
  relu,
  gelu,       ///< x * (1 + erf(x / sqrt 2)) / 2
  gelu_tanh,  ///< tanh approximation of it (GPT-2 "gelu_new")
  silu
};

/// What happens to a row of sums before it is stored. y = activation(sum + bias) + residual.
struct Epilogue {
  const float* bias = nullptr;      ///< (n) or null
  Activation activation = Activation::none;
  const float* residual = nullptr;  ///< (m, n) or null, may be y itself
  std::size_t residual_stride = 0;  ///< Floats from one row to the next.
};

/// y = epilogue(x W^T), x: (m, k), y: (m, n), rows contiguous, any row stride, any alignment.
/// Integer sums are exact; floats are the same bytes for any number of threads.
/// @throws InvalidArgument if a shape does not fit.
void matmul(MatrixView<const float> x, const kernels::PackedView& weights, MatrixView<float> y,
            const Epilogue& epilogue, Executor& executor);

/// Makes rows [first, last) of x, (last - first, k) with contiguous rows at out, by the thread that needs them: what
/// precedes a matmul (a norm, a gate) is then still in the cache of that thread.
using RowSource = FunctionRef<void(std::size_t first, std::size_t last, float* out)>;

/// The same for an x of y.rows rows that is never stored as a whole. rows_of is called by several threads at once.
void matmul(RowSource rows_of, const kernels::PackedView& weights, MatrixView<float> y, const Epilogue& epilogue,
            Executor& executor);

/// The int32 sums of an int8 matmul before any scale, acc: (m, n) row-major. With group scales the
/// sums of group `group` only. For tests: the same on every ISA.
void matmul_accumulators(MatrixView<const float> x, const kernels::PackedView& weights,
                         std::size_t group, std::int32_t* acc);

/// One line on how `weights` would be multiplied here: ISA, kernel, bytes per pass.
[[nodiscard]] std::string explain(const kernels::PackedView& weights);

}  // namespace qeff
