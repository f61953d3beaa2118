// The promises of io/gguf.hpp. The tokenizer and the names are in gguf_model_test.cpp.
#include "qeff/io/gguf.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::as_bytes;
using testing::expect_error;
using testing::gguf_string;
using testing::GgufBytes;
using testing::raw;
using testing::some_gguf;

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

void expect_refused(const std::string& bytes, const std::vector<std::string>& parts) {
  expect_error<FormatError>([&] { (void)parse_gguf(as_bytes(bytes), "m.gguf"); }, parts);
}

template <class T>
T value(const GgufTable& table, std::string_view key) {
  return std::get<T>(table.metadata.at(key));
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  GgufBytes file = some_gguf();
  file.value("u8", GgufType::u8, "\xFF").value("i8", GgufType::i8, "\xFF");
  file.value("i64", GgufType::i64, raw<std::int64_t>(-5));
  file.value("u64", GgufType::u64, raw(kHuge)).value("f64", GgufType::f64, raw(0.25));
  const std::string bytes = file.bytes();
  const GgufTable table = parse_gguf(as_bytes(bytes), "m.gguf");
  EXPECT_EQ(table.version, 3u);
  EXPECT_EQ(value<std::string_view>(table, "general.architecture"), "llama");
  EXPECT_EQ(value<std::uint64_t>(table, "llama.block_count"), 1u);
  EXPECT_EQ(value<std::uint64_t>(table, "u8"), 255u);
  EXPECT_EQ(value<std::int64_t>(table, "i8"), -1);
  EXPECT_EQ(value<std::int64_t>(table, "i64"), -5);
  EXPECT_EQ(value<std::uint64_t>(table, "u64"), kHuge);
  EXPECT_EQ(value<double>(table, "f"), 0.5);
  EXPECT_EQ(value<double>(table, "f64"), 0.25);
  EXPECT_TRUE(value<bool>(table, "on"));
  EXPECT_EQ(value<std::vector<std::string_view>>(table, "words"),
            (std::vector<std::string_view>{"a", "", "bc"}));
  const auto list = value<GgufNumbers>(table, "list");
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[1], -2.0);
}

TEST(Gguf, TensorsAreViewsWithTheSlowestDimensionFirst) {
  const std::string bytes = some_gguf().bytes();
  const GgufTable table = parse_gguf(as_bytes(bytes), "m.gguf");
  ASSERT_EQ(table.tensors.size(), 2u);
  EXPECT_EQ(table.tensors[0].shape, (std::vector<std::size_t>{3, 2}));
  EXPECT_EQ(table.tensors[0].elements(), 6u);
  float last = 0;
  std::memcpy(&last, table.tensors[0].data.data() + 20, sizeof last);
  EXPECT_EQ(last, 6.0f);
  EXPECT_EQ(table.tensors[1].type, GgmlType::q8_0);
  EXPECT_EQ(table.tensors[1].data.size(), 68u);
  EXPECT_EQ(table.tensors[1].elements(), 64u);
}

TEST(Gguf, VersionTwoAndAnotherAlignmentAreRead) {
  GgufBytes file;
  file.version = 2;
  file.alignment = 4;
  file.size("general.alignment", 4);
  file.tensor("a", {1}, GgmlType::f32, raw(1.0f)).tensor("b", {1}, GgmlType::f32, raw(2.0f));
  const std::string bytes = file.bytes();
  const GgufTable table = parse_gguf(as_bytes(bytes), "m.gguf");
  EXPECT_EQ(table.tensors[1].data.data(), as_bytes(bytes).data() + bytes.size() - 4);
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::string bytes = some_gguf().bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW((void)parse_gguf(as_bytes(bytes).first(size), "m.gguf"), FormatError) << size;
}

TEST(Gguf, NoFlippedByteLeavesTheFile) {
  const std::string good = some_gguf().bytes();
  std::size_t accepted = 0;
  for (std::size_t at = 0; at < good.size(); ++at)
    for (const char flip : {'\x01', '\x80', '\xFF'}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      try {
        const GgufTable table = parse_gguf(as_bytes(bytes), "m.gguf");
        for (const GgufTensor& tensor : table.tensors) {
          ASSERT_GE(tensor.data.data(), as_bytes(bytes).data());
          ASSERT_LE(tensor.data.data() + tensor.data.size(), as_bytes(bytes).data() + bytes.size());
        }
        ++accepted;
      } catch (const Error&) {
        continue;
      }
    }
  EXPECT_GT(accepted, 0u);
}

TEST(Gguf, CountsAndLengthsAreHeldAgainstTheFile) {
  GgufBytes file = some_gguf();
  file.more_keys = kHuge / 2;
  expect_refused(file.bytes(), {"m.gguf", "number of keys", "at byte 16"});
  file = some_gguf();
  file.more_tensors = kHuge / 3;
  expect_refused(file.bytes(), {"number of tensors"});
  for (const std::uint64_t length : {kHuge, kHuge / 8 + 2, std::uint64_t{1} << 40}) {
    expect_refused(GgufBytes().value("k", GgufType::string, raw(length) + "x").bytes(),
                   {"key 'k'", "takes " + std::to_string(length) + " bytes", "at byte"});
    for (const GgufType type : {GgufType::u8, GgufType::f64, GgufType::string})
      expect_refused(GgufBytes().value("k", GgufType::array, raw(type) + raw(length)).bytes(),
                     {"length of key 'k'", "more than"});
  }
}

TEST(Gguf, KeysAreUniqueAndOfKnownTypes) {
  expect_refused(GgufBytes().size("k", 1).size("k", 1).bytes(), {"duplicate key 'k'", "at byte"});
  expect_refused(GgufBytes().size("", 1).bytes(), {"name of a key", "0 bytes"});
  expect_refused(GgufBytes().size(std::string_view("a\0b", 3), 1).bytes(), {"NUL"});
  expect_refused(GgufBytes().value("k", static_cast<GgufType>(13), "12345678").bytes(),
                 {"key 'k'", "unknown value type 13"});
  expect_refused(GgufBytes().value("k", GgufType::boolean, "\2").bytes(), {"neither 0 nor 1"});
  const std::string nested = raw(GgufType::array) + raw<std::uint64_t>(1) + raw(GgufType::u8) +
                             raw<std::uint64_t>(1) + "x";
  expect_refused(GgufBytes().value("k", GgufType::array, nested).bytes(), {"array of arrays"});
}

TEST(Gguf, AlignmentIsASmallPowerOfTwo) {
  for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 21, 0xFFFFFFFFu})
    expect_refused(GgufBytes().size("general.alignment", alignment).bytes(),
                   {"general.alignment", "power of two"});
  expect_refused(GgufBytes().number("general.alignment", 32).bytes(), {"power of two"});
}

TEST(Gguf, TensorsHaveNamesAndShapesWithinBounds) {
  const auto entry = [](std::string_view name, const std::vector<std::uint64_t>& sizes,
                        std::uint32_t type = 0, std::uint64_t offset = 0) {
    return GgufBytes().entry(name, sizes, type, offset).bytes() + std::string(4096, 'x');
  };
  expect_refused(entry("a", std::vector<std::uint64_t>(9, 1)), {"tensor 'a'", "9 dimensions"});
  expect_refused(entry("a", {}), {"0 dimensions"});
  expect_refused(entry("a", {4, 0}), {"a dimension of 0"});
  expect_refused(entry("a", {kHuge}), {"a dimension of"});
  const std::uint64_t large = std::uint64_t{1} << 40;
  expect_refused(entry("a", {large, large, large, large}), {"tensor 'a'", "overflows"});
  expect_refused(entry("a", {33}, 8), {"rows of 33 are not whole blocks of Q8_0"});
  expect_refused(entry("", {1}), {"name of a tensor"});
  expect_refused(entry(std::string(1025, 'n'), {1}), {"1025 bytes"});
  expect_refused(entry("a", {1}, 99), {"unknown type 99"});
  expect_refused(entry("a", {1}, 4), {"unknown type 4"});  // was removed from the format
  expect_refused(entry("a", {1}, 0, 8), {"not a multiple of 32"});
  expect_refused(entry("a", {1}, 0, 8192), {"takes 4 bytes at 8192", "truncated?"});
  expect_refused(entry("a", {1}, 0, kHuge - 31), {"truncated?"});
}

TEST(Gguf, TensorsShareNeitherNamesNorBytes) {
  const std::string data(4096, 'x');
  expect_refused(GgufBytes().entry("a", {8}, 0, 0).entry("a", {8}, 0, 32).bytes() + data,
                 {"duplicate tensor 'a'", "at byte"});
  expect_refused(GgufBytes().entry("a", {16}, 0, 0).entry("b", {8}, 0, 32).bytes() + data,
                 {"tensor 'b' overlaps", "at byte"});
  expect_refused(GgufBytes().entry("a", {8}, 0, 0).entry("b", {8}, 0, 0).bytes() + data,
                 {"overlaps"});
}

TEST(Gguf, WhatQeffCannotReadIsNamed) {
  const auto refuse = [](const std::string& bytes, const std::vector<std::string>& parts) {
    expect_error<Unsupported>([&] { (void)parse_gguf(as_bytes(bytes), "m.gguf"); }, parts);
  };
  refuse(GgufBytes().entry("a", {256}, 12, 0).bytes(), {"m.gguf", "tensor 'a' is Q4_K"});
  GgufBytes file;
  file.version = 1;
  refuse(file.bytes(), {"version 1"});
  file.version = 0x03000000;
  refuse(file.bytes(), {"big-endian"});
  file.version = 4;
  expect_refused(file.bytes(), {"version 4 is unknown"});
  file.magic = "GGUX";
  expect_refused(file.bytes(), {"does not begin with"});
}

}  // namespace
}  // namespace qeff
