// The forward pass of a real model allocates nothing once its buffers have grown.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "counted_new.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "qeff/nn/generate.hpp"

namespace qeff::test {
namespace {

TEST(SessionAllocations, NoneAreMadeWhileARealModelWrites) {
  const std::string path = QEFF_SHARED_DIR "/data/llm/stories260K/stories260K.bin";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto artifact = std::filesystem::temp_directory_path() / ("qeff_allocation_" + std::to_string(::getpid()) + ".qeff");
  QuantizationConfig config;
  config.activations = kernels::Activations::int8;
  (void)compile_causal_lm(*Checkpoint::open(path), config, {}, {}, artifact.string());
  {
    const CausalLm model = load_causal_lm(artifact.string());
    for (const KvFormat format : {KvFormat::f32, KvFormat::bf16, KvFormat::int8, KvFormat::int4}) {
      CausalSession session(model, {.sequences = 2, .ctx_len = 256, .kv_cache = format});
      GenerationOptions options{.max_new_tokens = 100};
      std::size_t from = 0, until = 0;
      (void)generate(session, std::vector<std::vector<std::int32_t>>{{1, 403, 407}, {1, 261}}, options, [&](const TokenEvent& event) {
        if (event.prompt == 0 && event.index == 2) from = allocations();
        if (event.prompt == 0) until = allocations();
        return true;
      });
      EXPECT_GT(from, 0u);
      EXPECT_EQ(until - from, 0u);
    }
  }
  std::filesystem::remove(artifact);
}

}  // namespace
}  // namespace qeff::test
