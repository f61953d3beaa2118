/// @file
/// Causal language models (Llama, Mistral, Qwen2/3, Gemma, Phi-3, GPT-2, OPT, GPT-NeoX ...) run from
/// a compiled artifact: prefill, decode and a cache of keys and values for several sequences.
///
///     CausalLm model = load_causal_lm("model.qeff");
///     CausalSession session(model, {.sequences = 1, .ctx_len = 2048});
///     session.run({{.sequence = 0, .ids = prompt}}, logits);   // logits of the last token
///
/// What a sequence gets does not depend on its neighbours in a call, on how its tokens are cut into
/// calls or on the number of threads: the same bytes, as long as int8 activations or one kernel are
/// used for the rows (docs/numerics.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qeff/io/artifact.hpp"
#include "qeff/nn/encoder.hpp"

namespace qeff {

/// How keys and values are kept between calls.
enum class KvFormat : std::uint8_t { f32, bf16, int8, int4 };

/// A loaded model: weights only, immutable, shared by any number of sessions.
class CausalLm {
 public:
  /// @param threads  0: all this process may use.
  /// @throws FormatError if the artifact is no causal language model or an entry is missing.
  explicit CausalLm(std::shared_ptr<const Artifact> artifact, std::size_t threads = 0);
  CausalLm(CausalLm&&) noexcept;
  CausalLm& operator=(CausalLm&&) noexcept;
  ~CausalLm();

  [[nodiscard]] std::size_t vocab_size() const noexcept;
  [[nodiscard]] std::size_t hidden_size() const noexcept;
  [[nodiscard]] std::size_t layers() const noexcept;
  [[nodiscard]] std::size_t max_positions() const noexcept;  ///< Longest ctx_len.
  [[nodiscard]] std::size_t threads() const noexcept;
  [[nodiscard]] const Artifact& artifact() const noexcept;
  [[nodiscard]] std::vector<LayerPlan> explain() const;

 private:
  friend class CausalSession;
  struct Impl;
  explicit CausalLm(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

struct CausalSessionOptions {
  std::size_t sequences = 1;  ///< Sequences that can be in flight together.
  std::size_t ctx_len = 0;    ///< Tokens each may have; 0: max_positions(), at most 4096.
  KvFormat kv_cache = KvFormat::bf16;
};

/// Tokens to append to one sequence.
struct CausalChunk {
  std::size_t sequence = 0;
  std::span<const std::int32_t> ids;
  bool all_logits = false;  ///< Logits of every token and not of the last one alone.
};

/// The caches of some sequences. One thread at a time; a second one gets an error, not a wait.
class CausalSession {
 public:
  /// @throws InvalidArgument for 0 sequences or a ctx_len beyond max_positions().
  CausalSession(const CausalLm& model, const CausalSessionOptions& options);
  CausalSession(CausalSession&&) noexcept;
  CausalSession& operator=(CausalSession&&) noexcept;
  ~CausalSession();

  [[nodiscard]] const CausalLm& model() const noexcept;
  [[nodiscard]] std::size_t sequences() const noexcept;
  [[nodiscard]] std::size_t ctx_len() const noexcept;
  [[nodiscard]] std::size_t cache_bytes() const noexcept;
  /// Tokens a sequence has so far.
  [[nodiscard]] std::size_t length(std::size_t sequence) const;
  /// Forgets all tokens from `length` on. @throws InvalidArgument if there are fewer.
  void truncate(std::size_t sequence, std::size_t length);
  /// Makes the first `length` tokens of `to` those of `from`, whatever `to` held.
  void copy_prefix(std::size_t from, std::size_t to, std::size_t length);

  /// Runs all chunks through the model together (prompts and single tokens mixed) and appends them.
  /// @param logits  (rows, vocab) in the order of the chunks: one row a chunk, or one a token with
  ///                all_logits.
  /// @throws InvalidArgument naming chunk and position: no ids, an id outside the vocabulary, a
  ///         sequence twice or out of range, more tokens than ctx_len, wrong size of logits, use by
  ///         two threads at once. The session is unchanged then.
  void run(std::span<const CausalChunk> chunks, std::span<float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Opens an artifact and the model in it.
[[nodiscard]] CausalLm load_causal_lm(const std::string& path, std::size_t threads = 0);

}  // namespace qeff
