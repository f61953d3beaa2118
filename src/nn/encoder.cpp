#include "qeff/nn/encoder.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "nn/artifact_tokenizer.hpp"
#include "nn/encoder_artifact.hpp"
#include "nn/forward.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/kernels/matmul.hpp"

namespace qeff {
namespace {

/// Tokens a slice has at most: enough rows to reuse the weights, few enough to stay in the cache.
constexpr std::size_t kSliceTokens = 256;

/// Workspaces of running slices: at most one a thread, kept for the next call.
class WorkspacePool {
 public:
  std::unique_ptr<nn::Workspace> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<nn::Workspace>();
    auto workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }
  void give(std::unique_ptr<nn::Workspace> workspace) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(workspace));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<nn::Workspace>> free_;
};

}  // namespace

struct Encoder::Impl {
  Impl(std::shared_ptr<const Artifact> file, std::size_t threads)
      : artifact(std::move(file)),
        metadata(nn::read_metadata(*artifact)),
        model(nn::read_model(*artifact, metadata)),
        executor(threads),
        native_tokenizer(nn::has_wordpiece(*artifact)) {}

  /// Runs every slice of the batch; done(slice, states) sees its hidden states, on any thread.
  template <class Done>
  void run(const TokenBatch& batch, Done&& done);
  const WordPiece& tokenizer();

  std::shared_ptr<const Artifact> artifact;
  nn::EncoderMetadata metadata;
  nn::EncoderModel model;
  Executor executor;
  bool native_tokenizer;
  std::mutex mutex;  // one batch at a time
  WorkspacePool workspaces;
  std::once_flag tokenizer_once;
  std::optional<WordPiece> wordpiece;
};

template <class Done>
void Encoder::Impl::run(const TokenBatch& batch, Done&& done) {
  const auto slices = nn::cut(batch, kSliceTokens);
  const std::size_t threads = executor.threads();
  const auto run_slice = [&](std::size_t i, std::size_t threads_inside) {
    auto workspace = workspaces.take();
    nn::forward(model, slices[i], *workspace, {&executor, threads_inside});
    done(slices[i], workspace->x.as<float>());
    workspaces.give(std::move(workspace));
  };
  // Slices side by side need no barriers; too few for that are cut inside, one after the other.
  const std::size_t rest = slices.size() % threads;
  const std::size_t side_by_side = rest * 2 <= threads ? slices.size() - rest : slices.size();
  const std::lock_guard lock(mutex);
  executor.run(side_by_side, [&](std::size_t i) { run_slice(i, 1); });
  for (std::size_t i = side_by_side; i < slices.size(); ++i) run_slice(i, threads);
}

const WordPiece& Encoder::Impl::tokenizer() {
  std::call_once(tokenizer_once, [&] { wordpiece = nn::read_wordpiece(*artifact); });
  return *wordpiece;
}

Encoder::Encoder(std::shared_ptr<const Artifact> artifact, std::size_t threads)
    : impl_(std::make_unique<Impl>(std::move(artifact), threads)) {}
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;
Encoder::~Encoder() = default;

std::size_t Encoder::hidden_size() const noexcept { return impl_->model.shape.hidden; }
std::size_t Encoder::vocab_size() const noexcept { return impl_->model.shape.vocab; }
std::size_t Encoder::max_positions() const noexcept { return impl_->model.shape.max_positions(); }
std::size_t Encoder::max_tokens() const noexcept { return impl_->metadata.max_tokens; }
std::size_t Encoder::threads() const noexcept { return impl_->executor.threads(); }
Pooling Encoder::pooling() const noexcept { return impl_->metadata.pooling; }
bool Encoder::normalize() const noexcept { return impl_->metadata.normalize; }
bool Encoder::has_native_tokenizer() const noexcept { return impl_->native_tokenizer; }
const Artifact& Encoder::artifact() const noexcept { return *impl_->artifact; }

std::vector<LayerPlan> Encoder::explain() const {
  std::vector<LayerPlan> plans;
  for (const auto& layer : impl_->model.layers)
    for (const nn::Linear* linear : {&layer.qkv, &layer.attn_out, &layer.ffn1, &layer.ffn2})
      plans.push_back({linear->name, nn::scheme_name(linear->weights),
                       qeff::explain(linear->weights), weight_bytes(linear->weights), {}});
  return plans;
}

std::vector<LayerPlan> Encoder::explain(std::span<const std::size_t> rows, bool measure) const {
  std::vector<LayerPlan> plans;
  const std::lock_guard lock(impl_->mutex);
  for (const auto& layer : impl_->model.layers)
    for (const nn::Linear* linear : {&layer.qkv, &layer.attn_out, &layer.ffn1, &layer.ffn2})
      for (const std::size_t m : rows)
        plans.push_back({linear->name, nn::scheme_name(linear->weights),
                         qeff::explain(linear->weights), weight_bytes(linear->weights),
                         explain_matmul(linear->weights, m, impl_->executor, measure)});
  return plans;
}

void Encoder::hidden_states(const TokenBatch& batch, std::span<float> out) const {
  validate(batch, impl_->model.shape);
  const std::size_t hidden = hidden_size();
  require(out.size() == batch.ids.size() * hidden, "out has ", out.size(),
          " floats; the batch needs ", batch.ids.size(), " x ", hidden);
  impl_->run(batch, [&](const nn::Slice& slice, const float* states) {
    std::copy_n(states, slice.tokens() * hidden, out.data() + slice.begin() * hidden);
  });
}

void Encoder::embed(const TokenBatch& batch, Pooling pooling, bool normalize,
                    std::span<float> out) const {
  require(pooling != Pooling::none,
          "pooling \"none\" gives no embedding; ask for the hidden states");
  validate(batch, impl_->model.shape);
  const std::size_t hidden = hidden_size();
  require(out.size() == batch.sequences() * hidden, "out has ", out.size(),
          " floats; the batch needs ", batch.sequences(), " x ", hidden);
  impl_->run(batch, [&](const nn::Slice& slice, const float* states) {
    for (std::size_t s = 0; s < slice.count; ++s) {
      float* row = out.data() + (slice.first + s) * hidden;
      pool(pooling, states + slice.local(s) * hidden, slice.local(s + 1) - slice.local(s), hidden,
           row);
      if (normalize) normalize_l2(row, hidden);
    }
  });
}

TokenBatch Encoder::tokenize(std::span<const std::string> texts) const {
  const WordPiece& tokenizer = impl_->tokenizer();
  std::vector<std::vector<std::int32_t>> ids(texts.size());
  impl_->executor.run(texts.size(),
                      [&](std::size_t i) { ids[i] = tokenizer.encode(texts[i], max_tokens()); });
  TokenBatch batch;
  batch.offsets.push_back(0);
  for (const auto& sequence : ids) {
    batch.ids.insert(batch.ids.end(), sequence.begin(), sequence.end());
    batch.offsets.push_back(batch.ids.size());
  }
  return batch;
}

std::vector<float> Encoder::encode(std::span<const std::string> texts,
                                   std::optional<bool> normalize) const {
  std::vector<float> out(texts.size() * hidden_size());
  if (texts.empty()) return out;
  require(pooling() != Pooling::none,
          "the artifact was compiled with pooling \"none\": encode() has no embedding");
  embed(tokenize(texts), pooling(), normalize.value_or(impl_->metadata.normalize), out);
  return out;
}

Encoder load(const std::string& path, std::size_t threads) {
  return Encoder(Artifact::open(path), threads);
}

}  // namespace qeff
