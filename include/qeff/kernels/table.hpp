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
  std::size_t rows = 0;              ///< Rows of x multiplied together, as given to prepare_rows.
  const std::byte* a = nullptr;      ///< these rows as prepare_rows wrote them
  const float* a_scales = nullptr;   ///< (rows, groups), int8 activations only
  float* y = nullptr;
  std::size_t y_stride = 0;
  const float* bias = nullptr;
  std::uint8_t activation = 0;       ///< qeff::Activation
  const float* residual = nullptr;
  std::size_t residual_stride = 0;
  std::int32_t* accumulators = nullptr;  ///< If set: raw int32 sums of `group`, (m, n), instead of y.
  std::size_t group = 0;
  std::size_t threads = 1;           ///< That take parts of one size in turns: no result depends on it.
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
  bool bf16 = false;             ///< Whether q times the scale, k, the weights and v are rounded to bf16.
};

/// Form of cached keys and values.
enum class CachedAs : std::uint8_t { f32, bf16, int8, int4 };

/// Reduction indices in one line (64 bytes) of cached keys or values.
[[nodiscard]] QEFF_INLINE constexpr std::size_t cache_steps(CachedAs format) noexcept {
  return std::size_t{1} << static_cast<unsigned>(format);
}

/// Keys whose sums are computed together. Those of consecutive segments, which begin at multiples of it, are joined in
/// ascending order, whether one call computes all of them or each a call of its own.
inline constexpr std::size_t kAttentionSegment = 256;

/// Floats of the sums of one row over one segment: head_dim padded to 16, then maximum and total.
[[nodiscard]] QEFF_INLINE constexpr std::size_t attention_sums(std::size_t head_dim) noexcept {
  return (head_dim + 15) / 16 * 16 + 16;
}

/// The first key that the token at `position` sees; window 0: all.
[[nodiscard]] QEFF_INLINE constexpr std::size_t first_visible_key(std::size_t window, std::size_t position) noexcept {
  return window != 0 && position >= window ? position - window + 1 : 0;
}

/// Causal attention of consecutive new tokens of one sequence, for the query heads that share one head
/// of keys and values.
///
/// Keys lie as packed weights do: panels of 16 keys, in them lines of cache_steps() consecutive
/// dimensions by 16 keys. Values likewise with the roles exchanged: panels of 16 dimensions, in them
/// lines of consecutive keys by 16 dimensions. What lies behind the last key must be finite.
struct CachedAttentionArgs {
  const float* q = nullptr;       ///< (tokens, heads, head_dim), tokens q_stride apart
  std::size_t q_stride = 0;
  std::size_t tokens = 0, heads = 0, head_dim = 0;
  std::size_t first = 0;          ///< Position of the first token; it sees the keys 0..first.
  std::size_t window = 0;         ///< A token sees so many keys, itself included; 0: all.
  float scale = 1.0f;             ///< Multiplies q k^T.
  float softcap = 0.0f;           ///< c: scores become c tanh(score / c); 0: they stay.
  CachedAs format = CachedAs::f32;
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  std::size_t value_pitch = 0;          ///< Bytes from one panel of values to the next.
  const float* key_scales = nullptr;    ///< One a key, up to a multiple of 64; of integers, else null.
  const float* value_scales = nullptr;
  float* out = nullptr;           ///< (tokens, heads, head_dim), tokens out_stride apart
  std::size_t out_stride = 0;
  float* sums = nullptr;          ///< If set, instead of out: of one segment, (tokens, heads, attention_sums(head_dim)).
  std::size_t segment = 0;        ///< Which one then: keys from segment * kAttentionSegment on.
};

/// Kinds of products, for the roof.
enum class Product : std::uint8_t {
  int8,  ///< int8 by int8
  u4,    ///< int8 by unsigned 4-bit codes
  i16,   ///< int16 by unsigned 4-bit codes
  bf16,  ///< summed in float32
  f32
};

/// Bytes of a row of x, and of a column of weights, in one tile of KernelTable::roof_fed.
inline constexpr std::size_t kRoofDepth = 512;
/// Bytes that the panels of one tile have at most: roof_fed takes a multiple of it.
inline constexpr std::size_t kRoofUnit = 2 * kPanel * kRoofDepth;
/// Bytes of operands the roof loops need.
inline constexpr std::size_t kRoofOperands = 32 * kRoofDepth;

/// The grids that a group of 16 rows is rounded in, one each: x becomes scale * round(x / scale), which stays within
/// first and last steps from zero.
struct RoundingGrid {
  float scale[kPanel], first[kPanel], last[kPanel];
};

struct KernelTable {
  Isa isa;
  bool multiplies_bf16;  ///< Products of bf16 are faster than those of float32.

  /// Bytes of each of `rows` prepared activation rows.
  std::size_t (*row_bytes)(const PackedView& weights, std::size_t rows) noexcept;

  /// x: (rows, k) with row stride x_stride -> rows [first, last) of a. int8: scale of each group =
  /// max|x| / 127 (1 for zeros; PackedView::activation_groups says of what), codes round to nearest even in [-127, 127]; bf16: rounded to
  /// nearest even. x is multiplied by the input_scale of the weights first if there is one.
  void (*prepare_rows)(const PackedView& weights, std::size_t rows, const float* x, std::size_t x_stride,
                       std::size_t first, std::size_t last, std::byte* a, float* a_scales) noexcept;

  /// What multiplies `rows` rows with these weights, for people to read.
  const char* (*kernel_name)(const PackedView& weights, std::size_t rows) noexcept;

  /// Bytes of scratch gemm needs for `rows` rows, 64-byte aligned.
  std::size_t (*scratch_bytes)(const PackedView& weights, std::size_t rows) noexcept;

  /// Rows [m_begin, m_end) and panels [panel_begin, panel_end) of y.
  void (*gemm)(const GemmArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t panel_begin,
               std::size_t panel_end, std::byte* scratch) noexcept;

  /// out = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta with v = x (+ residual if not null),
  /// row by row; x, residual, out: (m, n) with stride n. out may be x.
  void (*layer_norm)(const float* x, const float* residual, const float* gamma, const float* beta, float eps,
                     float* out, std::size_t m, std::size_t n) noexcept;

  /// out = x / sqrt(mean(x^2) + eps) * gamma, row by row, m rows of n; out may be x.
  void (*rms_norm)(const float* x, std::size_t x_stride, const float* gamma, float eps, float* out,
                   std::size_t out_stride, std::size_t m, std::size_t n) noexcept;

  /// out[r][i] = activation(x[r][i]) * x[r][n + i]; x: (m, 2 n), out: (m, n).
  void (*gate)(const float* x, std::size_t n, std::uint8_t activation, float* out, std::size_t m) noexcept;

  /// Rotates the pairs (i, half + i), i < half, of each head by the angles whose cos and sin are given.
  void (*rope)(float* x, std::size_t heads, std::size_t head_dim, const float* cos, const float* sin,
               std::size_t half) noexcept;

  /// Floats of scratch cached_attention needs.
  std::size_t (*cached_attention_scratch)(std::size_t head_dim) noexcept;
  /// out = softmax(scale * q k^T) v over the keys that each token may see.
  void (*cached_attention)(const CachedAttentionArgs& args, float* scratch) noexcept;
  /// out from the sums of consecutive segments, one after the other in args.sums, which are overwritten: the
  /// bytes of one call for all keys.
  void (*join_attention)(const CachedAttentionArgs& args, std::size_t segments) noexcept;

  /// Floats of scratch attention needs.
  std::size_t (*attention_scratch)(std::size_t tokens, std::size_t head_dim) noexcept;
  /// out = softmax(scale * q k^T + bias) v
  void (*attention)(const AttentionArgs& args, float* scratch) noexcept;

  /// target[t] -= sum over j < sources of source[j] * factors[j * stride + t]; source[j] and target[t] are 16 floats,
  /// one of each row of a panel of weights: what calibration corrects by.
  void (*subtract_products)(const float* source, std::size_t sources, const float* factors, std::size_t stride,
                            float* target, std::size_t targets) noexcept;

  /// errors[c] = sum over j < columns of weights[j] * (values[j] - what grids[c] makes of it)^2; values[j], errors[c]:
  /// 16 floats, one of each row of a panel. Divides by multiplying with 1 / scale. @pre |first|, |last| < 2^22
  void (*rounding_errors)(const float* values, const float* weights, std::size_t columns, const RoundingGrid* grids,
                          std::size_t count, float* errors) noexcept;

  /// Bytes of a panel of pack_columns, a multiple of 64.
  std::size_t (*column_panel_bytes)(std::size_t rows) noexcept;
  /// x: (rows, 16), 64-byte aligned, to a panel of its columns; rounded to bf16 where those are multiplied.
  void (*pack_columns)(const float* x, std::size_t rows, std::byte* panel) noexcept;
  /// sums[i * stride + j] += sum over the rows of column i of `left` times column j of the `panels` at `right`, one
  /// behind the other; i < 16, j < 16 * panels.
  void (*add_column_products)(const std::byte* left, const std::byte* right, std::size_t panels, std::size_t rows,
                              float* sums, std::size_t stride) noexcept;

  /// Multiplies registers, `rounds` times as many as it takes to be busy. operands: kRoofOperands bytes,
  /// any that are finite numbers in every type. Returns operations (2 a product), 0 if the ISA has no such
  /// product; out: 64 bytes, some of the sums. @pre rounds <= 2^15
  double (*roof_registers)(Product product, const std::byte* operands, std::size_t rounds, std::byte* out) noexcept;
  /// The same with the register tile of the matmuls over rows in a (kRoofOperands bytes) and weights in
  /// b, each read once; b_bytes: a multiple of kRoofUnit. Returns 0 if there is no such tile.
  double (*roof_fed)(Product product, const std::byte* a, const std::byte* b, std::size_t b_bytes,
                     std::byte* out) noexcept;
  /// Reads everything once and asks for what lies `ahead` bytes further, unless that is 0. bytes: a multiple of 256.
  void (*roof_read)(const std::byte* from, std::size_t bytes, std::size_t ahead, std::byte* out) noexcept;
};

}  // namespace qeff::kernels
