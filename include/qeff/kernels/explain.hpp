/// @file
/// What a matmul with packed weights would do on this machine, and how far from the roof it is.
///
///     least seconds = max(bytes / bandwidth of the level they fit in, operations / peak)
#pragma once

#include <cstddef>
#include <string>

#include "qeff/core/executor.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/kernels/roof.hpp"

namespace qeff {

/// One matmul of `rows` rows of x.
struct MatmulPlan {
  std::size_t rows = 0;
  kernels::Isa isa = kernels::Isa::portable;
  std::string kernel;         ///< kernel_name()
  double bytes = 0;           ///< Weights once, x and y once, as float32.
  double operations = 0;      ///< 2 rows n k
  std::string bound;          ///< What the least time comes from: "L1", "L2", "L3", "memory" or "products".
  double least_seconds = 0;   ///< By the roof of all threads.
  double seconds = 0;         ///< Measured, 0: not measured.

  /// Share of the roof reached, 0 if not measured.
  [[nodiscard]] double roof_share() const noexcept { return seconds > 0 ? least_seconds / seconds : 0; }
};

/// Bytes of codes, scales and zero points: what one pass over the weights reads.
[[nodiscard]] std::size_t weight_bytes(const kernels::PackedView& weights) noexcept;

/// Which way through the kernels `rows` rows take.
[[nodiscard]] const char* kernel_name(const kernels::PackedView& weights, std::size_t rows) noexcept;

/// What `rows` rows would cost under `roof`. @throws InvalidArgument if rows is 0
[[nodiscard]] MatmulPlan plan_matmul(const kernels::PackedView& weights, std::size_t rows,
                                     const kernels::Roof& roof);

/// Median seconds of the matmul, repeated for some 20 milliseconds: weights are as warm as their size
/// allows.
[[nodiscard]] double time_matmul(const kernels::PackedView& weights, std::size_t rows, Executor& executor);

/// The plan under the measured roof of the executor's team (kernels::measured_roof), timed if asked.
[[nodiscard]] MatmulPlan explain_matmul(const kernels::PackedView& weights, std::size_t rows,
                                        Executor& executor, bool measure);

}  // namespace qeff
