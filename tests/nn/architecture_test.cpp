#include "qeff/nn/architecture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(WhyNotNative, IsEmptyForEveryDescribedModelType) {
  for (const auto& architecture : encoder_architectures())
    EXPECT_EQ(why_not_native("{\"model_type\": \"" + std::string(architecture.model_type) + "\"}"), "");
}

TEST(WhyNotNative, GivesTheReason) {
  EXPECT_THAT(why_not_native("nonsense"), HasSubstr("not a JSON object"));
  EXPECT_THAT(why_not_native("{}"), HasSubstr("model_type \"\" has no native description"));
  EXPECT_THAT(why_not_native(R"({"model_type": "bert", "is_decoder": true})"), HasSubstr("decoder"));
  EXPECT_THAT(why_not_native(R"({"model_type": "bert", "position_embedding_type": "relative_key"})"),
              HasSubstr("relative_key"));
  EXPECT_THAT(why_not_native(R"({"model_type": "bert", "hidden_act": "mish"})"), HasSubstr("mish"));
  EXPECT_THAT(why_not_native(R"({"model_type": "bert", "quantization_config": {}})"), HasSubstr("already quantized"));
  EXPECT_THAT(why_not_native(R"({"model_type": "mpnet", "relative_attention_num_buckets": 16})"), HasSubstr("16"));
}

TEST(EncoderShape, NamesTheFieldThatIsMissingOrSenseless) {
  EXPECT_THAT([] { (void)encoder_shape(R"({"model_type": "bert"})", "config.json"); },
              ThrowsMessage<FormatError>("config.json: field \"num_hidden_layers\" is missing"));
  EXPECT_THAT([] { (void)encoder_shape(R"({"model_type": "bert", "num_hidden_layers": -2})", "config.json"); },
              ThrowsMessage<FormatError>(HasSubstr("\"num_hidden_layers\" is -2, not a positive integer")));
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
