#include "qeff/kernels/explain.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {

std::size_t weight_bytes(const kernels::PackedView& w) noexcept {
  return w.code_bytes() + w.scale_bytes() + (w.zero_points ? w.scale_count() : 0);
}

const char* kernel_name(const kernels::PackedView& w, std::size_t rows) noexcept {
  return kernels::active().kernel_name(w, rows);
}

MatmulPlan plan_matmul(const kernels::PackedView& w, std::size_t rows, const kernels::Roof& roof) {
  require(rows > 0, "explain: rows must be at least 1");
  const std::size_t bytes = weight_bytes(w) + rows * (w.k + w.n) * sizeof(float);
  MatmulPlan plan;
  plan.rows = rows;
  plan.isa = roof.isa;
  plan.kernel = kernel_name(w, rows);
  plan.bytes = static_cast<double>(bytes);
  plan.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(w.n) * static_cast<double>(w.k);
  const double reading = plan.bytes * 1e-9 / roof.bandwidth(bytes);
  const double multiplying = plan.operations * 1e-9 / roof.peak(w.format, w.activations);
  plan.bound = reading > multiplying ? roof.level(bytes) : "products";
  plan.least_seconds = std::max(reading, multiplying);
  return plan;
}

double time_matmul(const kernels::PackedView& w, std::size_t rows, Executor& executor) {
  using Clock = std::chrono::steady_clock;
  std::vector<float> x(rows * w.k), y(rows * w.n);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 255) / 127.0f - 1.0f;
  std::vector<double> times;
  const auto end = Clock::now() + std::chrono::milliseconds(20);
  while (times.size() < 4 || (Clock::now() < end && times.size() < 10'000)) {
    const auto start = Clock::now();
    matmul({x.data(), rows, w.k}, w, {y.data(), rows, w.n}, {}, executor);
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const auto middle = times.begin() + 1 + static_cast<std::ptrdiff_t>((times.size() - 1) / 2);  // the first warms up
  std::nth_element(times.begin() + 1, middle, times.end());
  return *middle;
}

MatmulPlan explain_matmul(const kernels::PackedView& w, std::size_t rows, Executor& executor, bool measure) {
  MatmulPlan plan = plan_matmul(w, rows, kernels::measured_roof(executor));
  if (measure) plan.seconds = time_matmul(w, rows, executor);
  return plan;
}

}  // namespace qeff
