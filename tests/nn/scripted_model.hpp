/// @file
/// A SequenceModel without weights: its logits are a function of the tokens a sequence holds, so
/// any mistake in what is run, taken over or forgotten changes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/nn/generate.hpp"

namespace qeff::test {

using Tokens = std::vector<std::int32_t>;

/// Logits in [0, 8) by a hash of all tokens, or by a rule.
class ScriptedModel final : public SequenceModel {
 public:
  using Rule = std::function<void(std::span<const std::int32_t> tokens, std::span<float> logits)>;

  struct Run {
    std::size_t tokens = 0, chunks = 0, largest_chunk = 0;
  };

  ScriptedModel(std::size_t sequences, std::size_t ctx_len, std::size_t vocab, Rule rule = hashed)
      : vocab_(vocab), ctx_len_(ctx_len), rule_(std::move(rule)), caches_(sequences) {
    for (Tokens& cache : caches_) cache.reserve(ctx_len);
    runs.reserve(100000);
  }

  std::size_t vocab_size() const override { return vocab_; }
  std::size_t sequences() const override { return caches_.size(); }
  std::size_t ctx_len() const override { return ctx_len_; }
  std::size_t length(std::size_t sequence) const override { return caches_.at(sequence).size(); }

  void truncate(std::size_t sequence, std::size_t length) override {
    require(length <= caches_.at(sequence).size(), "truncate to more than there is");
    caches_[sequence].resize(length);
  }

  void copy_prefix(std::size_t from, std::size_t to, std::size_t length) override {
    require(length <= caches_.at(from).size(), "copy_prefix of more than there is");
    const auto begin = caches_[from].begin();
    caches_.at(to).assign(begin, begin + static_cast<std::ptrdiff_t>(length));
    ++copies;
  }

  void run(std::span<const CausalChunk> chunks, std::span<float> logits) override {
    if (fail_at == runs.size()) throw InvalidArgument("scripted failure");
    Run& run = runs.emplace_back();
    for (const CausalChunk& chunk : chunks) {
      require(!chunk.ids.empty(), "chunk without ids");
      Tokens& cache = caches_.at(chunk.sequence);
      for (std::size_t i = 0; i < chunk.ids.size(); ++i) {
        require(cache.size() < ctx_len_, "more tokens than ctx_len");
        cache.push_back(chunk.ids[i]);
        if (!chunk.all_logits && i + 1 < chunk.ids.size()) continue;
        require(logits.size() >= vocab_, "too few rows of logits");
        rule_(cache, logits.first(vocab_));
        logits = logits.subspan(vocab_);
      }
      run.tokens += chunk.ids.size();
      run.largest_chunk = std::max(run.largest_chunk, chunk.ids.size());
    }
    require(logits.empty(), "rows of logits left over");
    run.chunks = chunks.size();
  }

  static void hashed(std::span<const std::int32_t> tokens, std::span<float> logits) {
    std::uint64_t state = 1;
    for (const std::int32_t id : tokens)
      state = RandomBits(state * 31 + static_cast<std::uint64_t>(id)).next();
    RandomBits bits(state);
    for (float& l : logits) l = static_cast<float>(bits.uniform() * 8);
  }

  std::vector<Run> runs;
  std::size_t copies = 0;
  std::size_t fail_at = SIZE_MAX;

 private:
  std::size_t vocab_, ctx_len_;
  Rule rule_;
  std::vector<Tokens> caches_;
};

/// Generation as simple as it can be: the whole text anew for each token.
inline Tokens reference_text(const Tokens& prompt, std::size_t vocab, std::size_t count,
                             const SamplingOptions& sampling, std::uint64_t seed,
                             const ScriptedModel::Rule& rule = ScriptedModel::hashed) {
  Sampler sampler(sampling, vocab);
  sampler.restart(seed);
  sampler.see(prompt);
  Tokens all = prompt;
  std::vector<float> logits(vocab);
  for (std::size_t i = 0; i < count; ++i) {
    rule(all, logits);
    all.push_back(sampler.choose(logits));
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()};
}

}  // namespace qeff::test
