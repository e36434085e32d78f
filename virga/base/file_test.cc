#include "virga/base/file.h"

#include <algorithm>
#include <csignal>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace virga {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() : folder_(fs::path(testing::TempDir()) / ("virga_file_test." + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~FileTest() override { fs::remove_all(folder_); }
  const fs::path folder_;
};

TEST_F(FileTest, WritesAllOrNothing) {
  write_file_atomically(folder_ / "a", as_bytes("one"));
  write_file_atomically(folder_ / "a", as_bytes("two"));
  EXPECT_EQ(as_text(read_file(folder_ / "a")), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1) << "a temporary file was left";
}

/// `size` bytes that tell where they stand.
Bytes numbered(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 24);
  return bytes;
}

TEST_F(FileTest, WritesLargeFilesWhereverTheyEnd) {
  // /dev/shm lies in memory, where there is nothing but the page cache to write to.
  const auto in_memory = fs::path("/dev/shm") / folder_.filename();
  fs::create_directories(in_memory);
  for (const auto& folder : {folder_, in_memory}) {
    for (const std::size_t size : {1048575U, 1048576U, 1048577U, 1052671U, 1052672U, 2621441U}) {
      const auto bytes = numbered(size);
      write_file_atomically(folder / "large", bytes);
      EXPECT_TRUE(std::ranges::equal(read_file(folder / "large"), bytes)) << size << " " << folder;
      write_file_atomically(folder / "large", ByteView(bytes).subspan(3));
      EXPECT_TRUE(std::ranges::equal(read_file(folder / "large"), ByteView(bytes).subspan(3))) << size << " " << folder;
    }
  }
  fs::remove_all(in_memory);
}

TEST_F(FileTest, LeavesNothingOfALargeFileThatDoesNotFit) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {1000000U, 1048576U, 1600000U}) {
    const rlimit less{limit, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
    EXPECT_THROW(write_file_atomically(folder_ / "large", numbered(2000000)), Error);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_TRUE(fs::is_empty(folder_));
  }
  std::signal(SIGXFSZ, old_handler);
}

TEST_F(FileTest, NamesWhatIsMissing) {
  try {
    std::ignore = read_file(folder_ / "nowhere");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), testing::HasSubstr("nowhere"));
  }
}

TEST_F(FileTest, RefusesAFolderAndAFileOverTheLimit) {
  EXPECT_THROW(std::ignore = read_file(folder_), Error);
  write_file_atomically(folder_ / "a", as_bytes("0123456789"));
  EXPECT_THROW(std::ignore = read_file(folder_ / "a", 9), Error);
}

TEST_F(FileTest, LeavesNothingBehindWhenThePlaceIsMissing) {
  EXPECT_THROW(write_file_atomically(folder_ / "no" / "a", as_bytes("x")), Error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(FileTest, WritesToADeviceAndNeverReplacesIt) {
  write_file_atomically("/dev/null", as_bytes("x"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THROW(write_file_atomically("/dev/full", as_bytes("x")), Error);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FileTest, SaysBeforehandThatAFileCannotBeWritten) {
  const auto kind_of = [](const fs::path& path) -> std::optional<ErrorKind> {
    try {
      check_can_write_file(path);
    } catch (const Error& error) {
      return error.kind();
    }
    return std::nullopt;
  };
  EXPECT_EQ(kind_of(folder_ / "a"), std::nullopt);
  EXPECT_EQ(kind_of("a"), std::nullopt);
  EXPECT_EQ(kind_of("/dev/null"), std::nullopt);
  EXPECT_EQ(kind_of(folder_), ErrorKind::kUsage);
  EXPECT_EQ(kind_of(folder_ / "no" / "a"), ErrorKind::kUsage);
  EXPECT_THROW(write_file_atomically(folder_, as_bytes("x")), Error);
}

TEST_F(FileTest, RefusesToReplaceAnInput) {
  write_file_atomically(folder_ / "a", as_bytes("one"));
  fs::create_symlink("a", folder_ / "link");
  const std::vector<std::string> inputs = {"-",     "s3://bucket/a", folder_ / "missing",
                                           folder_, "/dev/null",     folder_ / "a"};
  EXPECT_NO_THROW(check_replaces_no_input(folder_ / "b", inputs));
  EXPECT_NO_THROW(check_replaces_no_input(folder_ / "missing", inputs));
  EXPECT_NO_THROW(check_replaces_no_input("/dev/null", inputs));
  for (const auto& path : {folder_ / "a", folder_ / "." / "a", folder_ / "link"}) {
    EXPECT_THROW(check_replaces_no_input(path, inputs), Error) << path;
  }
}

TEST_F(FileTest, CopiesThatDoNotFollowEachOther) {
  write_file_atomically(folder_ / "a", as_bytes("one"));
  write_file_atomically(folder_ / "b", as_bytes("old"));
  copy_file_atomically(folder_ / "a", folder_ / "b", as_bytes("one"));
  copy_file_atomically(folder_ / "a", folder_ / "b", as_bytes("one"));
  EXPECT_EQ(as_text(read_file(folder_ / "b")), "one");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2) << "a temporary file was left";
  write_file_atomically(folder_ / "a", as_bytes("two"));
  EXPECT_EQ(as_text(read_file(folder_ / "b")), "one");

  copy_file_atomically("/dev/null", folder_ / "c", as_bytes("from no file"));
  EXPECT_EQ(as_text(read_file(folder_ / "c")), "from no file");
  copy_file_atomically(folder_ / "a", "/dev/null", as_bytes("two"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THROW(copy_file_atomically(folder_ / "a", folder_ / "no" / "a", as_bytes("two")), Error);
}

TEST_F(FileTest, ReadsUpToTheEnd) {
  write_file_atomically(folder_ / "a", as_bytes("0123456789"));
  const ReadableFile file(folder_ / "a");
  Bytes buffer(6);
  EXPECT_EQ(file.read_at(0, buffer), 6U);
  EXPECT_EQ(file.read_at(6, buffer), 4U);
  EXPECT_EQ(as_text(ByteView(buffer).first(4)), "6789");
  EXPECT_EQ(file.read_at(10, buffer), 0U);
}

}  // namespace
}  // namespace virga
