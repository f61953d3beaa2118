/// @file
/// From a quantized or float matrix to the packed order, and back for tests and export.
#pragma once

#include <optional>
#include <span>

#include "qeff/core/matrix_view.hpp"
#include "qeff/kernels/packed_weights.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff {

/// Packs `q`. Codes of fewer than 4 bits are stored as u4, of 5..8 bits as u8 (affine) or i8
/// (symmetric: signed codes without zero points). Scales of groups that are all values of bfloat16
/// are stored as such.
/// @param activations  Default: int8 for i8 weights (unless group_size is not a multiple
///         of 4), bf16 for everything else.
/// @throws InvalidArgument if q is inconsistent; Unsupported for int8 activations with a format
///         that has no integer kernel (u8, cb4, e4m3, e5m2) or group_size not a multiple of 4.
[[nodiscard]] kernels::PackedMatrix pack(const QuantizedMatrix& q,
                                         std::optional<kernels::Activations> activations = {});

/// Packs float weights (n, k) as f32 (activations f32) or bf16 (activations bf16).
[[nodiscard]] kernels::PackedMatrix pack_float(MatrixView<const float> w,
                                               kernels::WeightFormat format = kernels::WeightFormat::f32);

/// Element `index` of the scales, [panel][group][16].
[[nodiscard]] float packed_scale(const kernels::PackedView& weights, std::size_t index) noexcept;

/// The float values the packed weights stand for, out: (n, k). input_scale is not applied.
void unpack(const kernels::PackedView& weights, MatrixView<float> out);

}  // namespace qeff
