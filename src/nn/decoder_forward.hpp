/// @file
/// The steps of a decoder's forward pass, shared by the runtime and calibration.
///
/// Every step works token by token or head by head, so neither the cut into calls nor the number of
/// threads changes a byte of the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "nn/decoder_model.hpp"
#include "nn/kv_cache.hpp"
#include "qeff/core/aligned_buffer.hpp"

namespace qeff::nn {

/// Consecutive new tokens of one sequence among the rows of a step.
struct TokenRun {
  std::size_t sequence = 0;
  std::size_t first = 0;  ///< Position of the first one.
  std::size_t row = 0;    ///< Of the first one.
  std::size_t count = 0;
};

/// Memory of a running step, kept between calls.
struct DecoderWorkspace {
  AlignedBuffer x;          ///< (rows, hidden), the residual stream
  AlignedBuffer h;          ///< (rows, hidden), normalized
  AlignedBuffer qkv;        ///< (rows, qkv_size)
  AlignedBuffer context;    ///< (rows, q_size)
  AlignedBuffer up;         ///< (rows, rows of layer.up)
  AlignedBuffer inner;      ///< (rows, intermediate)
  AlignedBuffer attention;  ///< scratch of attend_cache, one part a thread
  AlignedBuffer segments;   ///< its sums over parts of the keys

  void reserve(const DecoderShape& shape, std::size_t rows, std::size_t threads);
};

/// x: (count, hidden) of the tokens of a run.
void embed_run(const DecoderModel& model, std::span<const std::int32_t> ids, std::size_t first, float* x);

/// out = norm(x), m rows of n.
void normalize(const Norm& norm, float eps, const float* x, std::size_t m, std::size_t n, float* out, Team team);

/// Norms of the heads of q and k, rope, and k and v into the cache; qkv: (rows, qkv_size) in place.
void place_keys(const DecoderModel& model, std::size_t layer, const RopeTables& ropes,
                std::span<const TokenRun> runs, float* qkv, KvCache& cache, std::size_t cache_layer, Team team);

/// context = attention of the new tokens over the cache. Heads and tokens are spread over the threads, and where
/// these are few the keys of each as well.
void attend_cache(const DecoderModel& model, std::size_t layer, std::span<const TokenRun> runs, const float* qkv,
                  const KvCache& cache, std::size_t cache_layer, float* context, DecoderWorkspace& w, Team team);

/// inner = act(gate) * up, or act(up).
void activate_inner(const DecoderShape& shape, float* up, std::size_t m, float* inner, Team team);

/// x += post_norm(linear(input)); h is scratch of x's size. Input: rows, or what makes them.
template <class Input>
void add_output(const Linear& linear, const Norm& post_norm, const DecoderShape& s, const Input& input, std::size_t m,
                float* x, float* h, Team team) {
  if (!post_norm.gamma) return apply(linear, input, m, x, Activation::none, x, team);
  apply(linear, input, m, h, Activation::none, nullptr, team);
  normalize(post_norm, s.eps, h, m, s.hidden, h, team);
  for (std::size_t i = 0; i < m * s.hidden; ++i) x[i] += h[i];
}

/// All layers; w.x holds the embedded tokens and then the last residual stream.
void run_layers(const DecoderModel& model, const RopeTables& ropes, std::span<const TokenRun> runs, std::size_t rows,
                KvCache& cache, DecoderWorkspace& w, Team team);

/// logits (m, vocab) of rows of the residual stream; x is normalized in place.
void run_head(const DecoderModel& model, float* x, std::size_t m, float* logits, Team team);

}  // namespace qeff::nn
