/// @file
/// Learned rounding of one matrix: what is rounded up and what down, and how far each group's range
/// reaches, follow the sign of a loss's gradient.
///
///     W' = S (clamp(round(w / S + V) + Z, 0, q) - Z)
///     S = (b high - a low) / q,  Z = round(-a low / S)          symmetric: Z = 0, S = b high / q
///
/// V in [-1/2, 1/2] belongs to each weight, a and b in [1/2, 3/2] to each group. round() passes the
/// gradient on, clamp() where it does nothing. The start is a quantized matrix: low and high are the ends of
/// its ranges, and w is moved to the nearest place that rounds to its code. A weight near the border of its cell
/// is the first to go over; move_to_minima() puts there what GPTQ was least sure of.
///
/// Source: W. Cheng et al., "Optimize Weight Rounding via Signed Gradient Descent for the Quantization
/// of LLMs", 2023, section 3; there w is always the weight and a, b start at its extremes.
#pragma once

#include <vector>

#include "calib/float_matrix.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff::calib {

/// How far one step goes.
struct RoundingStep {
  float rounding = 0;  ///< Change of V.
  float range = 0;     ///< Change of a and b.
  float momentum = 0;  ///< Share of the gradients so far that counts in the next step.
};

/// w becomes, for each weight, the value with the smallest loss e H e^T, e = w - W', given all others as they are
/// in `start`: W'_c + (e H)_c / H_cc. Unchanged where the Hessian says nothing.
void move_to_minima(MatrixView<float> w, const QuantizedMatrix& start, MatrixView<const float> hessian,
                    Executor& executor);

class LearnedRounding {
 public:
  /// @pre start is affine and has the shape of w.
  LearnedRounding(MatrixView<const float> w, const QuantizedMatrix& start, Executor& executor);

  /// W' as it is now. Gradients added to it are what step() follows.
  [[nodiscard]] FloatMatrix& weights() noexcept { return weights_; }
  void step(const RoundingStep& how, Executor& executor);

  /// Remembers the state for result().
  void keep() { kept_ = now_; }
  /// The state last kept, else the start.
  [[nodiscard]] QuantizedMatrix result() const;

 private:
  /// 16 rows of a group.
  struct Group {
    float a[kernels::kPanel], b[kernels::kPanel];
  };
  struct Variables {
    std::vector<float> v;       // [panel][k][16]
    std::vector<Group> groups;  // [panel][group]
  };
  struct Grid;
  [[nodiscard]] Grid grid(const Group& group, std::size_t index) const;
  void start_panel(MatrixView<const float> w, std::size_t panel);
  void step_panel(const RoundingStep& how, std::size_t panel);
  void write_panel(std::size_t panel);

  const QuantizedMatrix start_;
  std::size_t groups_;
  float steps_;                  // q
  std::vector<float> w_;         // [panel][k][16]
  std::vector<Group> low_high_;  // of the start, as a and b
  Variables now_, kept_;
  FloatMatrix weights_;
};

}  // namespace qeff::calib
