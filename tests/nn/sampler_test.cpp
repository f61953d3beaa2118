#include "qeff/nn/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "expect_message.hpp"
#include "math/portable_exp.hpp"
#include "qeff/core/error.hpp"

namespace qeff::test {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Chi-squared of drawn counts against probabilities; zero probabilities must never be drawn.
double chi_squared(const SamplingOptions& options, const std::vector<float>& logits,
                   const std::vector<double>& expected, int draws = 20000) {
  Sampler sampler(options, logits.size());
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler.choose(logits))];
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double difference = counts[i] - expected[i] * draws;
    sum += difference * difference / (expected[i] * draws);
  }
  return sum;
}

/// softmax(logits / t) over the tokens in `kept`, 0 elsewhere.
std::vector<double> softmax(const std::vector<float>& logits, double t,
                            const std::vector<std::size_t>& kept) {
  std::vector<double> p(logits.size());
  double sum = 0;
  for (const std::size_t i : kept) sum += p[i] = std::exp(static_cast<double>(logits[i]) / t);
  for (double& value : p) value /= sum;
  return p;
}

std::vector<std::size_t> everything(std::size_t n) {
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

const std::vector<float> logits = {0.5f, 2.0f, -1.0f, 1.0f, 1.5f, -3.0f, 0.0f, 1.9f};
// 99.9 % of chi-squared with 7 degrees of freedom is below this.
constexpr double limit = 24.3;

TEST(RandomBits, EqualsThePublishedValuesOfSplitMix64) {
  RandomBits bits(1234567);
  EXPECT_EQ(bits.next(), 6457827717110365317u);
  EXPECT_EQ(bits.next(), 3203168211198807973u);
  EXPECT_EQ(bits.next(), 9817491932198370423u);
}

TEST(PortableExp, EqualsTheCLibraryWithinTwoUlp) {
  for (double x = 0; x > -700; x -= 0.0137) {
    const double wanted = std::exp(x);
    EXPECT_NEAR(portable_exp(x) / wanted, 1, 4.5e-16) << x;
  }
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_exp(-1e300), 0);
  EXPECT_EQ(portable_exp(-std::numeric_limits<double>::infinity()), 0);
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualOnesTheLowestId) {
  Sampler sampler({}, 5);
  EXPECT_EQ(sampler.choose(std::vector<float>{1, 3, 2, 3, -1}), 1);
  EXPECT_EQ(sampler.choose(std::vector<float>{nan, -infinity, -5, nan, -6}), 2);
  EXPECT_EQ(sampler.choose(std::vector<float>{0, 0, 0, 0, 0}), 0);
  EXPECT_EQ(sampler.choose(std::vector<float>{0, 1, infinity, infinity, nan}), 2);
}

TEST(Sampler, TemperatureDrawsFromTheSoftmax) {
  for (const float t : {0.5f, 1.0f, 2.0f}) {
    const auto expected = softmax(logits, static_cast<double>(t), everything(8));
    EXPECT_LT(chi_squared({.temperature = t, .seed = 7}, logits, expected), limit) << t;
  }
}

TEST(Sampler, TopKDrawsFromTheKLargest) {
  EXPECT_LT(chi_squared({.temperature = 1, .top_k = 3}, logits, softmax(logits, 1, {1, 7, 4})),
            limit);
  EXPECT_LT(
      chi_squared({.temperature = 1, .top_k = 100}, logits, softmax(logits, 1, everything(8))),
      limit);
}

TEST(Sampler, TopKOfEqualLogitsKeepsTheLowestIds) {
  const std::vector<float> equal(6, 1.0f);
  EXPECT_LT(chi_squared({.temperature = 1, .top_k = 2}, equal, softmax(equal, 1, {0, 1})), limit);
}

TEST(Sampler, TopPKeepsTokensUntilTheMassIsReached) {
  const std::vector<float> halves = {std::log(0.15f), std::log(0.5f), std::log(0.05f),
                                     std::log(0.3f)};
  const auto drawn_from = [&](float p, const std::vector<std::size_t>& kept) {
    EXPECT_LT(chi_squared({.temperature = 1, .top_p = p}, halves, softmax(halves, 1, kept)), limit)
        << p;
  };
  drawn_from(0.01f, {1});
  drawn_from(0.49f, {1});
  drawn_from(0.6f, {1, 3});
  drawn_from(0.9f, {1, 3, 0});
  drawn_from(0.97f, {1, 3, 0, 2});
}

TEST(Sampler, TopPWithoutSortingTheHopelessIsTheFullRule) {
  RandomBits bits(3);
  std::vector<float> many(2000);
  for (float& l : many) l = static_cast<float>(bits.uniform() * 12);
  std::vector<std::size_t> order = everything(many.size());
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return many[a] > many[b]; });
  const auto p = softmax(many, 1, order);
  std::size_t kept = 0;
  for (double mass = 0; mass < 0.7; ++kept) mass += p[order[kept]];
  Sampler sampler({.temperature = 1, .top_p = 0.7f}, many.size());
  std::vector<int> counts(many.size());
  for (int i = 0; i < 3000; ++i) ++counts[static_cast<std::size_t>(sampler.choose(many))];
  for (std::size_t i = kept; i < order.size(); ++i) EXPECT_EQ(counts[order[i]], 0);
  EXPECT_GT(counts[order[0]], 0);
}

TEST(Sampler, MinPKeepsWhatIsLikelyEnoughNextToTheLargest) {
  // exp(l - 2) >= 0.3 from l = 0.796 on
  EXPECT_LT(
      chi_squared({.temperature = 1, .min_p = 0.3f}, logits, softmax(logits, 1, {1, 3, 4, 7})),
      limit);
  EXPECT_LT(chi_squared({.temperature = 1, .min_p = 1}, logits, softmax(logits, 1, {1})), limit);
}

TEST(Sampler, FiltersWorkTogetherAfterTheTemperature) {
  const SamplingOptions options{.temperature = 2, .top_k = 5, .top_p = 0.8f, .min_p = 0.7f};
  // At T = 2 the five largest {1, 7, 4, 3, 0} reach 0.8 with four; exp((1 - 2) / 2) = 0.61 < 0.7.
  EXPECT_LT(chi_squared(options, logits, softmax(logits, 2, {1, 7, 4})), limit);
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  Sampler sampler({.repetition_penalty = 2}, 4);
  sampler.see(std::vector<std::int32_t>{0, 0, 3});
  EXPECT_EQ(sampler.choose(std::vector<float>{4, 1.9f, 1.8f, 2}), 0);  // 2, 1.9, 1.8, 1
  EXPECT_EQ(sampler.choose(std::vector<float>{3.7f, 1.9f, 1.8f, 2}), 1);
  EXPECT_EQ(sampler.choose(std::vector<float>{-1, -1.8f, -1.9f, -1}), 2);  // 1 has been chosen
}

TEST(Sampler, PresenceAndFrequencyPenaltiesCountTheTextAndNotThePrompt) {
  Sampler presence({.presence_penalty = 1}, 3);
  presence.see(std::vector<std::int32_t>{0});
  const std::vector<float> l = {1.5f, 1, 0};
  EXPECT_EQ(presence.choose(l), 0);
  EXPECT_EQ(presence.choose(l), 1);  // 0.5, 1, 0
  EXPECT_EQ(presence.choose(l), 0);  // 0.5, 0, 0
  EXPECT_EQ(presence.choose(l), 0);  // once or twice is the same
  Sampler frequency({.frequency_penalty = 1}, 3);
  std::vector<std::int32_t> text;
  for (int i = 0; i < 4; ++i) text.push_back(frequency.choose(l));
  EXPECT_EQ(text[0], 0);
  EXPECT_EQ(text[1], 1);
  EXPECT_EQ(text[2], 0);
  EXPECT_EQ(text[3], 1);  // -0.5, 0, 0: the lower of two equal ones
}

TEST(Sampler, RestartForgetsTheTextAndRepeatsTheNumbers) {
  Sampler sampler({.temperature = 1, .repetition_penalty = 3, .seed = 5}, 8);
  const auto text = [&] {
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.choose(logits));
    return ids;
  };
  const auto first = text();
  sampler.restart(5);
  EXPECT_EQ(text(), first);
  sampler.restart(6);
  EXPECT_NE(text(), first);
}

TEST(Sampler, DrawsTheSameTokensOnEveryPlatform) {
  Sampler sampler({.temperature = 0.8f, .top_p = 0.95f, .seed = 42}, 8);
  std::vector<std::int32_t> text;
  for (int i = 0; i < 16; ++i) text.push_back(sampler.choose(logits));
  EXPECT_EQ(text, (std::vector<std::int32_t>{4, 1, 1, 1, 1, 3, 1, 4, 1, 7, 1, 7, 7, 7, 4, 1}));
}

TEST(Sampler, TinyTemperaturesAndHugeLogitsStayDefined) {
  Sampler cold({.temperature = 1e-45f}, 3);
  EXPECT_EQ(cold.choose(std::vector<float>{1, 2, 1.9999f}), 1);
  Sampler warm({.temperature = 1e30f}, 3);
  EXPECT_GE(warm.choose(std::vector<float>{-3e38f, 3e38f, nan}), 0);
  Sampler infinite({.temperature = 1}, 3);
  EXPECT_EQ(infinite.choose(std::vector<float>{1, infinity, -infinity}), 1);
}

TEST(Sampler, RefusesLogitsWithoutANumber) {
  for (const float t : {0.0f, 1.0f}) {
    Sampler sampler({.temperature = t}, 3);
    expect_message<InvalidArgument>(
        [&] {
          (void)sampler.choose(std::vector<float>{nan, nan, -infinity});
        },
        {"none of 3"});
    expect_message<InvalidArgument>(
        [&] {
          (void)sampler.choose(std::vector<float>{1, 2});
        },
        {"2 numbers", "vocabulary of 3"});
  }
}

TEST(Sampler, NamesTheOptionThatMakesNoSense) {
  const auto refused = [](const SamplingOptions& options, std::string_view field) {
    expect_message<InvalidArgument>([&] { validate(options); }, {field});
  };
  for (const float bad : {-0.1f, nan, infinity}) refused({.temperature = bad}, "temperature");
  for (const float bad : {0.0f, -1.0f, 1.01f, nan}) refused({.top_p = bad}, "top_p");
  for (const float bad : {-0.1f, 1.5f, nan}) refused({.min_p = bad}, "min_p");
  for (const float bad : {0.0f, -1.0f, nan, infinity})
    refused({.repetition_penalty = bad}, "repetition_penalty");
  refused({.presence_penalty = nan}, "presence_penalty");
  refused({.frequency_penalty = infinity}, "frequency_penalty");
  expect_message<InvalidArgument>([] { validate({.top_p = 1.5f}); }, {"1.5"});
  expect_message<InvalidArgument>([] { Sampler({}, 0); }, {"vocabulary"});
}

TEST(LogProbability, IsTheLogSoftmax) {
  const auto p = softmax(logits, 1, everything(8));
  double sum = 0;
  for (std::int32_t id = 0; id < 8; ++id) {
    EXPECT_NEAR(log_probability(logits, id), std::log(p[static_cast<std::size_t>(id)]), 1e-14);
    sum += std::exp(log_probability(logits, id));
  }
  EXPECT_NEAR(sum, 1, 1e-14);
  EXPECT_THROW((void)log_probability(logits, 8), InvalidArgument);
  EXPECT_THROW((void)log_probability(logits, -1), InvalidArgument);
  const std::vector<float> gaps = {1, nan, -infinity, 1};
  EXPECT_NEAR(log_probability(gaps, 0), -std::log(2.0), 1e-15);
  EXPECT_EQ(log_probability(gaps, 1), -std::numeric_limits<double>::infinity());
}

TEST(LogProbability, TheMostLikelyTokensAreSortedWithTheLowestIdFirst) {
  std::vector<TokenLogProb> top(4);
  top_log_probabilities(std::vector<float>{0, 2, 1, 2, -infinity, 1, 1}, top);
  const std::vector<std::int32_t> expected = {1, 3, 2, 5};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(top[i].id, expected[i]);
  EXPECT_FLOAT_EQ(top[0].logprob - top[2].logprob, 1);
  top_log_probabilities(std::vector<float>{1}, std::span(top).first(0));
  EXPECT_THROW(top_log_probabilities(std::vector<float>{1}, top), InvalidArgument);
}

TEST(SeedOf, GivesTheFirstTextTheSeedAndOthersTheirOwn) {
  EXPECT_EQ(seed_of(9, 0), 9u);
  EXPECT_NE(seed_of(9, 1), seed_of(9, 2));
  EXPECT_NE(seed_of(9, 1), seed_of(10, 1));
}

}  // namespace
}  // namespace qeff::test
