#include "nn/forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "qeff/core/checked_size.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::nn {
namespace {

/// Rows of a slice on one thread, at most: block and weights stay in the cache.
constexpr std::size_t kFfnRows = 144;
/// Such blocks are multiples of it, as it is of the rows of all register tiles but those of AMX.
constexpr std::size_t kFfnUnit = 24;

void set_row(const EmbeddingTable& table, std::size_t row, float* x, std::size_t n) {
  if (table.values) {
    std::memcpy(x, table.values + row * n, n * sizeof(float));
    return;
  }
  const std::int8_t* codes = table.codes + row * n;
  for (std::size_t j = 0; j < n; ++j) x[j] = table.scales[row] * static_cast<float>(codes[j]);
}

void add_row(const EmbeddingTable& table, std::size_t row, float* x, std::size_t n) {
  const float* values = table.values + row * n;
  for (std::size_t j = 0; j < n; ++j) x[j] += values[j];
}

/// Position of each token as the model counts: from 0, or past padding_idx without padding.
class PositionCounter {
 public:
  explicit PositionCounter(const EncoderShape& shape) : shape_(shape) {}
  std::size_t next(std::int32_t id) {
    if (!shape_.positions_skip_padding) return count_++;
    const auto padding = static_cast<std::size_t>(shape_.padding_idx);
    return id == shape_.padding_idx ? padding : ++count_ + padding;
  }

 private:
  const EncoderShape& shape_;
  std::size_t count_ = 0;
};

/// The (tokens, tokens) bias of one head, from its values by distance.
void expand_bias(const float* by_distance, std::size_t max_positions, std::size_t tokens,
                 float* bias) {
  for (std::size_t query = 0; query < tokens; ++query)
    std::memcpy(bias + query * tokens, by_distance + (max_positions - 1 - query),
                tokens * sizeof(float));
}

/// Scratch of attention in floats: the kernel's, then the bias.
struct AttentionScratch {
  std::size_t kernel = 0, total = 0;
};

AttentionScratch attention_scratch(const EncoderModel& model, std::size_t tokens) {
  constexpr std::size_t kLine = 16;
  const auto kernel =
      round_up(kernels::active().attention_scratch(tokens, model.shape.head_dim()), kLine);
  const auto bias = model.distance_bias.empty() ? 0 : round_up(tokens * tokens, kLine);
  return {kernel, kernel + bias};
}

void attend_head(const EncoderModel& model, std::size_t head, bool bf16, const float* qkv,
                 std::size_t tokens, float* context, float* scratch) {
  const auto& shape = model.shape;
  const std::size_t hidden = shape.hidden, column = head * shape.head_dim();
  kernels::AttentionArgs args;
  args.q = qkv + column;
  args.k = qkv + hidden + column;
  args.v = qkv + 2 * hidden + column;
  args.qkv_stride = 3 * hidden;
  args.out = context + column;
  args.out_stride = hidden;
  args.tokens = tokens;
  args.head_dim = shape.head_dim();
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim()));
  args.bf16 = bf16;
  if (!model.distance_bias.empty()) {
    float* bias = scratch + attention_scratch(model, tokens).kernel;
    const std::size_t max = shape.max_positions();
    expand_bias(model.distance_bias.data() + head * (2 * max - 1), max, tokens, bias);
    args.bias = bias;
    args.bias_stride = tokens;
  }
  kernels::active().attention(args, scratch);
}

void feed_forward(const EncoderModel& model, const EncoderLayer& layer, float* x, std::size_t m,
                  AlignedBuffer& inner, Team team) {
  const std::size_t hidden = model.shape.hidden;
  const std::size_t blocks = team.threads > 1 ? 1 : (m + kFfnRows - 1) / kFfnRows;
  const std::size_t block = std::min(m, round_up((m + blocks - 1) / blocks, kFfnUnit));
  inner.reserve(block * model.shape.intermediate * sizeof(float));
  for (std::size_t row = 0; row < m; row += block) {
    const std::size_t rows = std::min(block, m - row);
    float* part = x + row * hidden;
    apply(layer.ffn1, part, rows, inner.as<float>(), model.shape.activation, nullptr, team);
    apply(layer.ffn2, inner.as<float>(), rows, part, Activation::none, part, team);
    normalize_rows(model, layer.ffn_norm, part, rows);
  }
}

}  // namespace

std::vector<float> expand_distance_bias(const float* table, const EncoderShape& shape) {
  const std::size_t max = shape.max_positions(), distances = 2 * max - 1;
  std::vector<float> bias(shape.heads * distances);
  for (std::size_t d = 0; d < distances; ++d) {
    const std::size_t query = d < max - 1 ? max - 1 - d : 0, key = d < max - 1 ? 0 : d - (max - 1);
    const std::size_t bucket = relative_position_bucket(query, key, shape.attention_buckets);
    for (std::size_t head = 0; head < shape.heads; ++head)
      bias[head * distances + d] = table[bucket * shape.heads + head];
  }
  return bias;
}

std::vector<Slice> cut(const TokenBatch& batch, std::size_t tokens) {
  std::vector<Slice> slices;
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    if (slices.empty() || batch.offsets[s + 1] - slices.back().begin() > tokens)
      slices.push_back({&batch, s, 0});
    ++slices.back().count;
  }
  return slices;
}

void embed_tokens(const EncoderModel& model, const Slice& slice, float* x) {
  const std::size_t hidden = model.shape.hidden;
  const TokenBatch& batch = *slice.batch;
  for (std::size_t s = 0; s < slice.count; ++s) {
    PositionCounter positions(model.shape);
    for (std::size_t t = slice.begin(s); t < slice.begin(s + 1); ++t) {
      float* row = x + (t - slice.begin()) * hidden;
      set_row(model.words, static_cast<std::size_t>(batch.ids[t]), row, hidden);
      if (model.shape.types) {
        const std::int32_t type = batch.type_ids.empty() ? 0 : batch.type_ids[t];
        add_row(model.types, static_cast<std::size_t>(type), row, hidden);
      }
      add_row(model.positions, positions.next(batch.ids[t]), row, hidden);
    }
  }
  normalize_rows(model, model.embedding_norm, x, slice.tokens());
}

void attend(const EncoderModel& model, const Linear& projection, const Slice& slice,
            const float* qkv, float* context, AlignedBuffer& scratch, Team team) {
  const std::size_t hidden = model.shape.hidden, heads = model.shape.heads;
  std::size_t longest = 0;
  for (std::size_t s = 0; s < slice.count; ++s)
    longest = std::max(longest, slice.begin(s + 1) - slice.begin(s));
  const std::size_t part = attention_scratch(model, longest).total;
  const std::size_t parts = std::min(team.threads, slice.count * heads);
  scratch.reserve(part * parts * sizeof(float));
  // Beside what quantized activations lose, rounding to bf16 is little; on every CPU, so that results are the same.
  const bool bf16 = projection.weights.activations != kernels::Activations::f32;
  const auto task = [&](std::size_t p) {
    for (std::size_t i = p; i < slice.count * heads; i += parts) {
      const std::size_t s = i / heads, row = slice.local(s);
      attend_head(model, i % heads, bf16, qkv + row * 3 * hidden, slice.local(s + 1) - row,
                  context + row * hidden, scratch.as<float>() + p * part);
    }
  };
  if (parts == 1)
    task(0);
  else
    team.executor->run(parts, task);
}

void normalize_rows(const EncoderModel& model, const Norm& norm, float* x, std::size_t m) {
  kernels::active().layer_norm(x, nullptr, norm.gamma, norm.beta, model.shape.eps, x, m,
                               model.shape.hidden);
}

void forward(const EncoderModel& model, const Slice& slice, Workspace& w, Team team) {
  const std::size_t m = slice.tokens(), row_bytes = model.shape.hidden * sizeof(float);
  w.x.reserve(m * row_bytes);
  w.qkv.reserve(m * 3 * row_bytes);
  w.context.reserve(m * row_bytes);
  float* x = w.x.as<float>();
  embed_tokens(model, slice, x);
  for (const EncoderLayer& layer : model.layers) {
    apply(layer.qkv, x, m, w.qkv.as<float>(), Activation::none, nullptr, team);
    attend(model, layer.qkv, slice, w.qkv.as<float>(), w.context.as<float>(), w.scratch, team);
    apply(layer.attn_out, w.context.as<float>(), m, x, Activation::none, x, team);
    normalize_rows(model, layer.attn_norm, x, m);
    feed_forward(model, layer, x, m, w.inner, team);
  }
}

}  // namespace qeff::nn
