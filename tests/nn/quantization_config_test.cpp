#include "qeff/nn/quantization_config.hpp"

#include <gtest/gtest.h>

#include "nn/expect_message.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

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

TEST(QuantizationConfig, LearnedRoundingHasItsOwnKeysAndThoseOfGptq) {
  auto config = quantization_config_from_json(R"({"method": "autoround", "desc_act": true, "iters": 7,
      "batch_size": 3, "lr": 0.01, "minmax_lr": 0.002, "momentum": 0.5})");
  EXPECT_TRUE(config.needs_calibration());
  EXPECT_EQ(config.bits, 4);
  EXPECT_FALSE(config.symmetric);
  config = quantization_config_from_json(to_json(config));
  EXPECT_EQ(config.method, Method::autoround);
  EXPECT_TRUE(config.gptq.desc_act);
  EXPECT_EQ(config.autoround.iters, 7);
  EXPECT_EQ(config.autoround.batch_size, 3);
  EXPECT_EQ(config.autoround.lr, 0.01);
  EXPECT_EQ(config.autoround.minmax_lr, 0.002);
  EXPECT_EQ(config.autoround.momentum, 0.5);
  test::expect_message<InvalidArgument>(parsing(R"({"iters": 0})"), {"iters is 0, not at least 1"});
  test::expect_message<InvalidArgument>(parsing(R"({"momentum": 1})"), {"momentum is 1, not in [0, 1)"});
}

TEST(QuantizationConfig, NamesTheClosestKnownWord) {
  test::expect_message<InvalidArgument>(parsing(R"({"method": "gtpq"})"),
                                        {"\"gtpq\" is unknown; did you mean \"gptq\""});
  test::expect_message<InvalidArgument>(parsing(R"({"groupsize": 32})"), {"\"group_size\""});
  test::expect_message<InvalidArgument>(parsing(R"({"codebook": "nf5"})"), {"\"nf4\""});
}

TEST(QuantizationConfig, RefusesWrongTypesAndRanges) {
  test::expect_message<InvalidArgument>(parsing("[]"), {"JSON object"});
  test::expect_message<InvalidArgument>(parsing(R"({"bits": 9})"), {"bits is 9, not in 2..8"});
  test::expect_message<InvalidArgument>(parsing(R"({"bits": "4"})"), {"\"bits\" is \"4\""});
  test::expect_message<InvalidArgument>(parsing(R"({"symmetric": 1})"), {"true or false"});
  test::expect_message<InvalidArgument>(parsing(R"({"embedding_bits": 4})"),
                                        {"embedding_bits is 4"});
  test::expect_message<InvalidArgument>(parsing(R"({"method": "none", "activations": "int8"})"),
                                        {"int8"});
  test::expect_message<InvalidArgument>(parsing(R"({"method": "fp8", "group_size": 64})"), {"64"});
}

TEST(QuantizationConfig, RefusesActivationsThatNoKernelTakes) {
  test::expect_message<InvalidArgument>(parsing(R"({"method": "gptq", "activations": "f32"})"),
                                        {"activations \"f32\" go with method \"none\"", "\"gptq\" has"});
  EXPECT_NO_THROW(parsing(R"({"method": "none", "activations": "f32"})")());
}

TEST(QuantizationConfig, MinusOneMeansNoGroups) {
  EXPECT_EQ(quantization_config_from_json(R"({"group_size": -1})").group_size, 0u);
}

}  // namespace
}  // namespace qeff
