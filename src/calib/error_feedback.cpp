#include "calib/error_feedback.hpp"

#include <numeric>

#include "calib/damped_hessian.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/pack.hpp"

namespace qeff::calib {
namespace {

/// x m^T, x: (n, k), m: (k, k), on the float kernels.
std::vector<float> times_transposed(MatrixView<const float> x, MatrixView<const float> m, Executor& executor) {
  std::vector<float> y(x.rows * m.rows);
  matmul(x, pack_float(m).view, MatrixView<float>{y.data(), x.rows, m.rows}, {}, executor);
  return y;
}

}  // namespace

std::vector<float> fed_back(MatrixView<const float> w, MatrixView<const float> hessian, MatrixView<const float> drift,
                            double share, double damp_percent, Executor& executor) {
  const std::size_t n = w.rows, k = w.cols;
  std::vector<float> out(n * k);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = w(i / k, i % k);
  DampedHessian h = normalize_hessian(hessian);
  if (!h.failure.empty()) return out;
  std::vector<std::size_t> natural(k);
  std::iota(natural.begin(), natural.end(), std::size_t{0});
  damp_and_factor(h, natural, damp_percent, executor);
  if (!h.failure.empty()) return out;
  // values = H / mean_diagonal + damping = (U^T U)^-1
  const MatrixView<const float> u{h.factor.data(), k, k};
  const std::vector<float> moved = times_transposed(w, drift, executor);
  const std::vector<float> half = times_transposed({moved.data(), n, k}, u, executor);
  const std::vector<float> change =
      times_transposed({half.data(), n, k}, {h.factor.data(), k, k, 1, static_cast<std::ptrdiff_t>(k)}, executor);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] += static_cast<float>(share / h.mean_diagonal) * change[i];
  return out;
}

}  // namespace qeff::calib
