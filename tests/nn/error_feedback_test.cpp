// Linears that take back what the layers before them lost.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "qeff/core/error.hpp"
#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "qeff/nn/perplexity.hpp"
#include "tiny_bert.hpp"
#include "tiny_decoder.hpp"

namespace qeff {
namespace {

TokenBatch tokens(std::size_t sequences, std::uint32_t seed) {
  std::mt19937 random(seed);
  TokenBatch batch;
  for (std::size_t i = 0; i <= sequences; ++i) batch.offsets.push_back(i * 24);
  for (std::size_t i = 0; i < sequences * 24; ++i)
    batch.ids.push_back(static_cast<std::int32_t>(random() % test::kDecoderVocab));
  return batch;
}

class ErrorFeedback : public testing::Test {
 protected:
  test::TemporaryDirectory directory;

  CausalLm compiled(const std::string& recipe) {
    const auto model = Checkpoint::open(test::write_tiny_decoder(directory.file("model.bin")));
    const std::string path = directory.file("out.qeff");
    CompileOptions options;
    options.threads = 2;
    options.resume = false;
    (void)compile_causal_lm(*model, quantization_config_from_json(recipe), tokens(40, 1), options, path);
    return load_causal_lm(path, 1);
  }
  /// Mean KL to the float model, of tokens that calibration has not seen.
  double divergence(const std::string& recipe) {
    const CausalLm model = compiled(recipe), reference = compiled(R"({"method": "none"})");
    CausalSession quantized(model, {}), floats(reference, {});
    const auto of_model = sequence_model(quantized), of_reference = sequence_model(floats);
    PerplexityOptions options;
    options.ctx = 24;
    Executor serial(1);
    return kl_divergence(*of_model, *of_reference, tokens(30, 2).ids, options, serial).mean_kl;
  }
};

TEST_F(ErrorFeedback, BringsTheModelNearerToTheFloatModel) {
  for (const char* method : {"gptq", "awq"}) {
    const auto recipe = [&](double share) {
      return fmt::format(R"({{"method": "{}", "bits": 3, "group_size": 32, "activations": "bf16", "error_feedback": {}}})",
                         method, share);
    };
    const double without = divergence(recipe(0));
    EXPECT_LT(divergence(recipe(0.5)), 0.95 * without) << method;
    EXPECT_LT(divergence(recipe(1)), 0.95 * without) << method;
  }
}

TEST_F(ErrorFeedback, NeedsInputsOfTheQuantizedModel) {
  const char* recipe = R"({{"method": "gptq", "group_size": 32, "propagate": false, "error_feedback": {}}})";
  EXPECT_EQ(divergence(fmt::format(fmt::runtime(recipe), 0.5)), divergence(fmt::format(fmt::runtime(recipe), 0)));
}

TEST_F(ErrorFeedback, IsAShareBetween0And1) {
  EXPECT_THROW((void)compiled(R"({"method": "gptq", "error_feedback": 1.5})"), InvalidArgument);
}

}  // namespace
}  // namespace qeff
