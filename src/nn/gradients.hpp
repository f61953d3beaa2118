/// @file
/// Derivatives of what lies between the linears of a decoder block.
///
///     RMS norm    y = x r g,       r = 1 / sqrt(mean(x^2) + eps)
///                 dx = r (g dy - x r^2 mean(x g dy))
///     LayerNorm   y = u g + b,     u = (x - mean(x)) r
///                 dx = r (g dy - mean(g dy) - u mean(u g dy))
///     attention   P = softmax(c tanh(scale q k^T / c)), o = P v
///                 dv = P^T do,  dS = P (do v^T - rowsum(P do v^T)),  dq = scale dS k,  dk = scale dS^T q
#pragma once

#include <cstddef>
#include <span>

#include "nn/decoder_forward.hpp"

namespace qeff::nn {

/// dx from dy, m rows of n that `norm` made of x; dx may be dy.
void norm_gradient(const Norm& norm, float eps, const float* x, const float* dy, std::size_t m, std::size_t n,
                   float* dx, Team team);

/// inner (m, intermediate) from up for blocks that are not gated: activate_inner() for the others.
void activate_plain(const DecoderShape& shape, const float* up, std::size_t m, float* inner, Team team);
/// d_up, of up's shape, from the gradient of inner.
void activation_gradient(const DecoderShape& shape, const float* up, const float* d_inner, std::size_t m, float* d_up,
                         Team team);

/// d_qkv (rows, qkv_size) from the gradient of the context; qkv as place_keys() left it. Runs are whole sequences.
void attention_gradient(const DecoderShape& shape, const DecoderLayerShape& how, std::span<const TokenRun> runs,
                        const float* qkv, const float* d_context, float* d_qkv, Team team);

/// d_qkv goes back through rope and the norms of the heads; raw: qkv before place_keys(), or null without such norms.
void undo_place_keys(const DecoderModel& model, std::size_t layer, const RopeTables& ropes,
                     std::span<const TokenRun> runs, const float* raw, float* d_qkv, Team team);

}  // namespace qeff::nn
