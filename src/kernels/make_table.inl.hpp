/// @file
/// All kernels of a policy. The list of bodies is here and nowhere else.
#pragma once

#include "kernels/bodies/attention.inl.hpp"
#include "kernels/bodies/cached_attention.inl.hpp"
#include "kernels/bodies/column_products.inl.hpp"
#include "kernels/bodies/gate.inl.hpp"
#include "kernels/bodies/gemm.inl.hpp"
#include "kernels/bodies/layer_norm.inl.hpp"
#include "kernels/bodies/panel_update.inl.hpp"
#include "kernels/bodies/prepare_rows.inl.hpp"
#include "kernels/bodies/rms_norm.inl.hpp"
#include "kernels/bodies/roof.inl.hpp"
#include "kernels/bodies/rope.inl.hpp"
#include "kernels/bodies/rounding_errors.inl.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
constexpr KernelTable make_table() noexcept {
  return {.isa = S::kIsa,
          .multiplies_bf16 = S::kBf16,
          .row_bytes = &Rows<S>::bytes,
          .prepare_rows = &PrepareRows<S>::run,
          .kernel_name = &Gemm<S>::name,
          .scratch_bytes = &Gemm<S>::scratch_bytes,
          .gemm = &Gemm<S>::run,
          .layer_norm = &LayerNorm<S>::run,
          .rms_norm = &RmsNorm<S>::run,
          .gate = &Gate<S>::run,
          .rope = &Rope<S>::run,
          .cached_attention_scratch = &CachedAttention<S>::scratch,
          .cached_attention = &CachedAttention<S>::run,
          .join_attention = &CachedAttention<S>::join,
          .attention_scratch = &Attention<S>::scratch,
          .attention = &Attention<S>::run,
          .subtract_products = &PanelUpdate<S>::run,
          .rounding_errors = &RoundingErrors<S>::run,
          .column_panel_bytes = &ColumnProducts<S>::bytes,
          .pack_columns = &ColumnProducts<S>::pack,
          .add_column_products = &ColumnProducts<S>::add,
          .roof_registers = &RoofLoops<S>::registers,
          .roof_fed = &RoofLoops<S>::fed,
          .roof_read = &RoofLoops<S>::read};
}

}  // namespace qeff::kernels
