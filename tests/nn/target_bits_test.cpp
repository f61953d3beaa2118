// Bits and groups chosen under a budget.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "expect_message.hpp"
#include "nn/bit_budget.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "tiny_bert.hpp"
#include "tiny_decoder.hpp"

namespace qeff {
namespace {

using nn::BudgetItem;
using test::expect_message;

std::vector<BudgetItem> random_items(std::size_t count, std::size_t choices, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<BudgetItem> items(count);
  for (BudgetItem& item : items)
    for (std::size_t c = 0; c < choices; ++c) {
      item.bytes.push_back(100 + 5 * (random() % 40));
      item.loss.push_back(static_cast<double>(random() % 1000));
    }
  return items;
}

std::size_t bytes_of(const std::vector<BudgetItem>& items, const std::vector<std::size_t>& chosen) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += items[i].bytes[chosen[i]];
  return sum;
}

double loss_of(const std::vector<BudgetItem>& items, const std::vector<std::size_t>& chosen) {
  double sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += items[i].loss[chosen[i]];
  return sum;
}

double least_loss(const std::vector<BudgetItem>& items, std::size_t budget, std::size_t i = 0) {
  if (i == items.size()) return 0;
  double least = INFINITY;
  for (std::size_t c = 0; c < items[i].bytes.size(); ++c)
    if (items[i].bytes[c] <= budget)
      least = std::min(least, items[i].loss[c] + least_loss(items, budget - items[i].bytes[c], i + 1));
  return least;
}

TEST(ChooseWithin, FindsTheLeastLossOfAllChoices) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const auto items = random_items(5, 4, seed);
    for (const std::size_t budget : {900u, 1000u, 1203u, 1500u}) {
      const double least = least_loss(items, budget);
      if (std::isinf(least)) continue;
      const auto chosen = choose_within(items, budget);
      EXPECT_LE(bytes_of(items, chosen), budget);
      EXPECT_EQ(loss_of(items, chosen), least);
    }
  }
}

TEST(ChooseWithin, StaysInTheBudgetAndNeverLosesByMore) {
  auto items = random_items(24, 5, 1);
  for (BudgetItem& item : items)
    for (std::size_t& bytes : item.bytes) bytes = bytes * 10007 + bytes % 3;  // more units than fit the table
  double before = INFINITY;
  for (std::size_t budget = 36'000'000; budget < 90'000'000; budget += 19'000'003) {
    const auto chosen = choose_within(items, budget);
    EXPECT_LE(bytes_of(items, chosen), budget);
    EXPECT_LE(loss_of(items, chosen), before);
    before = loss_of(items, chosen);
  }
}

TEST(ChooseWithin, RefusesABudgetBelowTheLeast) {
  EXPECT_THROW((void)choose_within(random_items(3, 2, 1), 299), InvalidArgument);
}

/// A model compiled under a budget.
struct Compiled {
  test::TemporaryDirectory directory;
  std::vector<LayerReport> reports;
  std::string path = directory.file("out.qeff");

  explicit Compiled(const std::string& recipe) {
    const auto model = Checkpoint::open(test::write_tiny_decoder(directory.file("model.bin"), 128, 256));
    CompileOptions options;
    options.threads = 1;
    reports = compile_causal_lm(*model, quantization_config_from_json(recipe), test::tiny_decoder_tokens(), options, path);
  }
  /// Of the linears of the layers.
  [[nodiscard]] double average_bits() const {
    double bits = 0, weights = 0;
    for (const LayerReport& row : reports) {
      if (row.name.find("layers") == std::string::npos) continue;
      bits += row.bits * static_cast<double>(row.rows * row.cols);
      weights += static_cast<double>(row.rows * row.cols);
    }
    return bits / weights;
  }
  [[nodiscard]] std::set<std::string> schemes() const {
    std::set<std::string> all;
    for (const LayerReport& row : reports)
      if (row.name.find("layers") != std::string::npos) all.insert(row.scheme);
    return all;
  }
};

TEST(TargetBits, BitsGrowWithTheBudgetAndStayInIt) {
  double before = 0;
  for (const double target : {4.6, 5.6, 8.0}) {
    const Compiled compiled(R"({"method": "affine", "symmetric": false, "target_bits": )" + std::to_string(target) + "}");
    EXPECT_LE(compiled.average_bits(), target);
    EXPECT_GT(compiled.average_bits(), target - 0.15);
    EXPECT_GT(compiled.average_bits(), before);
    before = compiled.average_bits();
  }
}

TEST(TargetBits, AnArtifactOfMixedLinearsRunsAndSaysWhatItHolds) {
  for (const char* method : {"affine", "gptq", "awq"}) {
    const Compiled compiled(std::string(R"({"target_bits": 5.5, "activations": "int8", "range_grid": 4, "scale_grid": 2,
      "clip_grid": 2, "method": ")") + method + "\"}");
    EXPECT_GT(compiled.schemes().size(), 1u) << method;
    const auto artifact = Artifact::open(compiled.path);
    const auto metadata = nlohmann::json::parse(artifact->metadata());
    EXPECT_EQ(metadata["quantization"]["target_bits"], 5.5);
    EXPECT_NEAR(metadata["average_bits"].get<double>(), compiled.average_bits(), 0.1);
    EXPECT_LE(compiled.average_bits(), 5.5) << method;
    std::set<std::string> schemes;
    for (const auto& linear : metadata["linears"])
      if (linear["name"].get<std::string>().starts_with("layers.")) schemes.insert(linear["scheme"].get<std::string>());
    EXPECT_EQ(schemes, compiled.schemes());

    const CausalLm model = load_causal_lm(compiled.path, 1);
    CausalSession session(model, {});
    const std::vector<std::int32_t> ids{1, 2, 3};
    std::vector<float> logits(model.vocab_size());
    const CausalChunk chunk{0, ids};
    session.run({&chunk, 1}, logits);
    EXPECT_TRUE(std::ranges::all_of(logits, [](float v) { return std::isfinite(v); }));
  }
}

TEST(TargetBits, LayersSayWhatTheyWouldCost) {
  const Compiled compiled(R"({"method": "affine", "symmetric": false, "target_bits": 5})");
  for (const LayerReport& row : compiled.reports)
    EXPECT_EQ(row.sensitivity > 0, row.name.find("layers") != std::string::npos) << row.name;
}

TEST(TargetBits, OutOfReachNamesTheRange) {
  expect_message<InvalidArgument>([] { Compiled(R"({"method": "gptq", "target_bits": 4.01})"); }, {"from 4."});
  expect_message<InvalidArgument>([] { Compiled(R"({"method": "gptq", "target_bits": 8.9})"); }, {" to 8.22 bits"});
}

TEST(TargetBits, NeedsAMethodThatChoosesBitsAndCalibration) {
  expect_message<InvalidArgument>([] { (void)quantization_config_from_json(R"({"method": "fp8", "target_bits": 5})"); },
                                  {"affine, gptq and awq"});
  expect_message<InvalidArgument>([] { (void)quantization_config_from_json(R"({"method": "gptq", "target_bits": 3})"); },
                                  {"4..9"});
  test::TemporaryDirectory directory;
  const auto model = Checkpoint::open(test::write_tiny_decoder(directory.file("model.bin")));
  const auto config = quantization_config_from_json(R"({"method": "affine", "target_bits": 5})");
  expect_message<InvalidArgument>([&] { (void)compile_causal_lm(*model, config, {}, {}, directory.file("o.qeff")); },
                                  {"target_bits needs calibration"});
}

}  // namespace
}  // namespace qeff
