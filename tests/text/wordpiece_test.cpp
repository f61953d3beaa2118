#include "qeff/text/wordpiece.hpp"

#include <gtest/gtest.h>

#include "io/files.hpp"
#include "qeff/core/error.hpp"
#include "text/bert_normalizer.hpp"

namespace qeff {
namespace {

using Ids = std::vector<std::int32_t>;
using testing::expect_error;

// ids:                            0      1      2      3      4      5     6    7     8     9   10
// 11  12  13  14
constexpr const char* kVocab =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nhel\n##lo\n##hel\nworld\n,\n日\ncafe\n[\n]\n";

WordPiece small() { return WordPiece::from_vocab(kVocab); }

std::string normalized(std::string_view text, BertNormalizer normalizer = {}) {
  std::string out;
  normalizer.append(text, out);
  return out;
}

TEST(WordPiece, TakesTheLongestPieceFirst) {
  EXPECT_EQ(small().encode("Hello, world", 64), (Ids{2, 5, 10, 9, 3}));
  EXPECT_EQ(small().encode("hellolo helhel", 64), (Ids{2, 5, 7, 6, 8, 3}));
}

TEST(WordPiece, AWordWithoutPiecesIsUnknownAsAWhole) {
  EXPECT_EQ(small().encode("hellox lo", 64), (Ids{2, 1, 1, 3}));
}

TEST(WordPiece, StripsAccentsAndSeparatesIdeographs) {
  EXPECT_EQ(small().encode("Café日日CAFE\xCC\x81", 64), (Ids{2, 12, 11, 11, 12, 3}));
}

TEST(WordPiece, MatchesSpecialTokensVerbatimBeforeNormalization) {
  EXPECT_EQ(small().encode("hello[MASK]world[mask]", 64), (Ids{2, 5, 4, 9, 13, 1, 14, 3}));
  EXPECT_EQ(small().encode("[SEP][[CLS]", 64), (Ids{2, 3, 13, 2, 3}));
}

TEST(WordPiece, TruncatesTheTextAndKeepsTheTemplate) {
  for (std::size_t max_tokens = 2; max_tokens < 9; ++max_tokens) {
    const Ids ids = small().encode("hello hellolo, world", max_tokens);
    EXPECT_EQ(ids.size(), std::min<std::size_t>(max_tokens, 7));
    EXPECT_EQ(ids.back(), 3);
  }
  expect_error<InvalidArgument>([] { (void)small().encode("x", 1); },
                                {"max_tokens is 1", "takes 2"});
}

TEST(WordPiece, LongTextsGiveTheSameIdsPieceByPiece) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += i % 7 == 0 ? "hello,[MASK] " : "Caf\xC3\xA9 world日 ";
  const Ids whole = small().encode(text, 1 << 20);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), 4), 429);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), 12), 2571);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), 1), 0);
}

TEST(WordPiece, WordsAbove100CharactersAreUnknown) {
  const auto tokenizer =
      WordPiece::from_vocab("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nß\n##ß\n");
  EXPECT_EQ(tokenizer.encode(std::string(100, 'a'), 200).size(), 102u);
  EXPECT_EQ(tokenizer.encode(std::string(101, 'a'), 200), (Ids{2, 1, 3}));
  std::string sharp;
  for (int i = 0; i < 100; ++i) sharp += "ß";
  EXPECT_EQ(tokenizer.encode(sharp, 200).size(), 102u);
  EXPECT_EQ(tokenizer.encode(sharp + "ß", 200), (Ids{2, 1, 3}));
}

TEST(WordPiece, BytesThatAreNotUtf8AreDropped) {
  EXPECT_EQ(small().encode("hel\xFFlo\xE6\x97 \xF0\x9F\x98", 64), (Ids{2, 5, 3}));
  EXPECT_EQ(small().encode(std::string("\0hello\0", 7), 64), (Ids{2, 5, 3}));
}

TEST(WordPiece, KnowsItsIds) {
  const WordPiece tokenizer = small();
  EXPECT_EQ(tokenizer.vocab_size(), 15u);
  EXPECT_EQ(tokenizer.token_to_id("##lo"), 7);
  EXPECT_EQ(tokenizer.token_to_id("##l"), std::nullopt);
  EXPECT_EQ(tokenizer.token_to_id(""), std::nullopt);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.unknown_id(), 1);
  EXPECT_EQ(tokenizer.prefix_ids(), Ids{2});
  EXPECT_EQ(tokenizer.suffix_ids(), Ids{3});
  EXPECT_EQ(tokenizer.max_length(), std::nullopt);
}

TEST(WordPiece, VocabularyFilesMayHaveCarriageReturnsAndNoLastNewline) {
  const auto tokenizer = WordPiece::from_vocab("[UNK]\r\n[CLS]\r\n\r\n[SEP]\r\nhi");
  EXPECT_EQ(tokenizer.encode("hi", 8), (Ids{1, 4, 3}));
}

TEST(WordPiece, RefusesVocabulariesItCannotUse) {
  expect_error<FormatError>([] { (void)WordPiece::from_vocab(""); },
                            {"vocab.txt", "no token '[UNK]'"});
  expect_error<FormatError>([] { (void)WordPiece::from_vocab("[UNK]\n[CLS]\n"); },
                            {"no token '[SEP]'"});
  expect_error<FormatError>([] { (void)WordPiece::from_vocab("[UNK]\n\xFF\n"); },
                            {"is not UTF-8 (at byte 6)"});
}

std::string tokenizer_json(const std::string& from = "", const std::string& to = "") {
  std::string text =
      R"({"truncation":{"direction":"Right","max_length":16,"strategy":"LongestFirst","stride":0},)"
      R"("added_tokens":[{"id":0,"content":"<s>","normalized":false},{"id":4,"content":"NEW","normalized":true}],)"
      R"("normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,)"
      R"("strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},)"
      R"("post_processor":{"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":true},)"
      R"("model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",)"
      R"("max_input_chars_per_word":100,"vocab":{"<s>":0,"</s>":1,"[UNK]":2,"hi":3}}})";
  if (!from.empty()) {
    EXPECT_NE(text.find(from), text.npos) << from;
    text.replace(text.find(from), from.size(), to);
  }
  return text;
}

TEST(TokenizerJson, ReadsMPNetsTemplateAndAddedTokens) {
  const auto tokenizer = WordPiece::from_tokenizer_json(tokenizer_json());
  EXPECT_EQ(tokenizer.encode("hi<s>hi neW hi <S>", 64), (Ids{0, 3, 0, 3, 4, 3, 2, 2, 2, 1}));
  EXPECT_EQ(tokenizer.max_length(), 16u);
  EXPECT_EQ(tokenizer.vocab_size(), 5u);
}

TEST(TokenizerJson, ReadsATemplate) {
  const auto tokenizer = WordPiece::from_tokenizer_json(tokenizer_json(
      R"({"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":true})",
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},)"
      R"({"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],)"
      R"("special_tokens":{"<s>":{"ids":[0]},"</s>":{"ids":[1,1]}}})"));
  EXPECT_EQ(tokenizer.encode("hi", 64), (Ids{0, 3, 1, 1}));
}

TEST(TokenizerJson, WithoutAccentStrippingKeepsAccents) {
  const auto tokenizer = WordPiece::from_tokenizer_json(
      tokenizer_json(R"("strip_accents":null)", R"("strip_accents":false)"));
  EXPECT_EQ(tokenizer.encode("h\xC3\xAD", 64), (Ids{0, 2, 1}));
  EXPECT_EQ(WordPiece::from_tokenizer_json(tokenizer_json()).encode("h\xC3\xAD", 64),
            (Ids{0, 3, 1}));
}

TEST(TokenizerJson, OtherKindsAreUnsupportedAndNamed) {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& name) {
    expect_error<Unsupported>(
        [&] { (void)WordPiece::from_tokenizer_json(tokenizer_json(from, to)); }, {name});
  };
  refused(R"("type":"WordPiece")", R"("type":"BPE")", "model of type BPE");
  refused(R"("type":"BertNormalizer")", R"("type":"NFC")", "normalizer of type NFC");
  refused(R"({"type":"BertPreTokenizer"})", "null", "pre_tokenizer of type none");
  refused(R"("type":"RobertaProcessing")", R"("type":"Unknown")", "post_processor of type Unknown");
  refused(R"("direction":"Right")", R"("direction":"Left")", "from the left");
  refused(R"("content":"<s>",)", R"("content":"<s>","single_word":true,)", "single words only");
}

TEST(TokenizerJson, BrokenDocumentsAreRefused) {
  const auto refused = [](const std::string& from, const std::string& to,
                          const std::string& message) {
    expect_error<FormatError>(
        [&] { (void)WordPiece::from_tokenizer_json(tokenizer_json(from, to)); }, {message});
  };
  refused(R"("hi":3)", R"("hi":-3)", "the id of token 'hi' is not a non-negative integer");
  refused(R"("hi":3)", R"("hi":4294967296)", "4294967296, too large");
  refused(R"("hi":3)", R"("<s>":3)", "duplicate key \"<s>\"");
  refused(R"("unk_token":"[UNK]")", R"("unk_token":"[X]")", "no unk_token '[X]'");
  refused(R"("sep":["</s>",1])", R"("sep":1)", "is not [token, id]");
  refused(R"("truncation":{)", R"("truncation":7,"x":{)", "truncation is not a JSON object");
  refused(R"("lowercase":true)", R"("lowercase":1)", "\"lowercase\" is not true or false");
  for (const char* text : {"", "[]", "1", "null", "{", "{}"})
    EXPECT_THROW((void)WordPiece::from_tokenizer_json(text), Error) << text;
}

TEST(BertNormalizer, EachStepCanBeSwitchedOff) {
  const std::string text = "\tÉ日\x01";
  EXPECT_EQ(normalized(text), " e 日 ");
  EXPECT_EQ(normalized(text, {.strip_accents = false}), " é 日 ");
  EXPECT_EQ(normalized(text, {.lower_case = false}), " E 日 ");
  EXPECT_EQ(normalized(text, {.chinese_spaces = false}), " e日");
  EXPECT_EQ(normalized(text, {.clean_text = false}), "\te 日 \x01");
}

TEST(BertNormalizer, MarksAreOrderedAcrossDroppedCharacters) {
  // U+302E (class 224) before U+1D165 (216): neither is a nonspacing mark, so both are kept.
  EXPECT_EQ(normalized("a\xE3\x80\xAE\x01\xF0\x9D\x85\xA5"), "a\xF0\x9D\x85\xA5\xE3\x80\xAE");
  EXPECT_EQ(normalized("가"), "\xE1\x84\x80\xE1\x85\xA1");
}

TEST(Utf8, InvalidSequencesGiveOneReplacementPerMaximalPart) {
  const auto count = [](std::string_view text) {
    std::vector<char32_t> points;
    for (std::size_t at = 0; at < text.size();) points.push_back(decode_utf8(text, at));
    return points;
  };
  using Points = std::vector<char32_t>;
  EXPECT_EQ(count("\xF0\x9F\x98\x80"), Points{0x1F600});
  EXPECT_EQ(count("\xF0\x9F\x98z"), (Points{0xFFFD, 'z'}));
  EXPECT_EQ(count("\xC0\xAF"), (Points{0xFFFD, 0xFFFD}));
  EXPECT_EQ(count("\xED\xA0\x80"), (Points{0xFFFD, 0xFFFD, 0xFFFD}));
  EXPECT_EQ(count("\xF4\x90\x80\x80"), (Points{0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD}));
  EXPECT_EQ(count("\xE2\x82"), Points{0xFFFD});
}

}  // namespace
}  // namespace qeff
