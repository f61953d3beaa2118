#include "qeff/core/error.hpp"
#include "qeff/nn/generate.hpp"

namespace qeff {
namespace {

class SessionModel final : public SequenceModel {
 public:
  explicit SessionModel(CausalSession& session) : session_(session) {}

  std::size_t vocab_size() const override { return session_.model().vocab_size(); }
  std::size_t sequences() const override { return session_.sequences(); }
  std::size_t ctx_len() const override { return session_.ctx_len(); }
  std::size_t length(std::size_t sequence) const override { return session_.length(sequence); }
  void truncate(std::size_t sequence, std::size_t length) override {
    session_.truncate(sequence, length);
  }
  void copy_prefix(std::size_t from, std::size_t to, std::size_t length) override {
    session_.copy_prefix(from, to, length);
  }
  void run(std::span<const CausalChunk> chunks, std::span<float> logits) override {
    session_.run(chunks, logits);
  }

 private:
  CausalSession& session_;
};

/// Empties the sequences at the end, however it comes.
class Emptied {
 public:
  explicit Emptied(CausalSession& session) : session_(session) {}
  ~Emptied() {
    try {
      for (std::size_t s = 0; s < session_.sequences(); ++s) session_.truncate(s, 0);
    } catch (const Error&) {  // another thread is in the session: not ours to empty
    }
  }
  Emptied(const Emptied&) = delete;
  Emptied& operator=(const Emptied&) = delete;

 private:
  CausalSession& session_;
};

}  // namespace

std::unique_ptr<SequenceModel> sequence_model(CausalSession& session) {
  return std::make_unique<SessionModel>(session);
}

GenerationResult generate(CausalSession& session,
                          std::span<const std::vector<std::int32_t>> prompts,
                          const GenerationOptions& options, const TokenCallback& on_token) {
  const Emptied at_the_end(session);
  SessionModel model(session);
  return Generator(model).generate(prompts, options, on_token);
}

}  // namespace qeff
