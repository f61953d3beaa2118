#include "qeff/nn/perplexity.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "expect_message.hpp"
#include "scripted_model.hpp"

namespace qeff::test {
namespace {

constexpr std::size_t vocab = 31;

Tokens text_of(std::size_t count) {
  RandomBits bits(8);
  Tokens ids;
  for (std::size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(bits.next() % vocab));
  return ids;
}

/// By definition: softmax of the logits after ids[begin, place] for each place of each context.
double loss_by_definition(const Tokens& ids, std::size_t ctx) {
  double sum = 0, n = 0;
  std::vector<float> logits(vocab);
  for (std::size_t begin = 0; begin + ctx <= ids.size(); begin += ctx)
    for (std::size_t place = 0; place + 1 < ctx; ++place, ++n) {
      ScriptedModel::hashed(std::span(ids).subspan(begin, place + 1), logits);
      double total = 0;
      for (const float l : logits) total += std::exp(static_cast<double>(l));
      const auto next = static_cast<std::size_t>(ids[begin + place + 1]);
      sum += std::log(total) - static_cast<double>(logits[next]);
    }
  return sum / n;
}

TEST(Perplexity, IsTheMeanOfItsDefinitionHoweverItIsRun) {
  const Tokens ids = text_of(103);
  Executor executor(2);
  for (const std::size_t ctx : {2u, 10u, 16u})
    for (const std::size_t sequences : {1u, 4u, 60u})
      for (const std::size_t run_tokens : {1u, 7u, 512u}) {
        ScriptedModel model(sequences, 32, vocab);
        const auto result =
            perplexity(model, ids, {.ctx = ctx, .run_tokens = run_tokens}, executor);
        EXPECT_NEAR(result.mean_loss, loss_by_definition(ids, ctx), 1e-12);
        EXPECT_EQ(result.contexts, 103 / ctx);
        EXPECT_EQ(result.predictions, 103 / ctx * (ctx - 1));
        EXPECT_DOUBLE_EQ(result.perplexity(), std::exp(result.mean_loss));
        for (const auto& run : model.runs) EXPECT_LE(run.tokens, run_tokens);
        EXPECT_EQ(model.length(0), 0u);
      }
}

TEST(Perplexity, OfEqualLogitsIsTheVocabulary) {
  ScriptedModel model(3, 32, vocab, [](auto, auto l) { std::fill(l.begin(), l.end(), 2.0f); });
  Executor executor(1);
  const auto result = perplexity(model, text_of(64), {.ctx = 16}, executor);
  EXPECT_NEAR(result.perplexity(), 31, 1e-10);
  EXPECT_NEAR(result.standard_error, 0, 1e-12);
}

TEST(Perplexity, AShortTextIsOneContextAndProgressIsTold) {
  ScriptedModel model(2, 32, vocab);
  Executor executor(1);
  PerplexityOptions options{.ctx = 512, .run_tokens = 5};
  std::size_t last = 0, all = 0;
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  };
  EXPECT_EQ(perplexity(model, text_of(13), options, executor).contexts, 1u);
  EXPECT_EQ(last, 13u);
  EXPECT_EQ(all, 13u);
}

TEST(KlDivergence, OfAModelFromItselfIsZero) {
  ScriptedModel model(2, 32, vocab), same(3, 40, vocab);
  Executor executor(2);
  const auto result = kl_divergence(model, same, text_of(64), {.ctx = 16}, executor);
  EXPECT_NEAR(result.mean_kl, 0, 1e-12);
  EXPECT_EQ(result.same_top_share, 1);
  EXPECT_EQ(result.model.mean_loss, result.reference.mean_loss);
}

TEST(KlDivergence, EqualsItsDefinition) {
  const auto fixed = [](std::vector<float> logits) {
    return [=](auto, auto l) { std::copy(logits.begin(), logits.end(), l.begin()); };
  };
  ScriptedModel model(1, 8, 3, fixed({0, 1, 2})), reference(1, 8, 3, fixed({1, 0, -30}));
  Executor executor(1);
  const auto result = kl_divergence(model, reference, Tokens{0, 1, 2, 0}, {.ctx = 4}, executor);
  const double q_sum = std::log(1 + std::exp(1) + std::exp(2));
  const double p_sum = std::log(std::exp(1) + 1 + std::exp(-30));
  double kl = 0;
  for (const auto& [p, q] : {std::pair{1.0, 0.0}, {0.0, 1.0}, {-30.0, 2.0}})
    kl += std::exp(p - p_sum) * (p - p_sum - (q - q_sum));
  EXPECT_NEAR(result.mean_kl, kl, 1e-12);
  EXPECT_NEAR(result.max_kl, kl, 1e-12);
  EXPECT_EQ(result.same_top_share, 0);
}

TEST(Perplexity, NamesWhatCannotBeMeasured) {
  ScriptedModel model(1, 16, vocab), other(1, 16, 7);
  Executor executor(1);
  const auto refused = [&](const Tokens& ids, const PerplexityOptions& options,
                           std::initializer_list<std::string_view> parts) {
    expect_message<InvalidArgument>([&] { (void)perplexity(model, ids, options, executor); },
                                    parts);
  };
  refused({1}, {}, {"at least 2 tokens", "1"});
  refused({1, 2}, {.ctx = 1}, {"ctx", "1"});
  refused(text_of(40), {.ctx = 20}, {"ctx = 20", "16"});
  refused({1, 31}, {}, {"id 31", "position 1"});
  expect_message<InvalidArgument>(
      [&] { (void)kl_divergence(model, other, text_of(4), {}, executor); }, {"31", "7"});
}

}  // namespace
}  // namespace qeff::test
