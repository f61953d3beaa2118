#include "qeff/io/atomic_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "io/files.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {
namespace {

using testing::expect_error;
using testing::TemporaryDirectory;

template <class Call>
int code_of(Call call) {
  try {
    call();
  } catch (const IoError& error) {
    return error.code();
  }
  return 0;
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("out", "old");
  AtomicFile file(path);
  file.write("new ");
  file.write("content");
  EXPECT_EQ(testing::read_bytes(path), "old");
  file.commit();
  EXPECT_EQ(testing::read_bytes(path), "new content");
  EXPECT_EQ(directory.entries(), 1u);
}

TEST(AtomicFile, LeavesNothingBehindWhenAbandoned) {
  const TemporaryDirectory directory;
  {
    AtomicFile file(directory / "out");
    file.write("half");
    EXPECT_EQ(directory.entries(), 1u);
  }
  EXPECT_EQ(directory.entries(), 0u);
}

TEST(AtomicFile, KeepsThePermissionsOfTheFileItReplaces) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("out", "old");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  AtomicFile file(path);
  file.commit();
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(AtomicFile, WritesIntoTheWorkingDirectoryToo) {
  const TemporaryDirectory directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  AtomicFile file("plain");
  file.write("x");
  file.commit();
  std::filesystem::current_path(before);
  EXPECT_EQ(testing::read_bytes(directory / "plain"), "x");
}

TEST(AtomicFile, NamesPathAndReasonWhereItCannotWrite) {
  const TemporaryDirectory directory;
  const std::string missing = directory / "no/such/out";
  expect_error<IoError>([&] { AtomicFile file(missing); }, {missing, "No such file"});
  EXPECT_EQ(code_of([&] { AtomicFile file(missing); }), ENOENT);
  EXPECT_EQ(code_of([&] { AtomicFile file(directory.path()); }), EISDIR);
  EXPECT_EQ(code_of([&] { AtomicFile file(directory.path() + "/"); }), EISDIR);
  EXPECT_EQ(code_of([&] { AtomicFile file(directory.file("f", "") + "/out"); }), ENOTDIR);
  expect_error<IoError>([] { AtomicFile file("/dev/null"); }, {"/dev/null", "not a regular file"});
}

TEST(AtomicFile, AnUnwritableDirectoryIsAnIoError) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::chmod(directory.path().c_str(), 0555), 0);
  constexpr uid_t kNobody = 65534;  // root may write anywhere
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const int code = code_of([&] { AtomicFile file(directory / "out"); });
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_EQ(::chmod(directory.path().c_str(), 0700), 0);
  EXPECT_EQ(code, EACCES);
}

/// A limit of the file size fails writes as a full disk does, with another errno.
TEST(AtomicFile, AFailedWriteIsAnIoErrorAndTheOldFileStays) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("out", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const int code = code_of([&] {
    AtomicFile file(path);
    file.write(std::string(10000, 'x'));
    file.commit();
  });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, EFBIG);
  EXPECT_EQ(testing::read_bytes(path), "old");
  EXPECT_EQ(directory.entries(), 1u);
}

TEST(SameFile, SeesThroughLinksAndOtherSpellings) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a", "x"), other = directory.file("b", "x");
  std::filesystem::create_hard_link(path, directory / "hard");
  EXPECT_TRUE(same_file(path, directory / "./a"));
  EXPECT_TRUE(same_file(path, directory / "hard"));
  EXPECT_FALSE(same_file(path, other));
  EXPECT_FALSE(same_file(path, directory / "missing"));
  EXPECT_FALSE(same_file(directory / "missing", directory / "missing"));
}

TEST(MappedFile, MapsAFileAndAnEmptyOne) {
  const TemporaryDirectory directory;
  const MappedFile file = MappedFile::open(directory.file("a", std::string(10000, 'x')));
  EXPECT_EQ(file.bytes().size(), 10000u);
  drop_pages(file.bytes());
  drop_pages(file.bytes().subspan(9000));
  EXPECT_EQ(file.bytes()[9999], std::byte{'x'});
  EXPECT_TRUE(MappedFile::open(directory.file("e", "")).bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(code_of([&] { (void)MappedFile::open(directory / "missing"); }), ENOENT);
  EXPECT_EQ(code_of([&] { (void)MappedFile::open(directory.path()); }), EISDIR);
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  expect_error<IoError>([&] { (void)MappedFile::open(directory / "pipe"); },
                        {"pipe", "not a regular file"});
}

TEST(ReadTextFile, RefusesLargeFiles) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a", "12345");
  EXPECT_EQ(read_text_file(path, 5), "12345");
  expect_error<FormatError>([&] { (void)read_text_file(path, 4); },
                            {path, "has 5 bytes, at most 4"});
}

}  // namespace
}  // namespace qeff
