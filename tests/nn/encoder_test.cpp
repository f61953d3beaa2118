#include "qeff/nn/encoder.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/expect_message.hpp"
#include "nn/tiny_bert.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/compile_encoder.hpp"

namespace qeff {
namespace {

/// The tiny model, compiled once for each recipe.
class CompiledEncoder : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    test::write_tiny_bert(directory_);
    compile_encoder(*Checkpoint::open(directory_.string()),
                    quantization_config_from_json(GetParam()),
                    test::batch_of({20, 30, 7, 11, 25, 33, 19}), {}, artifact());
  }
  [[nodiscard]] std::string artifact() const { return directory_.file("model.qeff"); }
  [[nodiscard]] static std::vector<float> states(const Encoder& encoder, const TokenBatch& batch) {
    std::vector<float> out(batch.ids.size() * encoder.hidden_size());
    encoder.hidden_states(batch, out);
    return out;
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_P(CompiledEncoder, GivesTheSameBytesForAnyNumberOfThreads) {
  const TokenBatch batch =
      test::batch_of({5, 40, 1, 17, 33, 40, 40, 40, 40, 40, 40, 12, 9, 40, 40});
  const auto one = states(load(artifact(), 1), batch);
  for (const std::size_t threads : {2u, 3u})
    EXPECT_EQ(one, states(load(artifact(), threads), batch));
}

TEST_P(CompiledEncoder, GivesASequenceTheSameBytesWhateverItsNeighbours) {
  const Encoder encoder = load(artifact(), 2);
  const TokenBatch batch = test::batch_of({9, 40, 1, 17, 40, 33, 40, 28, 40, 2});
  const auto together = states(encoder, batch);
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    TokenBatch alone;
    alone.ids.assign(batch.ids.begin() + static_cast<std::ptrdiff_t>(batch.offsets[s]),
                     batch.ids.begin() + static_cast<std::ptrdiff_t>(batch.offsets[s + 1]));
    alone.offsets = {0, alone.ids.size()};
    const auto result = states(encoder, alone);
    EXPECT_TRUE(std::equal(
        result.begin(), result.end(),
        together.begin() + static_cast<std::ptrdiff_t>(batch.offsets[s] * test::kHidden)))
        << "sequence " << s;
  }
}

TEST_P(CompiledEncoder, PoolsItsOwnHiddenStates) {
  const Encoder encoder = load(artifact(), 2);
  const TokenBatch batch = test::batch_of({3, 8});
  const auto hidden = states(encoder, batch);
  std::vector<float> mean(2 * test::kHidden), cls(mean), most(mean), unit(mean);
  encoder.embed(batch, Pooling::mean, false, mean);
  encoder.embed(batch, Pooling::cls, false, cls);
  encoder.embed(batch, Pooling::max, false, most);
  encoder.embed(batch, Pooling::mean, true, unit);
  double norm = 0;
  for (std::size_t j = 0; j < test::kHidden; ++j) {
    const float a = hidden[j], b = hidden[test::kHidden + j], c = hidden[2 * test::kHidden + j];
    EXPECT_NEAR(mean[j], (a + b + c) / 3, 1e-6);
    EXPECT_EQ(cls[j], a);
    EXPECT_EQ(most[j], std::max({a, b, c}));
    norm += static_cast<double>(unit[j]) * static_cast<double>(unit[j]);
  }
  EXPECT_NEAR(norm, 1.0, 1e-6);
}

TEST_P(CompiledEncoder, ExplainsEveryLinear) {
  const auto plans = load(artifact(), 1).explain();
  ASSERT_EQ(plans.size(), 4 * test::kLayers);
  EXPECT_EQ(plans.front().name, "layers.0.qkv");
  for (const auto& plan : plans) EXPECT_GT(plan.bytes, 0u) << plan.name;
}

TEST_P(CompiledEncoder, ExplainsEveryLinearForEachNumberOfRows) {
  const Encoder encoder = load(artifact(), 1);
  const std::size_t rows[] = {1, 40};
  const auto plans = encoder.explain(rows, false);
  ASSERT_EQ(plans.size(), 2 * encoder.explain().size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    ASSERT_TRUE(plans[i].matmul.has_value());
    EXPECT_EQ(plans[i].matmul->rows, rows[i % 2]);
    EXPECT_GT(plans[i].matmul->bytes, static_cast<double>(plans[i].bytes)) << plans[i].name;
    EXPECT_GT(plans[i].matmul->least_seconds, 0) << plans[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, CompiledEncoder,
    ::testing::Values(R"({"method": "none", "embedding_bits": 32})", R"({"method": "affine"})",
                      R"({"method": "affine", "bits": 4, "group_size": 16, "symmetric": false})",
                      R"({"method": "affine", "bits": 4, "group_size": 16, "activations": "int8"})",
                      R"({"method": "fp8"})", R"({"method": "codebook"})",
                      R"({"method": "gptq", "group_size": 16})",
                      R"({"method": "awq", "group_size": 16})"),
    [](const auto& p) {
      std::string name;
      for (const char c : std::string(p.param))
        if (std::isalnum(static_cast<unsigned char>(c))) name += c;
      return name;
    });

class FloatEncoder : public CompiledEncoder {
 protected:
  auto refusal(const TokenBatch& batch) {
    return [this, batch] { (void)states(load(artifact(), 1), batch); };
  }
};
INSTANTIATE_TEST_SUITE_P(None, FloatEncoder, ::testing::Values(R"({"method": "none"})"),
                         [](const auto&) { return "none"; });

TEST_P(FloatEncoder, NamesThePositionOfAnIdOutsideTheVocabulary) {
  TokenBatch batch = test::batch_of({4, 5});
  batch.ids[6] = 50;
  test::expect_message<InvalidArgument>(
      refusal(batch), {"id 50 at token 2 of sequence 1 is outside the vocabulary of 50"});
  batch.ids[6] = -1;
  test::expect_message<InvalidArgument>(refusal(batch), {"id -1 at token 2 of sequence 1"});
}

TEST_P(FloatEncoder, NamesTheSequenceThatIsEmptyOrTooLong) {
  TokenBatch empty = test::batch_of({4, 5});
  empty.offsets = {0, 4, 4, 9};
  test::expect_message<InvalidArgument>(refusal(empty), {"sequence 1 is empty"});
  test::expect_message<InvalidArgument>(
      refusal(test::batch_of({4, 41})),
      {"sequence 1 has 41 tokens; the model has positions for 40"});
}

TEST_P(FloatEncoder, RefusesOffsetsThatDoNotFit) {
  TokenBatch batch = test::batch_of({4, 5});
  batch.offsets = {0, 4, 8};
  test::expect_message<InvalidArgument>(refusal(batch), {"offsets end at 8 but there are 9 ids"});
  batch.offsets = {0, 10, 9};
  test::expect_message<InvalidArgument>(refusal(batch), {"offset 2 is 9, below 10"});
  batch.offsets = {0};
  test::expect_message<InvalidArgument>(refusal(batch), {"the batch has no sequence"});
}

TEST_P(FloatEncoder, RefusesTypeIdsOutsideTheirTable) {
  TokenBatch batch = test::batch_of({4});
  batch.type_ids = {0, 1, 2, 0};
  test::expect_message<InvalidArgument>(
      refusal(batch), {"type id 2 at token 2 of sequence 0 is outside the token types of 2"});
}

TEST_P(FloatEncoder, TypeIdsChangeTheResult) {
  TokenBatch batch = test::batch_of({4});
  const Encoder encoder = load(artifact(), 1);
  const auto zero = states(encoder, batch);
  batch.type_ids = {0, 0, 0, 0};
  EXPECT_EQ(states(encoder, batch), zero);
  batch.type_ids = {0, 0, 1, 0};
  EXPECT_NE(states(encoder, batch), zero);
}

TEST_P(FloatEncoder, SaysThatItHasNoTokenizer) {
  const Encoder encoder = load(artifact(), 1);
  EXPECT_FALSE(encoder.has_native_tokenizer());
  const std::vector<std::string> texts{"text"};
  test::expect_message<Unsupported>([&] { (void)encoder.encode(texts); },
                                    {"holds no WordPiece tokenizer"});
}

}  // namespace
}  // namespace qeff
