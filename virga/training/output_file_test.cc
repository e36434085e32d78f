#include "virga/training/output_file.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using testing::HasSubstr;

class OutputFileTest : public testing::Test {
 protected:
  OutputFileTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  ~OutputFileTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()));
  }

  const std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "virga_output_file_test";
  const std::filesystem::path path_ = folder_ / "out.txt";
};

TEST_F(OutputFileTest, AppearsWholeWhenItIsCommitted) {
  write_file_atomically(path_, as_bytes("old"), false);
  OutputFile file(path_);
  file.write("a\n");
  file.write(std::string(100'000, 'b'));
  EXPECT_EQ(as_text(read_file(path_)), "old");
  file.commit();
  EXPECT_EQ(as_text(read_file(path_)), "a\n" + std::string(100'000, 'b'));
  EXPECT_EQ(files(), 1U);
}

TEST_F(OutputFileTest, LeavesNothingWithoutCommit) {
  { OutputFile(path_).write("a"); }
  EXPECT_EQ(files(), 0U);
}

TEST_F(OutputFileTest, WritesToADeviceDirectly) {
  OutputFile file("/dev/null");
  file.write("a");
  file.commit();
  EXPECT_FALSE(std::filesystem::is_regular_file("/dev/null"));
}

TEST_F(OutputFileTest, SaysWhatCannotBeWritten) {
  EXPECT_THAT([&] { OutputFile file(folder_ / "missing" / "x"); },
              testing::ThrowsMessage<Error>(HasSubstr("missing/x")));
  EXPECT_THAT([&] { OutputFile file(folder_); }, testing::ThrowsMessage<Error>(HasSubstr("it is a directory")));
  EXPECT_THAT(
      [] {
        OutputFile file("/dev/full");
        file.write(std::string(1'000'000, 'x'));
        file.commit();
      },
      testing::ThrowsMessage<Error>(HasSubstr("cannot write /dev/full")));
}

}  // namespace
}  // namespace virga
