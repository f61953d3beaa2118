#include "qeff/nn/architecture.hpp"

#include <gtest/gtest.h>

#include "nn/expect_message.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

TEST(WhyNotNative, IsEmptyForEveryDescribedModelType) {
  for (const auto& architecture : encoder_architectures())
    EXPECT_EQ(why_not_native("{\"model_type\": \"" + std::string(architecture.model_type) + "\"}"),
              "");
}

TEST(WhyNotNative, GivesTheReason) {
  test::expect_parts(why_not_native("nonsense"), {"not a JSON object"});
  test::expect_parts(why_not_native("{}"), {"model_type \"\" has no native description"});
  test::expect_parts(why_not_native(R"({"model_type": "bert", "is_decoder": true})"), {"decoder"});
  test::expect_parts(
      why_not_native(R"({"model_type": "bert", "position_embedding_type": "relative_key"})"),
      {"relative_key"});
  test::expect_parts(why_not_native(R"({"model_type": "bert", "hidden_act": "mish"})"), {"mish"});
  test::expect_parts(why_not_native(R"({"model_type": "bert", "quantization_config": {}})"),
                     {"already quantized"});
  test::expect_parts(
      why_not_native(R"({"model_type": "mpnet", "relative_attention_num_buckets": 16})"), {"16"});
}

TEST(EncoderShape, NamesTheFieldThatIsMissingOrSenseless) {
  test::expect_message<FormatError>(
      [] { (void)encoder_shape(R"({"model_type": "bert"})", "config.json"); },
      {"config.json: field \"num_hidden_layers\" is missing"});
  test::expect_message<FormatError>(
      [] {
        (void)encoder_shape(R"({"model_type": "bert", "num_hidden_layers": -2})", "config.json");
      },
      {"\"num_hidden_layers\" is -2, not a positive integer"});
}

TEST(EncoderShape, CountsPositionsPastThePaddingIndex) {
  EncoderShape shape;
  shape.positions = 514;
  shape.padding_idx = 1;
  EXPECT_EQ(shape.max_positions(), 514u);
  shape.positions_skip_padding = true;
  EXPECT_EQ(shape.max_positions(), 512u);
}

TEST(RelativePositionBucket, IsExactNearbyLogarithmicFarAndSigned) {
  EXPECT_EQ(relative_position_bucket(5, 5, 32), 0u);
  EXPECT_EQ(relative_position_bucket(9, 2, 32), 7u);
  EXPECT_EQ(relative_position_bucket(2, 9, 32), 16u + 7u);
  EXPECT_EQ(relative_position_bucket(8, 0, 32), 8u);
  EXPECT_EQ(relative_position_bucket(127, 0, 32), 15u);
  EXPECT_EQ(relative_position_bucket(0, 500, 32), 31u);
}

}  // namespace
}  // namespace qeff
