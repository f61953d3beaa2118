#include "qeff/nn/causal_lm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "qeff/nn/compile_causal_lm.hpp"
#include "tiny_bert.hpp"
#include "tiny_decoder.hpp"

namespace qeff::test {
namespace {

constexpr std::size_t kPositions = 700;

std::vector<std::int32_t> random_ids(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % kDecoderVocab);
  return ids;
}

/// Logits of all tokens but the first `prompt`, which run together, fed `step` at a time.
std::vector<float> logits_of(const std::string& artifact, std::size_t threads, std::size_t prompt, std::size_t step,
                             KvFormat kv_cache) {
  CausalSession session(load_causal_lm(artifact, threads), {.ctx_len = kPositions, .kv_cache = kv_cache});
  const auto ids = random_ids(kPositions, 3);
  std::vector<float> first(kDecoderVocab), logits;
  const CausalChunk begin{0, {ids.data(), prompt}};
  session.run({&begin, 1}, first);
  for (std::size_t i = prompt; i < ids.size(); i += step) {
    const std::size_t count = std::min(step, ids.size() - i);
    std::vector<float> part(count * kDecoderVocab);
    const CausalChunk next{0, {ids.data() + i, count}, true};
    session.run({&next, 1}, part);
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

TEST(CausalSession, LongContextsGiveTheSameBytesForAnyThreadsAndSteps) {
  const TemporaryDirectory dir;
  const auto checkpoint = Checkpoint::open(write_tiny_decoder(dir.file("tiny.bin"), 64, 128, kPositions));
  const std::string artifact = dir.file("tiny.qeff");
  (void)compile_causal_lm(*checkpoint, quantization_config_from_json(R"({"method": "affine", "bits": 8})"), {}, {}, artifact);
  for (const KvFormat format : {KvFormat::bf16, KvFormat::int4}) {
    const auto right = logits_of(artifact, 1, 490, 210, format);
    for (const std::size_t threads : {1u, 2u, 5u})
      for (const std::size_t step : {1u, 3u, 11u})
        EXPECT_EQ(logits_of(artifact, threads, 490, step, format), right) << threads << " threads, steps of " << step;
  }
}

}  // namespace
}  // namespace qeff::test
