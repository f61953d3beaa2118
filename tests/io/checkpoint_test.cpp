#include "qeff/io/checkpoint.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <fstream>
#include <limits>
#include <string>

#include "io/files.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::as_bytes;
using testing::expect_error;
using testing::safetensors_bytes;
using testing::TemporaryDirectory;

std::string shard(const std::string& name, const std::string& data) {
  return safetensors_bytes(R"({")" + name + R"(":{"dtype":"U8","shape":[)" +
                               std::to_string(data.size()) + R"(],"data_offsets":[0,)" +
                               std::to_string(data.size()) + "]}}",
                           data);
}

void write_index(const TemporaryDirectory& directory, const std::string& weight_map) {
  directory.file("model.safetensors.index.json",
                 R"({"metadata":{"total_size":4},"weight_map":)" + weight_map + "}");
}

TEST(Checkpoint, ReadsASingleFile) {
  const TemporaryDirectory directory;
  directory.file("config.json", R"({"model_type":"bert"})");
  directory.file("model.safetensors", shard("layer.weight", "abc"));
  directory.file("vocab.txt", "x\n");
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint->config(), R"({"model_type":"bert"})");
  EXPECT_EQ(checkpoint->names(), std::vector<std::string>{"layer.weight"});
  EXPECT_EQ(checkpoint->tensor("layer.weight").data[2], std::byte{'c'});
  EXPECT_EQ(checkpoint->shape("layer.weight"), std::vector<std::size_t>{3});
  expect_error<Unsupported>([&] { (void)checkpoint->floats("layer.weight"); }, {"is uint8"});
  EXPECT_EQ(checkpoint->read_text("vocab.txt"), "x\n");
  EXPECT_EQ(checkpoint->read_text("1_Pooling/config.json"), "");
  EXPECT_EQ(checkpoint->files(), std::vector<std::string>{directory / "model.safetensors"});
  expect_error<FormatError>([&] { (void)checkpoint->tensor("layer.weights"); },
                            {directory.path(), "'layer.weights'", "close: 'layer.weight'"});
  expect_error<FormatError>([&] { (void)checkpoint->read_text("../secret"); }, {"../secret"});
}

/// Of mapped files in memory, in KiB.
long resident_file_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
  return 0;
}

TEST(Checkpoint, KeepsNothingOfWhatItRead) {
  constexpr std::size_t values = std::size_t{4} << 20;
  const TemporaryDirectory directory;
  directory.file("config.json", "{}");
  directory.file("model.safetensors",
                 safetensors_bytes(R"({"w":{"dtype":"F32","shape":[4194304],"data_offsets":[0,16777216]}})",
                                   std::string(values * sizeof(float), '\0')));
  const auto checkpoint = Checkpoint::open(directory.path());
  const long before = resident_file_kib();
  EXPECT_EQ(checkpoint->floats("w").size(), values);
  EXPECT_LT(resident_file_kib() - before, 4096);
  if (resident_file_kib() == 0) GTEST_SKIP() << "no RssFile here";
}

TEST(Checkpoint, ReadsShards) {
  const TemporaryDirectory directory;
  directory.file("config.json", "{}");
  directory.file("s1.safetensors", shard("a", "12"));
  directory.file("s2.safetensors", shard("b", "345"));
  write_index(directory, R"({"a":"s1.safetensors","b":"s2.safetensors"})");
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(checkpoint->tensor("b").nbytes, 3u);
}

TEST(Checkpoint, RefusesShardNamesThatLeaveTheDirectory) {
  const TemporaryDirectory directory;
  directory.file("config.json", "{}");
  for (const std::string name :
       {"../s.safetensors", "/etc/passwd", "x/../../s", "..", "", "a\\\\b", "a\\u0000b"}) {
    write_index(directory, R"({"a":")" + name + R"("})");
    expect_error<FormatError>([&] { (void)Checkpoint::open(directory.path()); },
                              {"tensor 'a'", "not a relative path"});
  }
}

TEST(Checkpoint, RefusesAnIndexThatLies) {
  const TemporaryDirectory directory;
  directory.file("config.json", "{}");
  directory.file("s1.safetensors", shard("a", "12"));
  write_index(directory, R"({"a":"s1.safetensors","b":"s1.safetensors"})");
  expect_error<FormatError>([&] { (void)Checkpoint::open(directory.path()); },
                            {"tensor 'b' is not in its shard"});
  write_index(directory, R"({"a":"s3.safetensors"})");
  expect_error<IoError>([&] { (void)Checkpoint::open(directory.path()); },
                        {"s3.safetensors", "No such file"});
  write_index(directory, R"({"a":1})");
  expect_error<FormatError>([&] { (void)Checkpoint::open(directory.path()); },
                            {"shard of tensor 'a'", "not a string"});
  write_index(directory, "[]");
  expect_error<FormatError>([&] { (void)Checkpoint::open(directory.path()); },
                            {"\"weight_map\" is not"});
}

TEST(Checkpoint, NamesWhatIsMissing) {
  const TemporaryDirectory directory;
  const auto open = [&] { (void)Checkpoint::open(directory.path()); };
  expect_error<IoError>([&] { (void)Checkpoint::open(directory / "none"); },
                        {"none", "No such file"});
  expect_error<IoError>(open, {"config.json is missing"});
  expect_error<FormatError>([&] { (void)Checkpoint::open(directory.file("f", "")); },
                            {"is an empty file"});
  directory.file("config.json", "[]");
  expect_error<FormatError>(open, {"config.json", "not a JSON object"});
  directory.file("config.json", R"({"a":1,"a":2})");
  expect_error<FormatError>(open, {"config.json", "duplicate key", "at byte"});
  directory.file("config.json", "{}");
  expect_error<IoError>(open, {"neither model.safetensors nor model.safetensors.index.json"});
  directory.file("pytorch_model.bin", "PK");
  expect_error<Unsupported>(
      open, {"pickle (pytorch_model.bin)", "save_pretrained", "safe_serialization=True"});
}

template <class T>
std::vector<float> floats(DType dtype, const std::vector<T>& values) {
  std::string bytes(1 + values.size() * sizeof(T),
                    '\0');  // one byte off: files need not be aligned
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  return to_float({dtype, {values.size()}, as_bytes(bytes).data() + 1, bytes.size() - 1}, "w",
                  "m.safetensors");
}

TEST(ToFloat, DecodesEveryFloatType) {
  const std::vector<float> expected{1.0f, -1.5f, 0.0f};
  EXPECT_EQ(floats(DType::f32, expected), expected);
  EXPECT_EQ(floats(DType::f64, std::vector<double>{1.0, -1.5, 0.0}), expected);
  EXPECT_EQ(floats(DType::bf16, std::vector<std::uint16_t>{0x3F80, 0xBFC0, 0}), expected);
  EXPECT_EQ(floats(DType::f16, std::vector<std::uint16_t>{0x3C00, 0xBE00, 0}), expected);
  EXPECT_EQ(floats(DType::e4m3, std::vector<std::uint8_t>{0x38, 0xBC, 0}), expected);
  EXPECT_EQ(floats(DType::e5m2, std::vector<std::uint8_t>{0x3C, 0xBE, 0}), expected);
  EXPECT_EQ(floats(DType::e8m0, std::vector<std::uint8_t>{127, 128, 0}),
            (std::vector<float>{1, 2, 0x1p-127f}));
  const std::string codes = "\x32\x0B";
  EXPECT_EQ(to_float({DType::e2m1, {3}, as_bytes(codes).data(), 2}, "w", "m"),
            (std::vector<float>{1, 1.5f, -1.5f}));
}

TEST(ToFloat, NamesTheFirstValueThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  expect_error<FormatError>(
      [&] {
        (void)floats(DType::f32, std::vector<float>{0, 1, nan, nan});
      },
      {"m.safetensors", "tensor 'w'", "NaN at flat index 2"});
  expect_error<FormatError>(
      [] {
        (void)floats(DType::f16, std::vector<std::uint16_t>{0, 0xFC00});
      },
      {"Inf at flat index 1"});
  expect_error<FormatError>([] { (void)floats(DType::e4m3, std::vector<std::uint8_t>{0x7F}); },
                            {"NaN at flat index 0"});
  expect_error<FormatError>([] { (void)floats(DType::f64, std::vector<double>{1e300}); },
                            {"Inf at flat index 0"});
}

TEST(ToFloat, RefusesIntegers) {
  expect_error<Unsupported>([] { (void)floats(DType::i8, std::vector<std::uint8_t>{1}); },
                            {"tensor 'w' is int8"});
}

}  // namespace
}  // namespace qeff
