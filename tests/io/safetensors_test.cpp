#include "qeff/io/safetensors.hpp"

#include <gtest/gtest.h>

#include "io/files.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::as_bytes;
using testing::expect_error;
using testing::safetensors_bytes;
using testing::TemporaryDirectory;

struct BrokenRule {
  const char* name;
  std::string bytes;
  std::string message;
};

void PrintTo(const BrokenRule& rule, std::ostream* out) { *out << rule.name; }

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

std::string two(const std::string& first, const std::string& second) {
  return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
}

std::vector<BrokenRule> broken_rules() {
  const std::string data4(4, 'x'), data8(8, 'x'), data16(16, 'x');
  const auto file = [](const std::string& header, const std::string& data) {
    return safetensors_bytes(header, data);
  };
  return {
      {"Empty", "", "has 0 bytes"},
      {"HeaderSizeCut", "1234567", "has 7 bytes"},
      {"HeaderSizeHuge", std::string(8, '\xFF'),
       "header of 18446744073709551615 bytes, at most 100000000"},
      {"HeaderOutsideFile", std::string("\x10\0\0\0\0\0\0\0{}", 10),
       "header of 16 bytes in a file of 10 bytes"},
      {"NotJson", file("nonsense", ""), "invalid JSON"},
      {"NotUtf8", file("{\"\xFF\":1}", ""), "invalid JSON"},
      {"NulInHeader", file(std::string("{}\0{", 4), ""), "NUL byte in JSON (at byte 10)"},
      {"ByteOrderMark", file("\xEF\xBB\xBF{}", ""), "byte order mark"},
      {"TwoDocuments", file("{}{}", ""), "invalid JSON"},
      {"Array", file("[]", ""), "the header is not a JSON object"},
      {"DeepNesting", file("{\"a\":" + std::string(100000, '['), ""), "nested deeper than 8"},
      {"DuplicateTensor", file(R"({"a":1,"a":2})", ""), "duplicate key \"a\""},
      {"DuplicateField", file(R"({"a":{"dtype":"U8","dtype":"U8"}})", ""),
       "duplicate key \"dtype\""},
      {"TensorNotObject", file(R"({"a":[]})", ""), "tensor 'a' is not a JSON object"},
      {"UnknownField", file(R"({"a":{"type":1}})", ""), "tensor 'a' has the unknown key \"type\""},
      {"NoShape", file(R"({"a":{"dtype":"U8"}})", ""), "tensor 'a' has no \"shape\""},
      {"UnknownDType", file(one("U9", "[4]", "[0,4]"), data4), "tensor 'a': unknown dtype \"U9\""},
      {"DTypeNumber", file(R"({"a":{"dtype":1,"shape":[],"data_offsets":[0,0]}})", ""),
       "dtype is not a string"},
      {"DTypeEmpty", file(one("", "[4]", "[0,4]"), data4), "unknown dtype \"\""},
      {"ShapeNegative", file(one("U8", "[-4]", "[0,4]"), data4), "not a non-negative integer: -4"},
      {"ShapeFraction", file(one("U8", "[4.0]", "[0,4]"), data4),
       "not a non-negative integer: 4.0"},
      {"ShapeMinusZero", file(one("U8", "[-0]", "[0,0]"), ""), "not a non-negative integer"},
      {"ShapeString", file(one("U8", "\"4\"", "[0,4]"), data4), "shape is not an array"},
      {"ShapeTooLarge", file(one("U8", "[18446744073709551616]", "[0,4]"), data4),
       "not a non-negative integer"},
      {"ProductWrapsToZero", file(one("U8", "[4294967296,4294967296]", "[0,0]"), ""),
       "(4294967296, 4294967296) overflows"},
      {"BitsWrap", file(one("F64", "[1152921504606846976]", "[0,0]"), ""), "overflows"},
      {"ZeroHidesOverflow", file(one("U8", "[0,4294967296,4294967296]", "[0,0]"), ""), "overflows"},
      {"HalfByte", file(one("F4", "[3]", "[0,1]"), "x"),
       "its 12 bits are not a whole number of bytes"},
      {"TooFewBytes", file(one("F32", "[2]", "[0,4]"), data4),
       "takes 8 bytes, data_offsets give 4"},
      {"TooManyBytes", file(one("F32", "[1]", "[0,8]"), data8),
       "takes 4 bytes, data_offsets give 8"},
      {"OffsetsReversed", file(one("U8", "[4]", "[4,0]"), data4),
       "data_offsets are reversed: [4, 0]"},
      {"OffsetsNegative", file(one("U8", "[4]", "[-4,0]"), data4),
       "begin of data_offsets is not a non-negative"},
      {"OffsetsTriple", file(one("U8", "[4]", "[0,4,4]"), data4), "data_offsets is not a pair"},
      {"OutsideFile", file(one("U8", "[8]", "[0,8]"), data4),
       "ends at 8 of the data, which has 4 bytes"},
      {"HoleAtStart", file(one("U8", "[4]", "[4,8]"), data8),
       "begins at 4 of the data, expected 0 (hole)"},
      {"Hole", file(two("[0,4]", "[8,12]"), data16),
       "'b' begins at 8 of the data, expected 4 (hole)"},
      {"Overlap", file(two("[0,4]", "[2,6]"), data8),
       "'b' begins at 2 of the data, expected 4 (overlap)"},
      {"Alias", file(two("[0,4]", "[0,4]"), data4), "expected 4 (overlap)"},
      {"TrailingBytes", file(one("U8", "[4]", "[0,4]"), data8),
       "end at 4 of the data, which has 8 bytes"},
      {"DataWithoutTensors", file("{}", data4), "end at 0 of the data, which has 4 bytes"},
      {"MetadataNumber", file(R"({"__metadata__":{"k":1}})", ""),
       "__metadata__ \"k\" is not a string"},
      {"MetadataList", file(R"({"__metadata__":[]})", ""), "__metadata__ is not a JSON object"},
  };
}

class BrokenSafetensors : public ::testing::TestWithParam<BrokenRule> {};

TEST_P(BrokenSafetensors, IsRefusedWithItsReason) {
  expect_error<FormatError>(
      [&] { (void)parse_safetensors(as_bytes(GetParam().bytes), "m.safetensors"); },
      {"m.safetensors: ", GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(Rules, BrokenSafetensors, ::testing::ValuesIn(broken_rules()),
                         [](const auto& rule) { return std::string(rule.param.name); });

TEST(Safetensors, ADTypeWithoutMeaningInQeffIsUnsupported) {
  const std::string bytes = safetensors_bytes(one("C64", "[1]", "[0,8]"), std::string(8, 'x'));
  expect_error<Unsupported>([&] { (void)parse_safetensors(as_bytes(bytes), "m"); },
                            {"tensor 'a'", "C64"});
}

TEST(Safetensors, ScalarsEmptyTensorsMetadataAndPaddingAreLegal) {
  const std::string header =
      R"(  {"__metadata__":{"format":"pt"},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("e":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]}}   )";
  const std::string bytes = safetensors_bytes(header, "abcd");
  const SafetensorsTable table = parse_safetensors(as_bytes(bytes), "m");
  ASSERT_EQ(table.tensors.size(), 2u);
  EXPECT_EQ(table.tensors[0].name, "s");
  EXPECT_EQ(std::memcmp(table.tensors[0].tensor.data, "abcd", 4), 0);
  EXPECT_EQ(table.tensors[1].tensor.shape, (std::vector<std::size_t>{3, 0}));
  EXPECT_EQ(table.metadata, (StringPairs{{"format", "pt"}}));
}

TEST(Safetensors, AFileCutAtAnyByteIsRefused) {
  const std::string whole = safetensors_bytes(two("[0,4]", "[4,8]"), "abcdefgh");
  ASSERT_NO_THROW((void)parse_safetensors(as_bytes(whole), "m"));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW((void)parse_safetensors(as_bytes(whole.substr(0, size)), "m"), FormatError)
        << size;
}

TEST(Safetensors, TheWriterWritesTheseBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "m.safetensors";
  const NamedTensor tensors[] = {{"b", {DType::u8, {2}, as_bytes("xy").data(), 2}},
                                 {"a", {DType::f32, {1, 1}, as_bytes("1234").data(), 4}}};
  write_safetensors(path, tensors, {{"k", "v"}});
  std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(testing::read_bytes(path), safetensors_bytes(header, "1234xy"));
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file->tensors()[1].name, "b");
  EXPECT_EQ(file->offset(file->tensors()[1].tensor), 8 + header.size() + 4);
  EXPECT_EQ(directory.entries(), 1u);
}

TEST(Safetensors, TheWriterRefusesWhatTheReaderWould) {
  const TemporaryDirectory directory;
  const auto write = [&](std::vector<NamedTensor> tensors) {
    write_safetensors(directory / "m", tensors);
  };
  const TensorView byte{DType::u8, {1}, as_bytes("x").data(), 1};
  expect_error<InvalidArgument>(
      [&] {
        write({{"a", byte}, {"a", byte}});
      },
      {"two tensors are named 'a'"});
  expect_error<InvalidArgument>([&] { write({{"__metadata__", byte}}); }, {"__metadata__"});
  expect_error<InvalidArgument>(
      [&] {
        write({{"a", {DType::f32, {1}, byte.data, 1}}});
      },
      {"(1,)", "1 bytes"});
  expect_error<InvalidArgument>([&] { write({{"a", {DType::u4, {2}, byte.data, 1}}}); }, {"uint4"});
  EXPECT_EQ(directory.entries(), 0u);
}

}  // namespace
}  // namespace qeff
