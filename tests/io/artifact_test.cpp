#include "qeff/io/artifact.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <functional>

#include "io/files.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::as_bytes;
using testing::expect_error;
using testing::TemporaryDirectory;

constexpr std::string_view kWeights =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01";

/// Three entries: 66 bytes, none, 3 bytes with 4-bit elements.
std::string write_small(const TemporaryDirectory& directory) {
  ArtifactWriter writer(R"({"model":"x","n":1})");
  writer.add("weights", DType::i8, {2, 33}, as_bytes(kWeights));
  writer.add("empty", DType::f32, {0, 5}, {});
  writer.add("codes", DType::u4, {5}, as_bytes("\x21\x43\x05"));
  writer.write(directory / "small.qeff");
  return directory / "small.qeff";
}

/// The small artifact with its header replaced and every size and checksum made to fit again.
std::string with_header(const std::string& bytes, const std::function<void(std::string&)>& change) {
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data() + 16, 8);
  std::string header = bytes.substr(64, size);
  change(header);
  header.resize(size, ' ');
  const std::uint64_t hash = XXH3_64bits(header.data(), header.size());
  std::string result = bytes;
  result.replace(64, size, header);
  std::memcpy(result.data() + 24, &hash, 8);
  return result;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  ASSERT_NE(at, text.npos) << from << " is not in " << text;
  text.replace(at, from.size(), to);
}

TEST(Artifact, GivesBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const std::string path = write_small(directory);
  const auto artifact = Artifact::open(path);
  EXPECT_EQ(artifact->metadata(), R"({"model":"x","n":1})");
  ASSERT_EQ(artifact->entries().size(), 3u);
  const TensorView& weights = artifact->tensor("weights");
  EXPECT_EQ(weights.shape, (std::vector<std::size_t>{2, 33}));
  EXPECT_EQ(weights.dtype, DType::i8);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(weights.data), weights.nbytes),
            kWeights);
  EXPECT_EQ(artifact->tensor("codes").nbytes, 3u);
  for (const auto& entry : artifact->entries())
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(entry.tensor.data) % 64, 0u) << entry.name;
  EXPECT_EQ(artifact->file_bytes(), testing::read_bytes(path).size());
  EXPECT_TRUE(artifact->contains("empty"));
  EXPECT_FALSE(artifact->contains("emptY"));
  EXPECT_EQ(directory.entries(), 1u);
}

TEST(Artifact, WithoutEntriesIsLegal) {
  const TemporaryDirectory directory;
  ArtifactWriter("{}").write(directory / "a.qeff");
  EXPECT_TRUE(Artifact::open(directory / "a.qeff")->entries().empty());
}

TEST(Artifact, ManyEntriesShiftTheirOwnOffsetsCorrectly) {
  const TemporaryDirectory directory;
  ArtifactWriter writer("{}");
  for (int i = 0; i < 300; ++i)
    writer.add("layer." + std::to_string(i), DType::u8, {66}, as_bytes(kWeights));
  writer.write(directory / "a.qeff");
  EXPECT_EQ(Artifact::open(directory / "a.qeff")->entries().size(), 300u);
}

TEST(Artifact, AnyFlippedByteIsRefused) {
  const TemporaryDirectory directory;
  const std::string bytes = testing::read_bytes(write_small(directory));
  for (std::size_t at = 0; at < bytes.size(); ++at)
    for (const int mask : {0x01, 0x80, 0xFF}) {
      std::string broken = bytes;
      broken[at] = static_cast<char>(broken[at] ^ mask);
      EXPECT_THROW((void)Artifact::open(directory.file("broken.qeff", broken)), Error)
          << "byte " << at;
    }
}

TEST(Artifact, AFileCutAtAnyByteOrWithTrailingBytesIsRefused) {
  const TemporaryDirectory directory;
  const std::string bytes = testing::read_bytes(write_small(directory));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW((void)Artifact::open(directory.file("cut.qeff", bytes.substr(0, size))),
                 FormatError)
        << size;
  expect_error<FormatError>(
      [&] { (void)Artifact::open(directory.file("cut.qeff", bytes.substr(0, 100))); },
      {"truncated"});
  expect_error<FormatError>([&] { (void)Artifact::open(directory.file("long.qeff", bytes + "x")); },
                            {"trailing bytes"});
}

TEST(Artifact, ADamagedEntryIsNamedAndOnlySeenWhenVerifying) {
  const TemporaryDirectory directory;
  std::string bytes = testing::read_bytes(write_small(directory));
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  const std::string path = directory.file("broken.qeff", bytes);
  expect_error<FormatError>([&] { (void)Artifact::open(path); },
                            {path, "entry 'codes' is damaged"});
  EXPECT_NO_THROW((void)Artifact::open(path, false));
}

TEST(Artifact, ANewerVersionIsUnsupportedAndBothVersionsAreSaid) {
  const TemporaryDirectory directory;
  std::string bytes = testing::read_bytes(write_small(directory));
  bytes[8] = 7;
  expect_error<Unsupported>([&] { (void)Artifact::open(directory.file("new.qeff", bytes)); },
                            {"artifact version 7", "up to version 1"});
  bytes[8] = 0;
  expect_error<FormatError>([&] { (void)Artifact::open(directory.file("old.qeff", bytes)); },
                            {"version 0"});
}

TEST(Artifact, AMissingEntryIsNamedWithThoseThatComeClose) {
  const TemporaryDirectory directory;
  const auto artifact = Artifact::open(write_small(directory));
  expect_error<FormatError>([&] { (void)artifact->tensor("weight"); },
                            {"no entry 'weight' (close: 'weights')"});
  expect_error<FormatError>([&] { (void)artifact->tensor(""); }, {"no entry ''"});
}

/// Headers whose checksum is right and whose content lies.
TEST(Artifact, ALyingHeaderIsRefusedWithItsReason) {
  const TemporaryDirectory directory;
  const std::string bytes = testing::read_bytes(write_small(directory));
  struct Lie {
    std::string from, to, message;
  };
  const std::vector<Lie> lies{
      {R"("metadata":{"model":"x","n":1})", R"("metadata":[                 ])",
       "\"metadata\" is not an object"},
      {R"("metadata")", R"("metadatb")", "has no \"metadata\""},
      {R"("entries")", R"("entriet")", "has no \"entries\""},
      {R"("name":"codes")", R"("name":"empty")", "two entries are named 'empty'"},
      {R"("name":"codes")", R"("name":1234567)", "name is not a string"},
      {R"("dtype":"int8")", R"("dtype":"int9")", "entry 'weights': unknown dtype \"int9\""},
      {R"("nbytes":66)", R"("nbytes":67)", "takes 66 bytes, the header says 67"},
      {R"("nbytes":66)", R"("nbytes":-6)", "nbytes is not a non-negative integer"},
      {R"("shape":[2,33])", R"("shape":[3,33])", "takes 99 bytes, the header says 66"},
      {R"("shape":[0,5])", R"("shape":[],"z":0)", "takes 4 bytes, the header says 0"},
      {R"("shape":[5])", R"("shape":"5")", "shape is not an array"},
      {R"("offset":)", R"("offsat":)", "has no \"offset\""},
      {R"("xxh3":")", R"("xxh3":"+)", "hexadecimal"},
  };
  for (const auto& [from, to, message] : lies) {
    const std::string broken =
        with_header(bytes, [&](std::string& header) { replace(header, from, to); });
    expect_error<FormatError>([&] { (void)Artifact::open(directory.file("lie.qeff", broken)); },
                              {message});
  }
}

TEST(Artifact, EntriesThatAreUnalignedOverlapOrLeaveTheFileAreRefused) {
  const TemporaryDirectory directory;
  const std::string bytes = testing::read_bytes(write_small(directory));
  const auto artifact = Artifact::open(directory / "small.qeff");
  const auto base = artifact->entries()[0].tensor.data;
  const std::size_t first = artifact->file_bytes() - 3 - 128;  // 66 bytes are padded to 128
  ASSERT_EQ(artifact->entries()[2].tensor.data - base, 128);
  const auto refused = [&](std::size_t from, std::size_t to, const std::string& message) {
    const auto offset = [](std::size_t value) { return "\"offset\":" + std::to_string(value); };
    const std::string broken =
        with_header(bytes, [&](std::string& header) { replace(header, offset(from), offset(to)); });
    expect_error<FormatError>([&] { (void)Artifact::open(directory.file("lie.qeff", broken)); },
                              {message});
  };
  refused(first, first + 1, "expected " + std::to_string(first));
  refused(first, first - 64, "expected " + std::to_string(first));
  refused(first + 128, first, "expected " + std::to_string(first + 128));
  refused(first + 128, first + 192, "expected " + std::to_string(first + 128));
  // The last entry grows beyond the end.
  const std::string longer = with_header(bytes, [&](std::string& header) {
    replace(header, R"("nbytes":3)", R"("nbytes":4)");
    replace(header, R"("shape":[5])", R"("shape":[7])");
  });
  expect_error<FormatError>([&] { (void)Artifact::open(directory.file("lie.qeff", longer)); },
                            {"entry 'codes' of 4 bytes", "outside of the file"});
}

TEST(ArtifactWriter, RefusesWhatItCannotStore) {
  ArtifactWriter writer("{}");
  writer.add("a", DType::u8, {1}, as_bytes("x"));
  expect_error<InvalidArgument>([&] { writer.add("a", DType::u8, {1}, as_bytes("x")); },
                                {"'a' is added twice"});
  expect_error<InvalidArgument>([&] { writer.add("b", DType::f32, {2}, as_bytes("x")); },
                                {"'b'", "(2,)", "1 bytes"});
  expect_error<InvalidArgument>(
      [&] {
        writer.add("c", DType::u8, {1ull << 32, 1ull << 32}, {});
      },
      {"'c'"});
  expect_error<FormatError>([] { ArtifactWriter("[]"); }, {"not a JSON object"});
  expect_error<FormatError>([] { ArtifactWriter("{"); }, {"invalid JSON"});
}

TEST(ArtifactWriter, RefusesAnInputAsOutputAndLeavesItUntouched) {
  const TemporaryDirectory directory;
  const std::string path = write_small(directory), before = testing::read_bytes(path);
  const std::string link = directory / "link.qeff";
  std::filesystem::create_symlink(path, link);
  const std::string inputs[] = {path};
  expect_error<InvalidArgument>([&] { ArtifactWriter("{}").write(link, inputs); },
                                {link, path, "same file"});
  EXPECT_EQ(testing::read_bytes(path), before);
}

TEST(ArtifactWriter, ReplacesAMappedArtifactWithoutDisturbingItsReaders) {
  const TemporaryDirectory directory;
  const std::string path = write_small(directory);
  const auto old = Artifact::open(path);
  ArtifactWriter("{}").write(path);
  const TensorView& weights = old->tensor("weights");
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(weights.data), weights.nbytes),
            kWeights);
  EXPECT_TRUE(Artifact::open(path)->entries().empty());
}

}  // namespace
}  // namespace qeff
