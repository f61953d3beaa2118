#include "nn/smoothing.hpp"

#include <gtest/gtest.h>

#include "nn/tiny_bert.hpp"
#include "qeff/nn/encoder.hpp"

namespace qeff {
namespace {

TEST(Smoothing, IsForInt8ActivationsAndCodesOfFiveBitsOrMore) {
  const auto wants = [](const char* json) {
    return nn::wants_smoothing(quantization_config_from_json(json));
  };
  EXPECT_TRUE(wants(R"({"method": "affine"})"));
  EXPECT_TRUE(wants(R"({"method": "gptq", "bits": 8, "symmetric": true})"));
  EXPECT_FALSE(wants(R"({"method": "affine", "smooth": 0})"));
  EXPECT_FALSE(wants(R"({"method": "affine", "activations": "bf16"})"));
  EXPECT_FALSE(wants(R"({"method": "affine", "bits": 4, "activations": "int8"})"));
  EXPECT_FALSE(wants(R"({"method": "fp8"})"));
}

TEST(Smoothing, ScalesAreThePowerOfTheRmsWithGeometricMeanOne) {
  nn::InputStatistics inputs;
  inputs.hessian = {4, 0, 0, 0, 16, 0, 0, 0, 1};
  inputs.mean_abs = {1, 1, 1};
  const auto scales = nn::smoothing_scales(inputs, 1.0);
  EXPECT_NEAR(scales[0], 1.0, 1e-6);
  EXPECT_NEAR(scales[1], 2.0, 1e-6);
  EXPECT_NEAR(scales[2], 0.5, 1e-6);
  EXPECT_NEAR(nn::smoothing_scales(inputs, 0.5)[1], 1.41421356, 1e-6);
}

TEST(Smoothing, AnInputThatIsAlwaysZeroKeepsTheScalesInBounds) {
  nn::InputStatistics inputs;
  inputs.hessian = {4, 0, 0, 0};
  inputs.mean_abs = {1, 0};
  for (const float s : nn::smoothing_scales(inputs, 1.0)) EXPECT_TRUE(s > 0.01f && s < 100.0f) << s;
  inputs.hessian = {0, 0, 0, 0};
  EXPECT_EQ(nn::smoothing_scales(inputs, 1.0), (std::vector<float>{1, 1}));
}

TEST(Smoothing, TheSampleIsValidForEveryModel) {
  EncoderShape shape;
  for (const std::size_t positions : {1u, 5u, 512u}) {
    shape.vocab = 3;
    shape.positions = positions;
    EXPECT_NO_THROW(validate(nn::vocabulary_sample(shape), shape));
  }
}

/// One channel of the embeddings' LayerNorm is a hundred times larger than the others, as in real
/// models.
TEST(Smoothing, BringsAModelWithAnOutlierChannelCloserToItsFloatSelf) {
  test::TemporaryDirectory directory;
  test::write_tiny_bert(directory, [](test::Tensors& t) {
    t["embeddings.LayerNorm.weight"].second[5] *= 100;
    for (auto& [name, tensor] : t)  // and is hardly read
      if (name.starts_with("encoder.layer.0.attention.self") && name.ends_with("weight"))
        for (std::size_t row = 0; row < test::kHidden; ++row)
          tensor.second[row * test::kHidden + 5] *= 0.01f;
  });
  const TokenBatch tokens = test::batch_of({9, 30, 40, 3});
  const auto states = [&](const char* config) {
    const std::string out = directory.file("m.qeff");
    compile_encoder(*Checkpoint::open(directory.string()), quantization_config_from_json(config),
                    {}, {}, out);
    std::vector<float> result(tokens.ids.size() * test::kHidden);
    load(out, 1).hidden_states(tokens, result);
    return result;
  };
  const auto reference = states(R"({"method": "none"})");
  const auto error = [&](const char* config) {
    const auto result = states(config);
    double sum = 0;
    for (std::size_t i = 0; i < result.size(); ++i) {
      const double e = result[i] - reference[i];
      sum += e * e;
    }
    return sum;
  };
  EXPECT_LT(error(R"({"method": "affine"})"), 0.5 * error(R"({"method": "affine", "smooth": 0})"));
}

}  // namespace
}  // namespace qeff
