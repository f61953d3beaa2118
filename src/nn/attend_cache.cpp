#include <algorithm>
#include <atomic>

#include "nn/decoder_forward.hpp"
#include "nn/hadamard.hpp"
#include "qeff/core/checked_size.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::nn {
namespace {

using kernels::kAttentionSegment;

constexpr std::size_t kTokensPerTask = 32;
constexpr std::size_t kSplitTokens = 8;    // of a piece at most, for its keys to be spread over the threads
constexpr std::size_t kHeadsPerThread = 4;  // from so many on threads are busy without that

/// Consecutive tokens of a run that are attended together.
struct Piece {
  const TokenRun* run = nullptr;
  std::size_t offset = 0, count = 0;

  [[nodiscard]] std::size_t first() const { return run->first + offset; }  // position of the first token
  [[nodiscard]] std::size_t row() const { return run->row + offset; }
};

class CacheAttention {
 public:
  CacheAttention(const DecoderModel& model, std::size_t layer, std::span<const TokenRun> runs, const float* qkv,
                 const KvCache& cache, std::size_t cache_layer, float* context, DecoderWorkspace& work)
      : shape_(model.shape), window_(shape_.layer[layer].window), runs_(runs), qkv_(qkv), cache_(cache),
        cache_layer_(cache_layer), context_(context), work_(work) {
    for (const TokenRun& run : runs_) {
      pieces_ += (run.count + kTokensPerTask - 1) / kTokensPerTask;
      most_tokens_ = std::max(most_tokens_, run.count);
    }
  }

  void run(Team team) {
    const bool few = pieces_ * shape_.kv_heads < kHeadsPerThread * team.threads && most_tokens_ <= kSplitTokens;
    split_ = few && team.threads > 1 && cache_.capacity() > kAttentionSegment;
    if (split_) prepare_split(kHeadsPerThread * team.threads);
    std::size_t tasks = 0;
    for (std::size_t p = 0; p < pieces_; ++p) tasks += segments(piece(p)).count * shape_.kv_heads;
    const std::size_t parts = std::min(tasks, team.threads);
    const std::size_t scratch = round_up(kernels::active().cached_attention_scratch(shape_.head_dim), 16);
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t part) {
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;)
        task(i, work_.attention.as<float>() + part * scratch);
    };
    if (parts == 1)
      work(0);
    else
      team.executor->run(parts, work);
  }

 private:
  struct Segments {
    std::size_t first = 0, count = 1;
  };

  /// Longest last, so that the last pieces of a run, which see the most keys, are begun first.
  [[nodiscard]] Piece piece(std::size_t index) const {
    index = pieces_ - 1 - index;
    for (const TokenRun& run : runs_) {
      const std::size_t pieces = (run.count + kTokensPerTask - 1) / kTokensPerTask, offset = index * kTokensPerTask;
      if (index < pieces) return {&run, offset, std::min(kTokensPerTask, run.count - offset)};
      index -= pieces;
    }
    return {};
  }

  /// Segments of keys that are tasks of their own: those that the piece sees, or one for all.
  [[nodiscard]] Segments segments(const Piece& p) const {
    if (!split_) return {};
    const std::size_t first = kernels::first_visible_key(window_, p.first()) / kAttentionSegment;
    return {first, (p.first() + p.count - 1) / kAttentionSegment + 1 - first};
  }

  /// Memory for the sums of all segments of at most `heads` heads of pieces, then a count of those done for each.
  void prepare_split(std::size_t heads) {
    const std::size_t group = shape_.heads / shape_.kv_heads;
    const std::size_t most = cache_.capacity() / kAttentionSegment + 1;
    pitch_ = most * kSplitTokens * group * kernels::attention_sums(shape_.head_dim);
    work_.segments.reserve((heads * pitch_ + heads) * sizeof(float));
    done_ = reinterpret_cast<std::uint32_t*>(work_.segments.as<float>() + heads * pitch_);
    std::fill_n(done_, heads, 0u);
  }

  void task(std::size_t index, float* scratch) {
    std::size_t p = 0;
    Piece at = piece(0);
    Segments all = segments(at);
    while (index >= all.count * shape_.kv_heads) {
      index -= all.count * shape_.kv_heads;
      at = piece(++p), all = segments(at);
    }
    const std::size_t head = index / all.count, segment = index % all.count;
    kernels::CachedAttentionArgs args = arguments(at, head);
    if (all.count == 1) {
      kernels::active().cached_attention(args, scratch);
      return finish(args);
    }
    const std::size_t slot = p * shape_.kv_heads + head;
    float* const sums = work_.segments.as<float>() + slot * pitch_;
    args.segment = all.first + segment;
    args.sums = sums + segment * args.tokens * args.heads * kernels::attention_sums(args.head_dim);
    kernels::active().cached_attention(args, scratch);
    // Whoever is last sees all sums.
    if (std::atomic_ref(done_[slot]).fetch_add(1, std::memory_order_acq_rel) + 1 != all.count) return;
    args.sums = sums;
    kernels::active().join_attention(args, all.count);
    finish(args);
  }

  [[nodiscard]] kernels::CachedAttentionArgs arguments(const Piece& p, std::size_t head) const {
    const std::size_t group = shape_.heads / shape_.kv_heads, at = head * group * shape_.head_dim;
    kernels::CachedAttentionArgs args;
    args.tokens = p.count;
    args.heads = group;
    args.head_dim = shape_.head_dim;
    args.first = p.first();
    args.q = qkv_ + p.row() * shape_.qkv_size() + at;
    args.q_stride = shape_.qkv_size();
    args.out = context_ + p.row() * shape_.q_size() + at;
    args.out_stride = shape_.q_size();
    args.window = window_;
    args.scale = shape_.attention_scale;
    args.softcap = shape_.attention_softcap;
    cache_.point(args, cache_layer_, p.run->sequence, head);
    return args;
  }

  void finish(const kernels::CachedAttentionArgs& args) const {
    if (!cache_.rotated()) return;
    for (std::size_t t = 0; t < args.tokens; ++t)
      rotate_heads(args.out + t * args.out_stride, args.heads, args.head_dim);
  }

  const DecoderShape& shape_;
  std::size_t window_;
  std::span<const TokenRun> runs_;
  const float* qkv_;
  const KvCache& cache_;
  std::size_t cache_layer_;
  float* context_;
  DecoderWorkspace& work_;
  std::size_t pieces_ = 0, most_tokens_ = 0;
  bool split_ = false;
  std::size_t pitch_ = 0;  // floats of the sums of one head of a piece
  std::uint32_t* done_ = nullptr;
};

}  // namespace

void attend_cache(const DecoderModel& model, std::size_t layer, std::span<const TokenRun> runs, const float* qkv,
                  const KvCache& cache, std::size_t cache_layer, float* context, DecoderWorkspace& w, Team team) {
  CacheAttention(model, layer, runs, qkv, cache, cache_layer, context, w).run(team);
}

}  // namespace qeff::nn
