#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "nn/causal_lm_impl.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

constexpr std::size_t kRows = 512;  // tokens that run through the layers together
constexpr std::size_t kDefaultContext = 4096;

kernels::CachedAs cached_as(KvFormat format) {
  switch (format) {
    case KvFormat::f32:
      return kernels::CachedAs::f32;
    case KvFormat::bf16:
      return kernels::CachedAs::bf16;
    case KvFormat::int8:
      return kernels::CachedAs::int8;
    case KvFormat::int4:
      return kernels::CachedAs::int4;
  }
  throw InvalidArgument("kv_cache is none of f32, bf16, int8, int4");
}

/// Sets a flag while a call runs; a second call finds it set.
class Turn {
 public:
  explicit Turn(std::atomic_flag& flag) : flag_(flag) {
    require(!flag_.test_and_set(std::memory_order_acquire),
            "the session is running in another thread; a session works for one at a time");
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag& flag_;
};

/// Tokens of one chunk that are run in one step.
struct Part {
  std::size_t chunk = 0, first = 0;  ///< First token within the chunk.
  nn::TokenRun run;
};

}  // namespace

struct CausalSession::Impl {
  Impl(const CausalLm& model_, const CausalSessionOptions& options, std::size_t ctx)
      : lm(model_.impl_),
        handle(shared(model_)),
        ctx_len(ctx),
        lengths(options.sequences),
        ropes(lm->model.shape, ctx),
        cache(lm->model.shape.layers, options.sequences, lm->model.shape.kv_heads, lm->model.shape.head_dim, ctx,
              cached_as(options.kv_cache)) {}

  static CausalLm shared(const CausalLm& other) {
    CausalLm copy(other.impl_);
    return copy;
  }

  void check(std::span<const CausalChunk> chunks) const;
  /// Runs all chunks in steps; done(parts, states) sees the residual stream of each.
  template <class Done>
  void steps(std::span<const CausalChunk> chunks, Done&& done);
  template <class Done>
  void step(std::span<const CausalChunk> chunks, std::size_t rows, Done&& done);
  [[nodiscard]] nn::Team team() const { return {&lm->executor, lm->executor.threads()}; }

  std::shared_ptr<CausalLm::Impl> lm;
  CausalLm handle;
  std::size_t ctx_len;
  std::vector<std::size_t> lengths;
  nn::RopeTables ropes;
  nn::KvCache cache;
  nn::DecoderWorkspace workspace;
  AlignedBuffer picked;  // rows for the head
  std::vector<Part> parts;
  std::vector<nn::TokenRun> runs;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

void CausalSession::Impl::check(std::span<const CausalChunk> chunks) const {
  const auto& shape = lm->model.shape;
  require(!chunks.empty(), "there are no chunks to run");
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const auto& [sequence, ids, all] = chunks[c];
    require(sequence < lengths.size(), "chunk ", c, ": sequence ", sequence, " of ", lengths.size());
    for (std::size_t before = 0; before < c; ++before)
      require(chunks[before].sequence != sequence, "chunk ", c, ": sequence ", sequence, " is in chunk ", before, " too");
    require(!ids.empty(), "chunk ", c, ": no token ids");
    require(ids.size() <= ctx_len - lengths[sequence], "chunk ", c, ": ", ids.size(), " tokens after ",
            lengths[sequence], " do not fit ctx_len ", ctx_len);
    for (std::size_t i = 0; i < ids.size(); ++i)
      require(ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < shape.vocab, "chunk ", c, ": token id ", ids[i],
              " at position ", i, " is outside the vocabulary of ", shape.vocab);
  }
}

template <class Done>
void CausalSession::Impl::step(std::span<const CausalChunk> chunks, std::size_t rows, Done&& done) {
  const auto& model = lm->model;
  workspace.reserve(model.shape, rows, lm->executor.threads());
  runs.clear();
  for (const Part& part : parts) {
    runs.push_back(part.run);
    nn::embed_run(model, chunks[part.chunk].ids.subspan(part.first, part.run.count), part.run.first,
                  workspace.x.as<float>() + part.run.row * model.shape.hidden);
  }
  nn::run_layers(model, ropes, runs, rows, cache, workspace, team());
  done();
}

template <class Done>
void CausalSession::Impl::steps(std::span<const CausalChunk> chunks, Done&& done) {
  const std::lock_guard lock(lm->running);
  std::size_t rows = 0;
  parts.clear();
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const CausalChunk& chunk = chunks[c];
    for (std::size_t first = 0; first < chunk.ids.size();) {
      const std::size_t count = std::min(kRows - rows, chunk.ids.size() - first);
      parts.push_back({c, first, {chunk.sequence, lengths[chunk.sequence] + first, rows, count}});
      rows += count, first += count;
      if (rows < kRows) continue;
      step(chunks, rows, done);
      rows = 0;
      parts.clear();
    }
  }
  if (rows) step(chunks, rows, done);
  for (const CausalChunk& chunk : chunks) lengths[chunk.sequence] += chunk.ids.size();
}

CausalSession::CausalSession(const CausalLm& model, const CausalSessionOptions& options) {
  const std::size_t most = model.max_positions();
  const std::size_t ctx = options.ctx_len ? options.ctx_len : std::min(most, kDefaultContext);
  require(options.sequences > 0, "a session needs at least one sequence");
  require(ctx <= most, "ctx_len ", ctx, " is more than the ", most, " positions of the model");
  impl_ = std::make_unique<Impl>(model, options, ctx);
}
CausalSession::CausalSession(CausalSession&&) noexcept = default;
CausalSession& CausalSession::operator=(CausalSession&&) noexcept = default;
CausalSession::~CausalSession() = default;

const CausalLm& CausalSession::model() const noexcept { return impl_->handle; }
std::size_t CausalSession::sequences() const noexcept { return impl_->lengths.size(); }
std::size_t CausalSession::ctx_len() const noexcept { return impl_->ctx_len; }
std::size_t CausalSession::cache_bytes() const noexcept { return impl_->cache.bytes(); }

std::size_t CausalSession::length(std::size_t sequence) const {
  require(sequence < sequences(), "sequence ", sequence, " of ", sequences());
  return impl_->lengths[sequence];
}

void CausalSession::truncate(std::size_t sequence, std::size_t length) {
  const Turn turn(impl_->busy);
  require(length <= this->length(sequence), "sequence ", sequence, " has ", this->length(sequence), " tokens, not ", length);
  impl_->lengths[sequence] = length;
}

void CausalSession::copy_prefix(std::size_t from, std::size_t to, std::size_t length) {
  const Turn turn(impl_->busy);
  require(to < sequences(), "sequence ", to, " of ", sequences());
  require(length <= this->length(from), "sequence ", from, " has ", this->length(from), " tokens, not ", length);
  if (from != to) impl_->cache.copy(from, to, length);
  impl_->lengths[to] = length;
}

void CausalSession::run(std::span<const CausalChunk> chunks, std::span<float> logits) {
  Impl& s = *impl_;
  const Turn turn(s.busy);
  s.check(chunks);
  std::size_t rows = 0;
  for (const CausalChunk& chunk : chunks) rows += chunk.all_logits ? chunk.ids.size() : 1;
  const std::size_t vocab = s.lm->model.shape.vocab, hidden = s.lm->model.shape.hidden;
  require(logits.size() == rows * vocab, "logits has ", logits.size(), " floats; the chunks need ", rows, " x ", vocab);
  s.picked.reserve(std::min(rows, kRows) * hidden * sizeof(float));
  float* out = logits.data();
  s.steps(chunks, [&] {
    float* row = s.picked.as<float>();
    std::size_t count = 0;
    const auto pick = [&](std::size_t from, std::size_t n) {
      std::memcpy(row + count * hidden, s.workspace.x.as<float>() + from * hidden, n * hidden * sizeof(float));
      count += n;
    };
    for (const Part& part : s.parts) {
      const CausalChunk& chunk = chunks[part.chunk];
      const bool ends = part.first + part.run.count == chunk.ids.size();
      if (chunk.all_logits)
        pick(part.run.row, part.run.count);
      else if (ends)
        pick(part.run.row + part.run.count - 1, 1);
    }
    if (count) nn::run_head(s.lm->model, row, count, out, s.team());
    out += count * vocab;
  });
}

}  // namespace qeff
