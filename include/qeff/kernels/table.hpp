/// @file
/// Every kernel qeff asks of an instruction set, as plain functions on plain memory.
///
/// Each ISA fills one KernelTable (src/kernels/isa/). Kernels do not allocate, throw, lock or check.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::kernels {

/// Operands of a matmul; see matmul.hpp for the formula. POD.
struct GemmArgs {
  const PackedView* weights = nullptr;
  const std::byte* a = nullptr;      ///< m rows as prepare_rows wrote them
  const float* a_scales = nullptr;   ///< (m), int8 activations only
  float* y = nullptr;
  std::size_t y_stride = 0;
  const float* bias = nullptr;
  std::uint8_t activation = 0;       ///< qeff::Activation
  const float* residual = nullptr;
  std::size_t residual_stride = 0;
  std::int32_t* accumulators = nullptr;  ///< If set: raw int32 sums of `group`, (m, n), instead of y.
  std::size_t group = 0;
};

/// Scaled dot-product attention of one sequence and one head.
struct AttentionArgs {
  const float* q = nullptr;  ///< (tokens, head_dim), row stride qkv_stride; k and v likewise
  const float* k = nullptr;
  const float* v = nullptr;
  std::size_t qkv_stride = 0;
  float* out = nullptr;      ///< (tokens, head_dim), row stride out_stride
  std::size_t out_stride = 0;
  std::size_t tokens = 0;
  std::size_t head_dim = 0;
  float scale = 1.0f;            ///< Multiplies q k^T.
  const float* bias = nullptr;   ///< (tokens, tokens) added to the scores, row stride bias_stride
  std::size_t bias_stride = 0;
};

struct KernelTable {
  Isa isa;

  /// Bytes of one prepared activation row.
  std::size_t (*row_bytes)(Activations mode, std::size_t k_padded) noexcept;

  /// x: (m, k) with row stride x_stride -> a: m rows of row_bytes. int8: scale = max|x| / 127 (1 for
  /// a row of zeros), codes round to nearest even in [-127, 127]; bf16: rounded to nearest even.
  /// x is multiplied by input_scale (k values) first if it is not null.
  void (*prepare_rows)(Activations mode, const float* x, std::size_t x_stride, std::size_t m, std::size_t k,
                       const float* input_scale, std::byte* a, float* a_scales) noexcept;

  /// Bytes of scratch gemm needs for these weights, 64-byte aligned.
  std::size_t (*scratch_bytes)(const PackedView& weights) noexcept;

  /// Rows [m_begin, m_end) and panels [panel_begin, panel_end) of y.
  void (*gemm)(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel_begin,
               std::size_t panel_end, std::byte* scratch) noexcept;

  /// out = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta with v = x (+ residual if not null),
  /// row by row; x, residual, out: (m, n) with stride n. out may be x.
  void (*layer_norm)(const float* x, const float* residual, const float* gamma, const float* beta, float eps,
                     float* out, std::size_t m, std::size_t n) noexcept;

  /// Floats of scratch attention needs.
  std::size_t (*attention_scratch)(std::size_t tokens, std::size_t head_dim) noexcept;
  /// out = softmax(scale * q k^T + bias) v
  void (*attention)(const AttentionArgs& args, float* scratch) noexcept;
};

}  // namespace qeff::kernels
