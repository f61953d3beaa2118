#include "qeff/nn/generate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "expect_message.hpp"
#include "nn/prompt_lookup.hpp"
#include "scripted_model.hpp"

namespace qeff::test {
namespace {

constexpr std::size_t vocab = 97;
using Prompts = std::vector<Tokens>;

Tokens tokens_of(std::uint64_t seed, std::size_t count) {
  RandomBits bits(seed);
  Tokens ids;
  for (std::size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(bits.next() % vocab));
  return ids;
}

/// Prompts of 1 to 40 tokens.
Prompts many_prompts(std::size_t count) {
  Prompts prompts;
  for (std::size_t p = 0; p < count; ++p) prompts.push_back(tokens_of(p + 1, 1 + (p * 13) % 40));
  return prompts;
}

GenerationResult run(ScriptedModel& model, const Prompts& prompts, const GenerationOptions& options,
                     const TokenCallback& on_token = {}) {
  return Generator(model).generate(prompts, options, on_token);
}

/// The next token repeats the text with a period, except every `broken`-th, which is random.
ScriptedModel::Rule periodic(std::size_t period, std::size_t broken) {
  return [=](std::span<const std::int32_t> tokens, std::span<float> logits) {
    ScriptedModel::hashed(tokens, logits);
    if (tokens.size() < period || tokens.size() % broken == 0) return;
    logits[static_cast<std::size_t>(tokens[tokens.size() - period])] = 30;
  };
}

TEST(Generate, EachPromptGetsTheTextItGetsAlone) {
  const Prompts prompts = many_prompts(11);
  for (const std::size_t sequences : {1u, 3u, 20u})
    for (const std::size_t chunk : {1u, 7u, 512u})
      for (const float temperature : {0.0f, 1.0f}) {
        ScriptedModel model(sequences, 128, vocab);
        GenerationOptions options{.max_new_tokens = 17, .prefill_chunk = chunk};
        options.sampling = {.temperature = temperature, .repetition_penalty = 1.2f, .seed = 3};
        const auto result = run(model, prompts, options);
        ASSERT_EQ(result.texts.size(), prompts.size());
        for (std::size_t p = 0; p < prompts.size(); ++p) {
          EXPECT_EQ(result.texts[p].prompt, p);
          EXPECT_EQ(result.texts[p].ids, reference_text(prompts[p], vocab, 17, options.sampling, 3))
              << "prompt " << p;
          EXPECT_EQ(result.texts[p].reason, FinishReason::length);
        }
      }
}

TEST(Generate, ReadsPromptsInChunksBesideTextsBeingWritten) {
  ScriptedModel model(3, 128, vocab);
  const Prompts prompts = {tokens_of(1, 5), tokens_of(2, 60), tokens_of(3, 60)};
  const auto result = run(model, prompts, {.max_new_tokens = 30, .prefill_chunk = 10});
  bool mixed = false;
  for (const auto& r : model.runs) {
    EXPECT_LE(r.largest_chunk, 10u);
    EXPECT_LE(r.tokens, 10u + 2);
    mixed |= r.chunks > 1 && r.largest_chunk > 1;
  }
  EXPECT_TRUE(mixed);
  EXPECT_EQ(result.stats.prompt_tokens, 125u);
  EXPECT_EQ(result.stats.generated_tokens, 90u);
  EXPECT_EQ(result.stats.runs, model.runs.size());
}

TEST(Generate, AFinishedTextMakesRoomForTheNextPromptAtOnce) {
  ScriptedModel model(2, 64, vocab);
  const auto result = run(model, many_prompts(10), {.max_new_tokens = 8});
  // Ten texts of eight tokens through two sequences: with nobody idle 40 runs.
  EXPECT_LE(model.runs.size(), 41u);
  for (const auto& text : result.texts) EXPECT_EQ(text.ids.size(), 8u);
}

TEST(Generate, EndsWithAnEosIdAndKeepsIt) {
  ScriptedModel model(1, 128, vocab);
  const Prompts prompts = {tokens_of(1, 9)};
  const Tokens text = reference_text(prompts[0], vocab, 20, {}, 0);
  const auto first = std::find(text.begin(), text.end(), text[6]);
  const auto result = run(model, prompts, {.max_new_tokens = 20, .eos_ids = {500, text[6]}});
  EXPECT_EQ(result.texts[0].ids, Tokens(text.begin(), first + 1));
  EXPECT_EQ(result.texts[0].reason, FinishReason::eos);
}

TEST(Generate, EndsWhereTheContextIsFull) {
  ScriptedModel model(1, 20, vocab);
  const Prompts prompts = {tokens_of(1, 15), tokens_of(2, 20)};
  const auto result = run(model, prompts, {.max_new_tokens = 50});
  // The newest token needs no place: ctx_len - prompt + 1.
  for (std::size_t p = 0; p < 2; ++p) {
    EXPECT_EQ(result.texts[p].ids, reference_text(prompts[p], vocab, p == 0 ? 6 : 1, {}, 0));
    EXPECT_EQ(result.texts[p].reason, FinishReason::context);
  }
}

/// Token i is "<i>"; like a real decoder it can keep bytes back, here those of odd ids.
PieceDecoder bracket_decoder() {
  return [kept = std::string()](std::int32_t id, std::string& text) mutable {
    kept += "<" + std::to_string(id) + ">";
    if (id % 2 != 0) return;
    text += kept;
    kept.clear();
  };
}

TEST(Generate, FindsStopStringsAcrossTokens) {
  const Prompts prompts = {tokens_of(1, 9)};
  const Tokens text = reference_text(prompts[0], vocab, 30, {}, 0);
  std::size_t even = 4;  // an end the decoder does not keep back
  while (text[even] % 2 != 0) ++even;
  const std::string stop = std::to_string(text[even - 1]) + "><" + std::to_string(text[even]);
  ScriptedModel model(1, 128, vocab);
  GenerationOptions options{.max_new_tokens = 30, .stop = {"nowhere", stop}};
  options.decoder = bracket_decoder;
  std::string pieces;
  const auto result = run(model, prompts, options, [&](const TokenEvent& event) {
    pieces += event.piece;
    return true;
  });
  EXPECT_EQ(result.texts[0].ids, Tokens(text.begin(), text.begin() + static_cast<int>(even) + 1));
  EXPECT_EQ(result.texts[0].reason, FinishReason::stop);
  EXPECT_TRUE(pieces.ends_with(stop + ">")) << pieces;
}

TEST(Generate, AStopStringOfOneTextDoesNotReachIntoTheNext) {
  // One sequence, two texts: the end of the first and the start of the second make the stop string.
  ScriptedModel model(1, 64, vocab, [](auto tokens, auto logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits[static_cast<std::size_t>(tokens[0])] = 1;
  });
  GenerationOptions options{.max_new_tokens = 3, .stop = {"<2><4>"}};
  options.decoder = bracket_decoder;
  const auto result = run(model, {{2}, {4}}, options);
  EXPECT_EQ(result.texts[1].reason, FinishReason::length);
}

TEST(Generate, TellsEveryTokenInOrder) {
  ScriptedModel model(2, 64, vocab);
  const Prompts prompts = many_prompts(5);
  std::vector<Tokens> told(5);
  const auto result = run(model, prompts, {.max_new_tokens = 6}, [&](const TokenEvent& event) {
    EXPECT_EQ(event.index, told[event.prompt].size());
    told[event.prompt].push_back(event.id);
    return true;
  });
  for (std::size_t p = 0; p < 5; ++p) EXPECT_EQ(told[p], result.texts[p].ids);
}

TEST(Generate, TheCallbackEndsItsOwnTextOnly) {
  ScriptedModel model(2, 64, vocab);
  const auto result = run(model, many_prompts(3), {.max_new_tokens = 10},
                          [](const TokenEvent& e) { return e.prompt != 1 || e.index < 3; });
  EXPECT_EQ(result.texts[0].ids.size(), 10u);
  EXPECT_EQ(result.texts[1].ids.size(), 4u);
  EXPECT_EQ(result.texts[1].reason, FinishReason::callback);
  EXPECT_EQ(result.texts[2].ids.size(), 10u);
}

TEST(Generate, SeveralTextsOfAPromptReadItOnce) {
  ScriptedModel model(3, 64, vocab);
  const Prompts prompts = {tokens_of(1, 30), tokens_of(2, 20)};
  GenerationOptions options{.max_new_tokens = 9, .num_return_sequences = 5};
  options.sampling = {.temperature = 1, .seed = 11};
  const auto result = run(model, prompts, options);
  ASSERT_EQ(result.texts.size(), 10u);
  for (std::size_t t = 0; t < 10; ++t) {
    const auto& text = result.texts[t];
    EXPECT_EQ(text.prompt, t / 5);
    EXPECT_EQ(text.sample, t % 5);
    EXPECT_EQ(text.ids,
              reference_text(prompts[t / 5], vocab, 9, options.sampling, seed_of(11, text.sample)));
  }
  // Each further text runs the last token of its prompt only.
  EXPECT_EQ(result.stats.prompt_tokens, 50u + 8);
  EXPECT_EQ(result.stats.reused_tokens, 4u * 29 + 4 * 19);
  EXPECT_GT(model.copies, 0u);
}

TEST(Generate, SeedsBelongToPromptsAndNotToPlacesInTheBatch) {
  GenerationOptions options{.max_new_tokens = 12, .seeds = {5, 6}};
  options.sampling.temperature = 1;
  const Prompts prompts = {tokens_of(1, 8), tokens_of(1, 8)};
  ScriptedModel model(2, 64, vocab);
  const auto result = run(model, prompts, options);
  EXPECT_EQ(result.texts[0].ids, reference_text(prompts[0], vocab, 12, options.sampling, 5));
  EXPECT_EQ(result.texts[1].ids, reference_text(prompts[1], vocab, 12, options.sampling, 6));
}

TEST(Generate, LogProbabilitiesAreThoseOfTheModel) {
  ScriptedModel model(2, 64, vocab);
  GenerationOptions options{.max_new_tokens = 5, .top_logprobs = 3};
  options.sampling = {.temperature = 2, .top_k = 20, .presence_penalty = 3};
  const Prompts prompts = many_prompts(3);
  for (const auto& text : run(model, prompts, options).texts) {
    ASSERT_EQ(text.logprobs.size(), 5u);
    ASSERT_EQ(text.top.size(), 15u);
    Tokens all = prompts[text.prompt];
    std::vector<float> logits(vocab);
    for (std::size_t i = 0; i < 5; ++i) {
      ScriptedModel::hashed(all, logits);
      EXPECT_FLOAT_EQ(text.logprobs[i], static_cast<float>(log_probability(logits, text.ids[i])));
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      EXPECT_EQ(text.top[3 * i].id, best);
      EXPECT_GE(text.top[3 * i].logprob, text.top[3 * i + 1].logprob);
      all.push_back(text.ids[i]);
    }
  }
}

TEST(PromptLookup, ProposesWhatFollowedTheLongestAndLatestMatch) {
  const auto proposal = [](Tokens tokens, std::size_t ngram, std::size_t most) {
    const std::size_t before = tokens.size();
    append_proposal(tokens, ngram, most);
    return Tokens(tokens.begin() + static_cast<int>(before), tokens.end());
  };
  EXPECT_EQ(proposal({1, 2, 3, 9, 2, 3, 8, 1, 2, 3}, 3, 2), (Tokens{9, 2}));
  EXPECT_EQ(proposal({1, 2, 3, 9, 2, 3, 8, 1, 2, 3}, 2, 2), (Tokens{8, 1}));
  EXPECT_EQ(proposal({4, 5, 4}, 3, 4), (Tokens{5, 4, 5, 4}));  // goes on over its own end
  EXPECT_EQ(proposal({7, 7}, 3, 3), (Tokens{7, 7, 7}));
  EXPECT_EQ(proposal({1, 2, 3}, 3, 4), Tokens{});
  EXPECT_EQ(proposal({1}, 3, 4), Tokens{});
  EXPECT_EQ(proposal({7, 7}, 3, 0), Tokens{});
}

TEST(PromptLookup, GivesTheSameTokensInFewerRuns) {
  const auto rule = periodic(6, 9);
  const Prompts prompts = {tokens_of(1, 20), tokens_of(2, 13), tokens_of(3, 1)};
  for (const float temperature : {0.0f, 1.0f})
    for (const std::size_t proposals : {1u, 4u, 10u}) {
      GenerationOptions options{.max_new_tokens = 60, .prompt_lookup_num_tokens = proposals};
      options.sampling = {.temperature = temperature, .seed = 2};
      ScriptedModel model(2, 70, vocab, rule);
      const auto result = run(model, prompts, options);
      options.prompt_lookup_num_tokens = 0;
      ScriptedModel plain_model(2, 70, vocab, rule);
      const auto plain = run(plain_model, prompts, options);
      for (std::size_t p = 0; p < 3; ++p) {
        EXPECT_EQ(result.texts[p].ids, plain.texts[p].ids);
        EXPECT_EQ(result.texts[p].reason, plain.texts[p].reason);
      }
      EXPECT_LT(result.stats.runs, plain.stats.runs);
      EXPECT_GT(result.stats.accepted_tokens, 0u);
      EXPECT_LE(result.stats.accepted_tokens, result.stats.proposed_tokens);
      EXPECT_EQ(plain.stats.proposed_tokens, 0u);
    }
}

TEST(Draft, ChangesTheRunsAndNotTheTokens) {
  // The draft agrees with the model except after every seventh token.
  const auto near = [](std::span<const std::int32_t> tokens, std::span<float> logits) {
    ScriptedModel::hashed(tokens, logits);
    if (tokens.back() % 7 == 0) std::ranges::reverse(logits);
  };
  const Prompts prompts = {tokens_of(1, 20), tokens_of(2, 13), tokens_of(3, 1), tokens_of(4, 69)};
  for (const float temperature : {0.0f, 1.0f})
    for (const std::size_t ctx : {30u, 70u}) {
      GenerationOptions options{.max_new_tokens = 60};
      options.sampling = {.temperature = temperature, .seed = 2};
      ScriptedModel plain_model(2, 70, vocab), model(2, 70, vocab), draft(2, ctx, vocab, near);
      const auto plain = run(plain_model, prompts, options);
      options.draft = &draft;
      options.num_assistant_tokens = 4;
      const auto result = run(model, prompts, options);
      for (std::size_t p = 0; p < prompts.size(); ++p) {
        EXPECT_EQ(result.texts[p].ids, plain.texts[p].ids);
        EXPECT_EQ(result.texts[p].reason, plain.texts[p].reason);
      }
      EXPECT_GT(result.stats.proposed_tokens, 0u);
      EXPECT_LE(result.stats.runs, plain.stats.runs);
      EXPECT_EQ(draft.length(0) + draft.length(1), 0u);
    }
}

TEST(Draft, OneThatCannotServeIsRefused) {
  ScriptedModel model(2, 70, vocab), other(2, 70, vocab + 1), narrow(1, 70, vocab);
  const Prompts prompts = {{1}, {2}};
  GenerationOptions options{.max_new_tokens = 2};
  options.draft = &model;
  expect_message<InvalidArgument>([&] { (void)run(model, prompts, options); }, {"the model itself"});
  options.draft = &other;
  expect_message<InvalidArgument>([&] { (void)run(model, prompts, options); }, {"vocabulary of 98"});
  options.draft = &narrow;
  expect_message<InvalidArgument>([&] { (void)run(model, prompts, options); }, {"1 sequences", "2 texts"});
}

TEST(PromptLookup, AnEosInsideAProposalEndsTheText) {
  const auto rule = periodic(5, 1000);
  const Prompts prompts = {{10, 11, 12, 13, 14, 10, 11, 12, 13, 14}};
  GenerationOptions options{.max_new_tokens = 40, .eos_ids = {13}, .prompt_lookup_num_tokens = 10};
  ScriptedModel model(1, 70, vocab, rule);
  const auto result = run(model, prompts, options);
  EXPECT_EQ(result.texts[0].ids, (Tokens{10, 11, 12, 13}));
  EXPECT_EQ(result.texts[0].reason, FinishReason::eos);
}

TEST(Generator, AConversationReadsOnlyWhatIsNew) {
  ScriptedModel model(2, 256, vocab);
  Generator generator(model);
  Tokens conversation = tokens_of(1, 30);
  const GenerationOptions options{.max_new_tokens = 10};
  for (int turn = 0; turn < 4; ++turn) {
    const auto result = generator.generate(std::span(&conversation, 1), options);
    const Tokens& answer = result.texts[0].ids;
    EXPECT_EQ(answer, reference_text(conversation, vocab, 10, {}, 0));
    // All of the last answer but its newest token is held already.
    EXPECT_EQ(result.stats.prompt_tokens, turn == 0 ? 30u : 6u);
    conversation.insert(conversation.end(), answer.begin(), answer.end());
    const Tokens next = tokens_of(100 + static_cast<std::uint64_t>(turn), 5);
    conversation.insert(conversation.end(), next.begin(), next.end());
  }
  generator.reset();
  EXPECT_EQ(model.length(0) + model.length(1), 0u);
  EXPECT_EQ(generator.generate(std::span(&conversation, 1), options).stats.reused_tokens, 0u);
}

TEST(Generator, DoesNotTrustSequencesThatSomebodyElseChanged) {
  ScriptedModel model(1, 64, vocab);
  Generator generator(model);
  const Prompts prompts = {tokens_of(1, 20)};
  (void)generator.generate(prompts, {.max_new_tokens = 4});
  model.truncate(0, 3);
  const auto result = generator.generate(prompts, {.max_new_tokens = 4});
  EXPECT_EQ(result.texts[0].ids, reference_text(prompts[0], vocab, 4, {}, 0));
  EXPECT_EQ(result.stats.reused_tokens, 0u);
}

TEST(Generator, GoesOnAfterACallbackThatThrew) {
  ScriptedModel model(2, 128, vocab, periodic(6, 9));
  Generator generator(model);
  const Prompts prompts = many_prompts(4);
  GenerationOptions options{.max_new_tokens = 40, .prompt_lookup_num_tokens = 5};
  ScriptedModel fresh(2, 128, vocab, periodic(6, 9));
  const auto wanted = run(fresh, prompts, options);
  for (std::size_t at = 0; at < 40; ++at) {
    const auto fails = [&](const TokenEvent& e) {
      if (e.index == at) throw std::runtime_error("enough");
      return true;
    };
    EXPECT_THROW(generator.generate(prompts, options, fails), std::runtime_error);
  }
  const auto result = generator.generate(prompts, options);
  for (std::size_t p = 0; p < 4; ++p) EXPECT_EQ(result.texts[p].ids, wanted.texts[p].ids);
}

TEST(Generator, GoesOnAfterAModelThatThrew) {
  ScriptedModel model(2, 128, vocab);
  Generator generator(model);
  const Prompts prompts = many_prompts(4);
  const GenerationOptions options{.max_new_tokens = 10, .prefill_chunk = 8};
  for (std::size_t more = 0; more < 30; ++more) {
    model.fail_at = model.runs.size() + more % 11;
    EXPECT_THROW(generator.generate(prompts, options), InvalidArgument);
  }
  model.fail_at = SIZE_MAX;
  const auto result = generator.generate(prompts, options);
  for (std::size_t p = 0; p < 4; ++p)
    EXPECT_EQ(result.texts[p].ids, reference_text(prompts[p], vocab, 10, {}, 0));
}

TEST(Generator, RefusesACallInsideACall) {
  ScriptedModel model(1, 64, vocab);
  Generator generator(model);
  const Prompts prompts = {{1}};
  const auto again = [&](const TokenEvent&) {
    expect_message<InvalidArgument>([&] { (void)generator.generate(prompts, {}); }, {"in use"});
    return false;
  };
  EXPECT_EQ(generator.generate(prompts, {}, again).texts[0].ids.size(), 1u);
}

TEST(Generate, NamesThePromptThatCannotBeRun) {
  ScriptedModel model(2, 16, vocab);
  const auto refused = [&](const Prompts& prompts, std::initializer_list<std::string_view> parts) {
    expect_message<InvalidArgument>([&] { (void)run(model, prompts, {}); }, parts);
    EXPECT_TRUE(model.runs.empty());
  };
  refused({{1}, {}}, {"prompt 1", "empty"});
  refused({{1}, {2}, tokens_of(1, 17)}, {"prompt 2", "17 tokens", "ctx_len = 16"});
  refused({{1, 97}}, {"prompt 0", "id 97", "position 1", "vocabulary of 97"});
  refused({{1, 2, -1}}, {"prompt 0", "id -1", "position 2"});
  EXPECT_TRUE(run(model, {}, {}).texts.empty());
}

TEST(Generate, NamesTheOptionThatMakesNoSense) {
  ScriptedModel model(1, 16, vocab);
  const auto refused = [&](GenerationOptions options, std::string_view field) {
    expect_message<InvalidArgument>([&] { (void)run(model, {{1}}, options); }, {field});
  };
  refused({.max_new_tokens = 0}, "max_new_tokens");
  refused({.stop = {"x"}}, "decoder");
  refused({.stop = {""}, .decoder = bracket_decoder}, "stop");
  refused({.sampling = {.temperature = -1}}, "temperature");
  refused({.seeds = {1, 2}}, "seeds: 2 for 1");
  refused({.num_return_sequences = 0}, "num_return_sequences");
  refused({.num_return_sequences = 2}, "temperature");
  refused({.prefill_chunk = 0}, "prefill_chunk");
  refused({.prompt_lookup_num_tokens = 1, .prompt_lookup_ngram = 0}, "prompt_lookup_ngram");
  refused({.top_logprobs = 98}, "top_logprobs");
}

TEST(Generate, LogitsWithoutANumberAreAnError) {
  ScriptedModel model(1, 16, vocab, [](auto, auto logits) {
    std::fill(logits.begin(), logits.end(), std::numeric_limits<float>::quiet_NaN());
  });
  expect_message<InvalidArgument>([&] { (void)run(model, {{1}}, {}); }, {"logits", "97"});
}

}  // namespace
}  // namespace qeff::test
