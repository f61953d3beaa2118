/// @file
/// GPTQ: rounds the columns of a weight matrix one after the other and lets the columns not yet
/// rounded make up for the error, as the Hessian of the calibration inputs weighs it.
///
/// Source: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
/// Transformers", ICLR 2023, algorithm 1.
#pragma once

#include <cstddef>
#include <string>

#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

struct GptqConfig {
  int bits = 4;                  ///< 2..8
  std::size_t group_size = 128;  ///< Columns that share a scale; 0: whole row.
  bool symmetric = false;        ///< No zero point.
  bool desc_act = false;    ///< Columns in order of falling Hessian diagonal (static groups: no
                            ///< g_idx is ever needed at run time).
  bool group_aware = true;  ///< Reorder within and between whole groups (GAR); the same layout
                            ///< at rest. Ignored with desc_act.
  bool static_groups = false;  ///< Scales of all groups before any rounding.
  double damp_percent = 0.01;  ///< Share of the mean diagonal added to it; escalates when needed.
  int range_grid = 40;         ///< Candidates of the Hessian-weighted range search; 0: min-max.
  int refine_sweeps = 2;       ///< Passes of descent on scales and codes after the rounding pass.
  bool measure_loss = true;    ///< Whether to compute GptqOutcome::loss, a third of the products.
};

struct GptqOutcome {
  QuantizedMatrix matrix;
  double damp_percent = 0;       ///< What the factorization finally used.
  std::size_t dead_columns = 0;  ///< Inputs that are always zero: rounded to nearest, never erased.
  double loss = 0;               ///< tr((W-W') H (W-W')^T) / tr(W H W^T); 0 if not measured
  std::string fallback;          ///< Empty, or why the matrix was rounded to nearest instead.
};

/// @param w        (n, k) weights, finite.
/// @param hessian  (k, k) symmetric: mean over calibration rows of x^T x.
/// @throws InvalidArgument for shapes, ranges and non-finite weights; never for a bad Hessian:
///         that ends in damping, a diagonal floor or rounding to nearest, and the outcome says so.
/// Bytes of the result are the same for any number of threads.
[[nodiscard]] GptqOutcome gptq(MatrixView<const float> w, MatrixView<const float> hessian,
                               const GptqConfig& config, Executor& executor);

}  // namespace qeff
