#include "text/split_pattern.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/files.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::expect_error;
using Strings = std::vector<std::string>;

Strings matches(std::string_view pattern, std::string_view text) {
  Strings found;
  for (const TextRange& range : SplitPattern::compile(pattern).find_all(text))
    found.emplace_back(text.substr(range.begin, range.end - range.begin));
  return found;
}

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

TEST(SplitPattern, Gpt2CutsWordsNumbersAndSpaces) {
  EXPECT_EQ(matches(kGpt2, "I'll pay  12€,\n\n ok"),
            (Strings{"I", "'ll", " pay", " ", " 12", "€,", "\n\n", " ok"}));
  EXPECT_EQ(matches(kGpt2, "x   "), (Strings{"x", "   "}));
  EXPECT_EQ(matches(kGpt2, ""), Strings{});
}

TEST(SplitPattern, TheFirstAlternativeWinsAndQuantifiersAreGreedy) {
  EXPECT_EQ(matches("a|ab", "ab"), (Strings{"a"}));
  EXPECT_EQ(matches("a{2,3}", "aaaaaaa"), (Strings{"aaa", "aaa"}));
  EXPECT_EQ(matches("a+ab", "aaab"), (Strings{"aaab"}));
  EXPECT_EQ(matches("(?:ab?)+", "aabab b"), (Strings{"aabab"}));
}

TEST(SplitPattern, PossessiveRepetitionsGiveNothingBack) {
  EXPECT_EQ(matches("a++ab", "aaab"), Strings{});
  EXPECT_EQ(matches("a?+ab|b", "ab"), (Strings{"b"}));
}

TEST(SplitPattern, CaseIsIgnoredWhereAsked) {
  EXPECT_EQ(matches("(?i:'s|k)s", "'Ss Ks \u212As 's ks"), (Strings{"'Ss", "Ks", "\u212As", "ks"}));
  EXPECT_EQ(matches("(?i:'s)", "'S '\u017F 's"), (Strings{"'S", "'\u017F", "'s"}));
}

TEST(SplitPattern, EmptyMatchesDoNotRepeatBehindAMatch) {
  EXPECT_EQ(matches("a*", "baab"), (Strings{"", "aa", ""}));
  EXPECT_EQ(SplitPattern::literal("aa").find_all("aaaaa").size(), 2u);
}

TEST(SplitPattern, HostileTextCostsLinearTime) {
  const std::string run(1 << 18, 'a');
  EXPECT_EQ(matches("a+b", run), Strings{});        // every start would read to the end
  EXPECT_EQ(matches("(?:a|a)+b", run), Strings{});  // exponential without memory
  EXPECT_EQ(matches("a?a?a?a?a?a?a?a?a?a?c", run), Strings{});
  EXPECT_EQ(matches("a+b|a", run).size(), run.size());  // a match after every failure
  EXPECT_EQ(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", std::string(1 << 18, ' ') + "x").size(), 2u);
  EXPECT_EQ(matches(kGpt2, run).size(), 1u);
}

TEST(SplitPattern, LongRunsGiveTheMatchesOfShortOnes) {
  for (const std::size_t size : {3u, 1000u, 5000u, 20000u}) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += "ab";
    EXPECT_EQ(matches("(?:ab)+c|(?:ab)+", text), Strings{text});
    EXPECT_EQ(matches("[ab]+c|[ab]+", text + " " + text), (Strings{text, text}));
  }
}

TEST(SplitPattern, WhatIsNotSupportedIsNamedWithItsPosition) {
  const auto refused = [](const std::string& pattern, const std::string& position,
                          const std::string& why) {
    expect_error<Unsupported>([&] { (void)SplitPattern::compile(pattern); },
                              {"'" + pattern + "'", position, why});
  };
  refused("ab(?<=c)", "byte 3", "a group of this kind");
  refused("a+?", "byte 2", "reluctant");
  refused(R"(\p{Han})", "byte 2", "no general category");
  refused("[a&&b]", "byte 2", "intersection");
  refused(R"(a\b)", "byte 2", R"(the escape \b)");
  refused("a$", "byte 1", "'$' here");
  refused("(a", "byte 2", "'(' without ')'");
  refused("a)", "byte 1", "')' without '('");
  refused("[a", "byte 2", "'[' without ']'");
  refused("a{2000}", "byte 7", "more than 1000");
  refused("(?i:ss)", "byte 6", "ligature");
  refused("(?:a*)*", "byte 0", "may be empty");
  refused("(?=a+)b", "byte 0", "a lookahead of this size");
  refused("(?:(?:(?:a{1000}){1000}){1000})", "byte 0", "instructions");
  refused("", "byte 0", "nothing to match");
  refused(std::string(40, '(') + "a" + std::string(40, ')'), "byte", "nested deeper");
}

}  // namespace
}  // namespace qeff
