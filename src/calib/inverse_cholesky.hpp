/// @file
/// The Cholesky factor of an inverse: upper U with A^-1 = U^T U, as GPTQ needs it.
///
/// A is factored from its last column to its first, A = R R^T with R upper; then U = R^-1. That is
/// one factorization and one triangular inverse instead of the usual Cholesky, inverse, Cholesky.
#pragma once

#include <cstddef>
#include <vector>

#include "qeff/core/executor.hpp"

namespace qeff::calib {

/// In float32, on the kernels that correct panels (KernelTable::subtract_products).
/// @param a  (k, k) row-major, symmetric; only its lower triangle is read. Moved in, it is the
///           only memory of its size at work beside u.
/// @param u  (k, k) row-major out: U, zero below the diagonal, every diagonal element > 0.
/// @return false, and u unspecified, if A is not positive definite to working precision or not
/// finite. The same bytes for any number of threads.
[[nodiscard]] bool inverse_cholesky(std::vector<float> a, std::size_t k, float* u, Executor& executor);

}  // namespace qeff::calib
