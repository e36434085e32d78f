#include "virga/channel/directory_channel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/base/threads.h"
#include "virga/channel/channel_testing.h"
#include "virga/channel/child_process_testing.h"
#include "virga/channel/temporary_folder_testing.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class DirectoryChannelTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path root() const { return folder_.path() / "channel"; }
  /// Every file below the root, as a path from there.
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(root()).string());
    }
    return files;
  }
  static void make_file(const fs::path& path, std::string_view text = "foreign") {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

 private:
  TemporaryFolder folder_;
};

constexpr MessageKey kKey{.view = 1, .group = 2, .source = 3, .round = 0x1234, .phase = 5, .destination = 6, .part = 7};
constexpr const char* kFolder = "00000001/00000002/00000003";
constexpr const char* kFile = "00000001/00000002/00000003/0000000000001234-0005-00000006-00000007";

// The example of docs/formats/channel-directory.md.
TEST_F(DirectoryChannelTest, KeepsAMessageUnderTheNameThatTheFormatSays) {
  DirectoryChannel channel(root());
  put_text(channel, kKey, "hello");
  EXPECT_THAT(files(), UnorderedElementsAre(kFile));
  EXPECT_EQ(as_text(read_file(root() / kFile)), "hello");
  put_text(channel, {.view = 0xfffffffe, .round = ~std::uint64_t{0}, .phase = 0xffff, .destination = kEverybody}, "");
  EXPECT_THAT(files(),
              UnorderedElementsAre(kFile, "fffffffe/00000000/00000000/ffffffffffffffff-ffff-ffffffff-00000000"));
}

TEST_F(DirectoryChannelTest, TouchesNothingBeforeTheFirstPut) {
  DirectoryChannel channel(root());
  EXPECT_EQ(try_get_text(channel, kKey), std::nullopt);
  EXPECT_EQ(channel.contents(soon()), ChannelContents());
  channel.retire(1, 2, 3, 4, soon());
  channel.sweep(kEverybody, soon());
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(DirectoryChannelTest, LeavesForeignFilesAlone) {
  DirectoryChannel channel(root());
  put_text(channel, kKey, "mine");
  const std::vector<std::string> foreign = {
      "README",
      "0000000A/00000002/00000003/0000000000001234-0005-00000006-00000007",  // not lower case
      "00000001/x/y",
      "00000001/00000002/note",
      std::string(kFolder) + "/0000000000001234",                          // cut short
      std::string(kFolder) + "/0000000000001234-0005-00000006-0000000",    // cut short
      std::string(kFolder) + "/0000000000001234-0005-00000006-00000007~",  // longer
      std::string(kFolder) + "/0000000000001234-0005-00000006+00000007",   // other separator
      std::string(kFolder) + "/-000000000001234-0005-00000006-00000007",   // not a number
      std::string(kFolder) + "/0000000000001234-0005-0000000g-00000007",   // not a digit
  };
  for (const auto& name : foreign) make_file(root() / name);
  EXPECT_EQ(channel.contents(soon()), (ChannelContents{.messages = 1, .bytes = 4}));
  EXPECT_EQ(get_text(channel, kKey), "mine");
  channel.retire(1, 2, 3, 0x1234, soon());
  EXPECT_THAT(files(), testing::UnorderedElementsAreArray(foreign));
  channel.sweep(kEverybody, soon());
  EXPECT_THAT(files(), testing::UnorderedElementsAreArray(foreign));
}

TEST_F(DirectoryChannelTest, RefusesWhatCannotBeAMessage) {
  DirectoryChannel channel(root(), /*max_message_bytes=*/100);
  const auto path = root() / kFile;
  const auto refused = [&] {
    EXPECT_EQ(kind_of_error([&] { (void)channel.try_get(kKey, soon()); }), ErrorKind::kCorrupt);
    EXPECT_EQ(kind_of_error([&] { put_text(channel, kKey, "x"); }), ErrorKind::kCorrupt);
    fs::remove(path);
  };
  make_file(path, std::string(101, 'x'));
  refused();
  fs::create_directory(path);
  refused();
  fs::create_symlink("/etc/hostname", path);
  refused();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  refused();
  put_text(channel, kKey, "mine");
  EXPECT_EQ(get_text(channel, kKey), "mine");
}

TEST_F(DirectoryChannelTest, RefusesAFileInPlaceOfAFolder) {
  make_file(root() / "00000001");
  DirectoryChannel channel(root());
  EXPECT_EQ(kind_of_error([&] { put_text(channel, kKey, "x"); }), ErrorKind::kCorrupt);
  EXPECT_EQ(kind_of_error([&] { (void)channel.try_get(kKey, soon()); }), ErrorKind::kCorrupt);
  EXPECT_EQ(channel.contents(soon()), ChannelContents());
}

TEST_F(DirectoryChannelTest, RefusesAMessageThatIsTooLarge) {
  DirectoryChannel channel(root(), /*max_message_bytes=*/4);
  put_text(channel, kKey, "four");
  EXPECT_THAT(text_of_error([&] { put_text(channel, {.view = 1}, "fives"); }),
              AllOf(HasSubstr("5 bytes"), HasSubstr("4 is the most"), HasSubstr(root().string())));
}

TEST_F(DirectoryChannelTest, SaysThatItMayNotWrite) {
  fs::create_directories(root());
  fs::permissions(root(), fs::perms::owner_read | fs::perms::owner_exec);
  ChildProcess child([&] {
    // Permissions do not bind the superuser.
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(2);
    DirectoryChannel channel(root());
    try {
      put_text(channel, kKey, "x");
      ::_exit(4);
    } catch (const Error& error) {
      const bool says = error.kind() == ErrorKind::kIo &&
                        std::string(error.what()).find("ermission denied") != std::string::npos &&
                        std::string(error.what()).find(root().string()) != std::string::npos;
      ::_exit(says ? 0 : 3);
    }
  });
  EXPECT_TRUE(child.succeeds());
  fs::permissions(root(), fs::perms::owner_all);
}

/// While this lives, no file of this process may grow beyond so many bytes: as a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit { .rlim_cur = bytes, .rlim_max = before_.rlim_max };
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    (void)std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  struct rlimit before_ {};
  void (*handler_)(int) = nullptr;
};

TEST_F(DirectoryChannelTest, LeavesNothingWhenTheDiskIsFull) {
  DirectoryChannel channel(root());
  auto kind = ErrorKind::kInternal;
  std::string text;
  std::string remedy;
  {
    const FullDisk full(1000);
    try {
      put_text(channel, kKey, std::string(5000, 'x'));
    } catch (const Error& error) {
      kind = error.kind();
      text = error.what();
      remedy = error.remedy();
    }
  }
  EXPECT_EQ(kind, ErrorKind::kTooLarge);
  EXPECT_THAT(text, HasSubstr("cannot write " + root().string()));
  EXPECT_THAT(remedy, HasSubstr("free some space"));
  EXPECT_TRUE(files().empty());
  put_text(channel, kKey, std::string(5000, 'x'));
  EXPECT_EQ(get_text(channel, kKey).size(), 5000U);
}

std::string message_of(std::uint64_t round) { return std::string(100'000, static_cast<char>('a' + round % 26)); }

TEST_F(DirectoryChannelTest, ShowsWholeMessagesWhenAProcessIsKilled) {
  DirectoryChannel channel(root());
  constexpr std::uint64_t kBefore = 30;
  for (std::uint32_t life = 0; life < 5; ++life) {
    ChildProcess child([&] {
      DirectoryChannel its(root());
      for (std::uint64_t round = 0;; ++round) put_text(its, {.view = life, .round = round}, message_of(round));
    });
    EXPECT_EQ(get_text(channel, {.view = life, .round = kBefore}), message_of(kBefore));
    ASSERT_TRUE(child.kill_and_wait());

    std::uint64_t found = 0;
    while (const auto text = try_get_text(channel, {.view = life, .round = found})) {
      ASSERT_EQ(*text, message_of(found));
      ++found;
    }
    EXPECT_GT(found, kBefore);
    EXPECT_LE(files().size(), channel.contents(soon()).messages + 1) << "one temporary file, at most";
    for (std::uint64_t round = 0; round < found; ++round) {  // its twin does no damage
      put_text(channel, {.view = life, .round = round}, message_of(round));
    }
    channel.sweep(life + 1, soon());
    EXPECT_EQ(channel.contents(soon()), ChannelContents());
    for (const auto& file : files()) {
      EXPECT_EQ(fs::path(file).filename().string().front(), '.') << file;
      fs::last_write_time(root() / file, fs::file_time_type::clock::now() - 2h);
    }
    channel.sweep(life + 1, soon());
    EXPECT_TRUE(fs::is_empty(root()));
  }
}

TEST_F(DirectoryChannelTest, SweepsTemporaryFilesWhenTheyAreOld) {
  DirectoryChannel channel(root());
  put_text(channel, kKey, "x");
  const auto young = std::string(kFolder) + "/.0123456789abcdef";
  const auto old = std::string(kFolder) + "/.fedcba9876543210";
  make_file(root() / young);
  make_file(root() / old);
  fs::last_write_time(root() / old, fs::file_time_type::clock::now() - 61min);
  fs::last_write_time(root() / young, fs::file_time_type::clock::now() - 50min);
  channel.retire(1, 2, 3, ~std::uint64_t{0}, soon());
  EXPECT_THAT(files(), UnorderedElementsAre(young, old));
  channel.sweep(1, soon());
  EXPECT_THAT(files(), UnorderedElementsAre(young, old));
  channel.sweep(kEverybody, soon());
  EXPECT_THAT(files(), UnorderedElementsAre(young));
}

TEST_F(DirectoryChannelTest, PutsWhileFoldersAreSweptAway) {
  constexpr std::uint64_t kRounds = 300;
  std::atomic<unsigned> putting = 3;
  run_threads(4, [&](unsigned me) {
    DirectoryChannel channel(root());
    if (me == 3) {
      while (putting > 0) channel.sweep(2, soon());
      return;
    }
    const std::unique_ptr<std::atomic<unsigned>, void (*)(std::atomic<unsigned>*)> done(&putting,
                                                                                        [](auto* count) { --*count; });
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      put_text(channel, {.view = 1, .source = me, .round = round}, "swept");
      put_text(channel, {.view = 2, .source = me, .round = round}, "stays");
    }
  });
  DirectoryChannel channel(root());
  channel.sweep(2, soon());
  EXPECT_EQ(channel.contents(soon()),
            (ChannelContents{.messages = 3 * kRounds, .bytes = std::uint64_t{5} * 3 * kRounds}));
}

TEST_F(DirectoryChannelTest, LetsOneOfSeveralWin) {
  for (std::uint64_t round = 0; round < 50; ++round) {
    std::atomic<int> stored = 0;
    std::atomic<int> refused = 0;
    run_threads(4, [&](unsigned me) {
      DirectoryChannel channel(root());
      try {
        put_text(channel, {.round = round}, std::to_string(me));
        ++stored;
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kConflict) ++refused;
      }
    });
    EXPECT_EQ(stored, 1);
    EXPECT_EQ(refused, 3);
  }
}

TEST_F(DirectoryChannelTest, LooksLessAndLessOftenForWhatDoesNotCome) {
  DirectoryChannel channel(root());
  EXPECT_EQ(
      kind_of_error([&] { channel.get(std::vector{kKey}, [](const auto&, const auto&) {}, {Deadline::in(100ms)}); }),
      ErrorKind::kDeadlineExceeded);
  EXPECT_GE(channel.polls(), 1U);
  EXPECT_LE(channel.polls(), 21U + 100 / 5 + 2) << "21 pauses grow to 5 ms";
}

TEST_F(DirectoryChannelTest, StopsPuttingWhenTimeIsUp) {
  DirectoryChannel channel(root());
  const ByteView part = as_bytes("x");
  const std::vector<Outgoing> messages = {{{.round = 0}, {&part, 1}}, {{.round = 1}, {&part, 1}}};
  EXPECT_THAT(text_of_error([&] { channel.put(messages, {Deadline::in(0s)}); }), HasSubstr("1 of 2 messages"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(kind_of_error([&] {
              channel.put(messages, {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace virga
