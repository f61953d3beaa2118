// The token loop allocates nothing.
#include <gtest/gtest.h>

#include <vector>

#include "counted_new.hpp"
#include "nn/scripted_model.hpp"

namespace qeff::test {
namespace {

/// Allocations between the second token of the first text and its last one.
std::size_t allocations_while_writing(const GenerationOptions& options) {
  ScriptedModel model(4, 128, 97);
  const std::vector<Tokens> prompts = {{1, 2, 3}, {4}, {5, 6, 5, 6}, {7, 7, 7, 7, 7, 7, 7, 7}};
  std::size_t from = 0, until = 0;
  (void)Generator(model).generate(prompts, options, [&](const TokenEvent& event) {
    if (event.prompt == 0 && event.index == 1) from = allocations();
    if (event.prompt == 0) until = allocations();
    return true;
  });
  EXPECT_GT(from, 0u);
  return until - from;
}

TEST(Allocations, AreCounted) {
  const std::size_t before = allocations();
  const std::vector<int> some(100);
  EXPECT_EQ(allocations() - before, some.size() / 100);
}

TEST(Allocations, NoneAreMadeWhileTokensAreGenerated) {
  GenerationOptions options{.max_new_tokens = 100};
  EXPECT_EQ(allocations_while_writing(options), 0u) << "greedy";
  options.top_logprobs = 5;
  options.stop = {"nowhere to be found"};
  options.decoder = [] {
    return [](std::int32_t id, std::string& text) { text += static_cast<char>('a' + id % 26); };
  };
  options.prompt_lookup_num_tokens = 4;
  EXPECT_EQ(allocations_while_writing(options), 0u) << "prompt lookup";
  options.prompt_lookup_num_tokens = 0;
  ScriptedModel draft(4, 128, 97);
  options.draft = &draft;
  EXPECT_EQ(allocations_while_writing(options), 0u) << "draft";
  options.draft = nullptr;
  options.sampling = {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f};
  EXPECT_EQ(allocations_while_writing(options), 0u) << "top-p";
  options.sampling.top_k = 40;
  options.sampling.min_p = 0.05f;
  EXPECT_EQ(allocations_while_writing(options), 0u) << "top-k, min-p";
}

}  // namespace
}  // namespace qeff::test
