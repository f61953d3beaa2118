#include "qeff/nn/quantization_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

auto parsing(const char* json) {
  return [json] { (void)quantization_config_from_json(json); };
}

TEST(QuantizationConfig, SurvivesTheWayThroughJson) {
  auto config = quantization_config_from_json(
      R"({"method": "gptq", "bits": 3, "group_size": 32, "desc_act": true, "damp_percent": 0.05, "activations": "int8"})");
  config = quantization_config_from_json(to_json(config));
  EXPECT_EQ(config.method, Method::gptq);
  EXPECT_EQ(config.bits, 3);
  EXPECT_EQ(config.group_size, 32u);
  EXPECT_TRUE(config.gptq.desc_act);
  EXPECT_EQ(config.gptq.damp_percent, 0.05);
  EXPECT_EQ(config.activations, kernels::Activations::int8);
}

TEST(QuantizationConfig, NamesTheClosestKnownWord) {
  EXPECT_THAT(parsing(R"({"method": "gtpq"})"),
              ThrowsMessage<InvalidArgument>(HasSubstr("\"gtpq\" is unknown; did you mean \"gptq\"")));
  EXPECT_THAT(parsing(R"({"groupsize": 32})"), ThrowsMessage<InvalidArgument>(HasSubstr("\"group_size\"")));
  EXPECT_THAT(parsing(R"({"codebook": "nf5"})"), ThrowsMessage<InvalidArgument>(HasSubstr("\"nf4\"")));
}

TEST(QuantizationConfig, RefusesWrongTypesAndRanges) {
  EXPECT_THAT(parsing("[]"), ThrowsMessage<InvalidArgument>(HasSubstr("JSON object")));
  EXPECT_THAT(parsing(R"({"bits": 9})"), ThrowsMessage<InvalidArgument>("bits is 9, not in 2..8"));
  EXPECT_THAT(parsing(R"({"bits": "4"})"), ThrowsMessage<InvalidArgument>(HasSubstr("\"bits\" is \"4\"")));
  EXPECT_THAT(parsing(R"({"symmetric": 1})"), ThrowsMessage<InvalidArgument>(HasSubstr("true or false")));
  EXPECT_THAT(parsing(R"({"embedding_bits": 4})"), ThrowsMessage<InvalidArgument>(HasSubstr("embedding_bits is 4")));
  EXPECT_THAT(parsing(R"({"method": "none", "activations": "int8"})"), ThrowsMessage<InvalidArgument>(HasSubstr("int8")));
  EXPECT_THAT(parsing(R"({"method": "fp8", "group_size": 64})"), ThrowsMessage<InvalidArgument>(HasSubstr("64")));
}

TEST(QuantizationConfig, MinusOneMeansNoGroups) {
  EXPECT_EQ(quantization_config_from_json(R"({"group_size": -1})").group_size, 0u);
}

}  // namespace
}  // namespace qeff
