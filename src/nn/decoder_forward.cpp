#include "nn/decoder_forward.hpp"

#include <algorithm>
#include <cmath>

#include "nn/hadamard.hpp"
#include "qeff/core/checked_size.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kRowsPerTask = 16;  // of steps that work row by row

/// f(first, last) over all rows, in parts that do not depend on the number of threads.
template <class F>
void by_rows(std::size_t m, Team team, F&& f) {
  if (m <= kRowsPerTask || team.threads == 1) return f(std::size_t{0}, m);
  team.executor->run((m + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t i) {
    f(i * kRowsPerTask, std::min(m, (i + 1) * kRowsPerTask));
  });
}

void normalize_rows(const Norm& norm, float eps, const float* x, std::size_t m, std::size_t n, float* out) {
  const auto& table = kernels::active();
  if (norm.beta)
    table.layer_norm(x, nullptr, norm.gamma, norm.beta, eps, out, m, n);
  else
    table.rms_norm(x, n, norm.gamma, eps, out, n, m, n);
}

/// out = act(gate) * up of rows [first, last) of up.
void gate_rows(const DecoderShape& s, const float* up, std::size_t first, std::size_t last, float* out) {
  const std::size_t n = s.intermediate;
  kernels::active().gate(up + first * 2 * n, n, static_cast<std::uint8_t>(s.activation), out, last - first);
}

/// One token of q and k: norms of the heads, then rope.
void prepare_token(const DecoderModel& model, std::size_t layer, const RopeTables& ropes, std::size_t position,
                   float* qkv) {
  const DecoderShape& s = model.shape;
  const DecoderLayer& l = model.layers[layer];
  const DecoderLayerShape& how = s.layer[layer];
  float* const k = qkv + s.q_size();
  if (l.q_norm.gamma) normalize_rows(l.q_norm, s.eps, qkv, s.heads, s.head_dim, qkv);
  if (l.k_norm.gamma) normalize_rows(l.k_norm, s.eps, k, s.kv_heads, s.head_dim, k);
  if (how.rotary)
    kernels::active().rope(qkv, s.heads + s.kv_heads, s.head_dim, ropes.cos(how.rope, position),
                           ropes.sin(how.rope, position), ropes.half());
}

}  // namespace

void DecoderWorkspace::reserve(const DecoderShape& s, std::size_t rows, std::size_t threads) {
  const auto floats = [&](AlignedBuffer& buffer, std::size_t n) { buffer.reserve(rows * n * sizeof(float)); };
  floats(x, s.hidden);
  floats(h, s.hidden);
  floats(qkv, s.qkv_size());
  floats(context, s.q_size());
  floats(up, s.intermediate * (s.gated() ? 2 : 1));
  floats(inner, s.intermediate);
  attention.reserve(threads * round_up(kernels::active().cached_attention_scratch(s.head_dim), 16) * sizeof(float));
}

void embed_run(const DecoderModel& model, std::span<const std::int32_t> ids, std::size_t first, float* x) {
  const std::size_t hidden = model.shape.hidden;
  for (std::size_t t = 0; t < ids.size(); ++t, x += hidden) {
    unpack_row(model.words, static_cast<std::size_t>(ids[t]), x);
    if (model.shape.embedding_scale != 1)
      for (std::size_t i = 0; i < hidden; ++i) x[i] *= model.shape.embedding_scale;
    if (!model.positions) continue;
    const float* row = model.positions + (first + t + model.shape.architecture().position_offset) * hidden;
    for (std::size_t i = 0; i < hidden; ++i) x[i] += row[i];
  }
}

void normalize(const Norm& norm, float eps, const float* x, std::size_t m, std::size_t n, float* out, Team team) {
  by_rows(m, team, [&](std::size_t first, std::size_t last) {
    normalize_rows(norm, eps, x + first * n, last - first, n, out + first * n);
  });
}

void place_keys(const DecoderModel& model, std::size_t layer, const RopeTables& ropes,
                std::span<const TokenRun> runs, float* qkv, KvCache& cache, std::size_t cache_layer, Team team) {
  const DecoderShape& s = model.shape;
  const std::size_t stride = s.qkv_size();
  const auto place = [&](const TokenRun& run, std::size_t first, std::size_t last) {
    cache.prefetch(cache_layer, run.sequence, run.first + first, run.first + last);
    for (std::size_t t = first; t < last; ++t) {
      float* const row = qkv + (run.row + t) * stride;
      prepare_token(model, layer, ropes, run.first + t, row);
      if (cache.rotated()) rotate_heads(row, s.heads + 2 * s.kv_heads, s.head_dim);
      cache.store(cache_layer, run.sequence, run.first + t, row + s.q_size(), row + s.q_size() + s.kv_size());
    }
  };
  if (runs.size() == 1) {
    // Cut at positions where no dword of the cache belongs to two tasks.
    static_assert(kRowsPerTask % KvCache::kSharing == 0);
    const std::size_t lead = runs[0].first % kRowsPerTask;
    by_rows(lead + runs[0].count, team, [&](std::size_t first, std::size_t last) {
      place(runs[0], first - std::min(first, lead), last - lead);
    });
  } else {
    team.executor->run(runs.size(), [&](std::size_t i) { place(runs[i], 0, runs[i].count); });
  }
}

void activate_inner(const DecoderShape& s, float* up, std::size_t m, float* inner, Team team) {
  by_rows(m, team, [&](std::size_t first, std::size_t last) {
    gate_rows(s, up, first, last, inner + first * s.intermediate);
  });
}

void run_layers(const DecoderModel& model, const RopeTables& ropes, std::span<const TokenRun> runs, std::size_t m,
                KvCache& cache, DecoderWorkspace& w, Team team) {
  const DecoderShape& s = model.shape;
  float *x = w.x.as<float>(), *h = w.h.as<float>(), *qkv = w.qkv.as<float>(), *context = w.context.as<float>();
  float *up = w.up.as<float>(), *inner = w.inner.as<float>();
  const auto normalized = [&](const Norm& norm) {
    return [&](std::size_t first, std::size_t last, float* out) {
      normalize_rows(norm, s.eps, x + first * s.hidden, last - first, s.hidden, out);
    };
  };
  const auto gated = [&](std::size_t first, std::size_t last, float* out) {
    gate_rows(s, up, first, last, out);
  };
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const DecoderLayer& layer = model.layers[i];
    apply(layer.qkv, normalized(layer.attn_norm), m, qkv, Activation::none, nullptr, team);
    place_keys(model, i, ropes, runs, qkv, cache, i, team);
    attend_cache(model, i, runs, qkv, cache, i, context, w, team);
    if (!s.parallel) add_output(layer.attn_out, layer.post_attn_norm, s, context, m, x, h, team);
    if (s.gated())
      apply(layer.up, normalized(layer.ffn_norm), m, up, Activation::none, nullptr, team);
    else
      apply(layer.up, normalized(layer.ffn_norm), m, inner, s.activation, nullptr, team);
    if (s.parallel) add_output(layer.attn_out, layer.post_attn_norm, s, context, m, x, h, team);
    if (s.gated())
      add_output(layer.down, layer.post_ffn_norm, s, gated, m, x, h, team);
    else
      add_output(layer.down, layer.post_ffn_norm, s, inner, m, x, h, team);
  }
}

void run_head(const DecoderModel& model, float* x, std::size_t m, float* logits, Team team) {
  const DecoderShape& s = model.shape;
  normalize(model.final_norm, s.eps, x, m, s.hidden, x, team);
  apply(model.lm_head, x, m, logits, Activation::none, nullptr, team);
  if (s.logit_softcap == 0) return;
  for (std::size_t i = 0; i < m * s.vocab; ++i)
    logits[i] = s.logit_softcap * std::tanh(logits[i] / s.logit_softcap);
}

}  // namespace qeff::nn
