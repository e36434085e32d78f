#include "virga/channel/directory_register.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/channel/channel_testing.h"
#include "virga/channel/child_process_testing.h"
#include "virga/channel/temporary_folder_testing.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::MatchesRegex;

class DirectoryRegisterTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path root() const { return folder_.path() / "registers"; }
  [[nodiscard]] static std::vector<std::string> names(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }
  static std::string text(Register& registers, std::string_view name) {
    const auto value = registers.read(name, soon());
    return value ? std::string(as_text(value->bytes.view())) : "none";
  }
  /// Adds one to a number, as often as that takes.
  static void count_up(Register& registers) {
    for (;;) {
      const auto value = registers.read("count", soon());
      const int count = value ? std::stoi(std::string(as_text(value->bytes.view()))) : 0;
      const auto next = std::to_string(count + 1);
      if (registers.compare_exchange("count", value ? value->version : 0, as_bytes(next), soon())) return;
    }
  }

 private:
  TemporaryFolder folder_;
};

// The example of docs/formats/channel-directory.md.
TEST_F(DirectoryRegisterTest, KeepsAValueUnderTheNameThatTheFormatSays) {
  DirectoryRegister registers(root());
  for (const auto* value : {"one", "two", "three"}) registers.write("model/newest", as_bytes(value), soon());
  const auto folder = root() / "model.d" / "newest.d" / "value";
  const auto found = names(folder);
  ASSERT_EQ(found.size(), 2U) << "old values are deleted";
  EXPECT_THAT(found[1], MatchesRegex("0000000000000003-[0-9a-f]+"));
  EXPECT_EQ(found[1].size(), 33U);
  EXPECT_EQ(found[0], "." + found[1]);
  EXPECT_EQ(as_text(read_file(folder / found[0])), "three");
  EXPECT_EQ(fs::file_size(folder / found[1]), 0U);
  EXPECT_THAT(names(root() / "model.d" / "newest.d"), testing::ElementsAre("value"));

  registers.remove("model/newest", soon());
  EXPECT_THAT(names(folder), testing::ElementsAre("0000000000000004-0000000000000000"));
}

TEST_F(DirectoryRegisterTest, ReadsWhatAnotherProgramWrote) {
  const auto folder = root() / "a.d" / "value";
  fs::create_directories(folder);
  write_file_atomically(folder / "0000000000000010-00000000000000ab", {}, false);
  std::ofstream(folder / ".0000000000000010-00000000000000ab") << "written";
  DirectoryRegister registers(root());
  EXPECT_EQ(text(registers, "a"), "written");
  EXPECT_EQ(registers.read("a", soon())->version, 16U);
  EXPECT_EQ(registers.write("a", as_bytes("more"), soon()), 17U);
}

TEST_F(DirectoryRegisterTest, TellsNamesApartFromItsOwnFiles) {
  DirectoryRegister registers(root());
  const std::vector<std::string> names = {"a",         "a/b",   "a/value", "a.d",
                                          "a.d/value", "value", "a/b/c",   "a/0000000000000001-0000000000000001"};
  for (const auto& name : names) registers.write(name, as_bytes("value of " + name), soon());
  for (const auto& name : names) EXPECT_EQ(text(registers, name), "value of " + name);
}

TEST_F(DirectoryRegisterTest, TouchesNothingUntilItIsWritten) {
  DirectoryRegister registers(root());
  EXPECT_EQ(text(registers, "a"), "none");
  EXPECT_EQ(registers.compare_exchange("a", 3, as_bytes("x"), soon()), std::nullopt);
  registers.remove("a", soon());
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(DirectoryRegisterTest, GoesOnWithItsVersionsAfterARemoval) {
  DirectoryRegister registers(root());
  registers.write("a", as_bytes("one"), soon());
  registers.remove("a", soon());
  EXPECT_EQ(registers.compare_exchange("a", 1, as_bytes("late"), soon()), std::nullopt);
  EXPECT_EQ(registers.compare_exchange("a", 2, as_bytes("guessed"), soon()), std::nullopt);
  EXPECT_EQ(kind_of_error([&] { (void)registers.wait_newer("a", 1, {Deadline::in(5ms)}); }),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(registers.compare_exchange("a", 0, as_bytes("anew"), soon()), 3U);
}

TEST_F(DirectoryRegisterTest, LosesNoCountAmongProcesses) {
  constexpr int kTurns = 60;
  const auto count = [&] {
    DirectoryRegister registers(root());
    for (int i = 0; i < kTurns; ++i) count_up(registers);
  };
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int i = 0; i < 4; ++i) children.push_back(std::make_unique<ChildProcess>(count));
  for (auto& child : children) EXPECT_TRUE(child->succeeds());
  DirectoryRegister registers(root());
  EXPECT_EQ(text(registers, "count"), std::to_string(4 * kTurns));
  EXPECT_EQ(registers.read("count", soon())->version, 4U * kTurns);
}

TEST_F(DirectoryRegisterTest, StaysWholeWhenWritersAreKilled) {
  DirectoryRegister registers(root());
  const auto text_of = [](std::uint64_t i) { return std::string(30'000, static_cast<char>('a' + i % 26)); };
  std::uint64_t version = 0;
  for (int life = 0; life < 8; ++life) {
    ChildProcess child([&] {
      DirectoryRegister its(root());
      for (std::uint64_t i = 0;; ++i) its.write("a", as_bytes(text_of(i)), soon());
    });
    version = registers.wait_newer("a", version + 5, soon()).version;
    ASSERT_TRUE(child.kill_and_wait());
    const auto value = registers.read("a", soon());
    ASSERT_TRUE(value);
    EXPECT_GE(value->version, version);
    const auto bytes = as_text(value->bytes.view());
    ASSERT_EQ(bytes, std::string(30'000, bytes[0]));
    version = registers.write("a", as_bytes("x"), soon());
    EXPECT_EQ(version, value->version + 1);
  }
  // What the dead had begun for later versions is gone when these are there.
  registers.write("a", as_bytes("last"), soon());
  EXPECT_EQ(names(root() / "a.d" / "value").size(), 2U);
}

TEST_F(DirectoryRegisterTest, IsUsableWhenItsFirstWriterDiedEarly) {
  fs::create_directories(root() / "a.d" / ".0123456789abcdef");
  write_file_atomically(root() / "a.d" / ".0123456789abcdef" / "0000000000000000-0000000000000000", {}, false);
  DirectoryRegister registers(root());
  EXPECT_EQ(text(registers, "a"), "none");
  EXPECT_EQ(registers.compare_exchange("a", 0, as_bytes("x"), soon()), 1U);

  fs::create_directories(root() / "b.d" / "value");
  write_file_atomically(root() / "b.d" / "value" / "0000000000000000-0000000000000000", {}, false);
  EXPECT_EQ(text(registers, "b"), "none");
  EXPECT_EQ(registers.compare_exchange("b", 0, as_bytes("x"), soon()), 1U);
}

TEST_F(DirectoryRegisterTest, LeavesForeignFilesAlone) {
  DirectoryRegister registers(root());
  registers.write("a", as_bytes("one"), soon());
  const auto folder = root() / "a.d" / "value";
  for (const auto* name : {"README", "00000000000000ff", "00000000000000FF-0000000000000001", ".hidden",
                           "00000000000000ff-000000000000001", "00000000000000ff-00000000000000011"}) {
    std::ofstream(folder / name) << "foreign";
  }
  EXPECT_EQ(text(registers, "a"), "one");
  EXPECT_EQ(registers.write("a", as_bytes("two"), soon()), 2U);
  EXPECT_EQ(text(registers, "a"), "two");
  EXPECT_EQ(names(folder).size(), 8U);
}

TEST_F(DirectoryRegisterTest, RefusesAFolderThatIsDamaged) {
  DirectoryRegister registers(root(), /*max_value_bytes=*/100);
  const auto folder = root() / "a.d" / "value";
  const auto kind = [&] { return kind_of_error([&] { (void)registers.read("a", soon()); }); };
  fs::create_directories(folder);
  EXPECT_EQ(kind(), ErrorKind::kCorrupt) << "no pointer";
  write_file_atomically(folder / "0000000000000001-0000000000000001", {}, false);
  EXPECT_EQ(kind(), ErrorKind::kCorrupt) << "no value";
  std::ofstream(folder / ".0000000000000001-0000000000000001") << std::string(101, 'x');
  EXPECT_EQ(kind(), ErrorKind::kCorrupt) << "too large";
  registers.write("a", as_bytes("mended"), soon());
  EXPECT_EQ(text(registers, "a"), "mended");
}

TEST_F(DirectoryRegisterTest, RefusesAValueThatIsTooLarge) {
  DirectoryRegister registers(root(), /*max_value_bytes=*/4);
  registers.write("a", as_bytes("four"), soon());
  EXPECT_EQ(kind_of_error([&] { registers.write("a", as_bytes("fives"), soon()); }), ErrorKind::kTooLarge);
  EXPECT_EQ(kind_of_error([&] { (void)registers.compare_exchange("a", 1, as_bytes("fives"), soon()); }),
            ErrorKind::kTooLarge);
  EXPECT_EQ(text(registers, "a"), "four");
}

}  // namespace
}  // namespace virga
