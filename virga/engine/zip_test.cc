#include "virga/engine/zip.h"

#include <cstdlib>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using testing::HasSubstr;

class ZipTest : public testing::Test {
 protected:
  ZipTest() : folder_(std::filesystem::path(testing::TempDir()) / ("virga_zip." + std::to_string(::getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~ZipTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string contents(const std::string& name) const {
    return std::string(as_text(read_file(folder_ / name)));
  }
  [[nodiscard]] unsigned mode(const std::string& name) const {
    struct stat status {};
    EXPECT_EQ(::stat((folder_ / name).c_str(), &status), 0);
    return status.st_mode & 07777;
  }
  /// What this Python does with the path of a zip "z" and a folder "to".
  void python(const std::string& text) const {
    std::ofstream(folder_ / "script.py") << "import zipfile, os, stat, sys\nz, to = sys.argv[1:]\n" << text << "\n";
    const auto command = fmt::format("python3 '{0}/script.py' '{0}/z.zip' '{0}/to'", folder_.string());
    ASSERT_EQ(std::system(command.c_str()), 0) << text;  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
  }
  /// Zips that Python has made: each text is what it does with the open archive "a".
  [[nodiscard]] std::vector<std::string> python_zips(const std::vector<std::string>& texts) const {
    std::string script = "import warnings\nwarnings.simplefilter('ignore')\n";
    for (std::size_t i = 0; i < texts.size(); ++i) {
      script += fmt::format("a = zipfile.ZipFile(z + '{}', 'w', zipfile.ZIP_DEFLATED)\n{}\na.close()\n", i, texts[i]);
    }
    python(script);
    std::vector<std::string> zips;
    for (std::size_t i = 0; i < texts.size(); ++i) zips.push_back(contents(fmt::format("z.zip{}", i)));
    return zips;
  }
  [[nodiscard]] std::string python_zip(const std::string& text) const { return python_zips({text})[0]; }
  /// The reason why a zip is refused; what was begun is gone.
  [[nodiscard]] std::string refusal(const std::string& zip, ErrorKind kind = ErrorKind::kBadData,
                                    const UnpackLimits& limits = {}) const {
    std::filesystem::create_directories(folder_ / "unpacked");
    try {
      unpack_zip(zip, folder_ / "unpacked", limits);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_TRUE(std::filesystem::is_empty(folder_ / "unpacked"));
      EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
      return error.what();
    }
    ADD_FAILURE() << "unpacked";
    return "";
  }

  const std::filesystem::path folder_;
};

TEST_F(ZipTest, IsUnpackedAsItWasMade) {
  const std::string program(100'000, 'x');
  const std::vector<ZipMember> members = {{.name = "bootstrap", .bytes = program, .mode = 0755},
                                          {.name = "data/deep/list", .bytes = "1 2 3", .mode = 0600},
                                          {.name = "empty", .bytes = ""}};

  const auto zip = make_zip(members);
  unpack_zip(zip, folder_ / "unpacked");

  EXPECT_LT(zip.size(), 2000U);
  EXPECT_EQ(contents("unpacked/bootstrap"), program);
  EXPECT_EQ(contents("unpacked/data/deep/list"), "1 2 3");
  EXPECT_EQ(contents("unpacked/empty"), "");
  EXPECT_EQ(mode("unpacked/bootstrap"), 0755U);
  EXPECT_EQ(mode("unpacked/data/deep/list"), 0644U);
  EXPECT_EQ(mode("unpacked/empty"), 0644U);
}

TEST_F(ZipTest, HasTheSameBytesWheneverItIsMade) {
  const std::vector<ZipMember> members = {{.name = "bootstrap", .bytes = "#!/bin/sh\n", .mode = 0755}};
  const auto zip = make_zip(members);
  ::setenv("TZ", "Asia/Tokyo", 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
  const auto again = make_zip(members);
  ::unsetenv("TZ");  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(again, zip);
}

TEST_F(ZipTest, IsReadByPythonAndUnzip) {
  const std::vector<ZipMember> members = {{.name = "bootstrap", .bytes = "#!/bin/sh\nexit 3\n", .mode = 0755},
                                          {.name = "data/n\xc3\xb6te", .bytes = "1 2 3"}};
  write_file_atomically(folder_ / "z.zip", as_bytes(make_zip(members)));

  python(
      "a = zipfile.ZipFile(z)\n"
      "assert a.testzip() is None\n"
      "assert a.namelist() == ['bootstrap', 'data/n\\u00f6te'], a.namelist()\n"
      "assert a.read('bootstrap') == b'#!/bin/sh\\nexit 3\\n'\n"
      "info = a.getinfo('bootstrap')\n"
      "assert stat.S_IMODE(info.external_attr >> 16) == 0o755\n"
      "assert stat.S_ISREG(info.external_attr >> 16)\n"
      "assert info.compress_type == zipfile.ZIP_DEFLATED\n");
  if (::access("/usr/bin/unzip", X_OK) == 0) {
    const auto command = fmt::format("unzip -q '{0}/z.zip' -d '{0}/to' && '{0}/to/bootstrap'", folder_.string());
    EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 3);  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
  }
}

TEST_F(ZipTest, OfPythonIsUnpacked) {
  const auto zip = python_zip(
      "i = zipfile.ZipInfo('bootstrap'); i.external_attr = (stat.S_IFREG | 0o4711) << 16\n"
      "a.writestr(i, 'x' * 1000)\n"
      "a.writestr('folder/', '')\n"
      "a.writestr('folder/stored', 'abc', zipfile.ZIP_STORED)\n");
  unpack_zip(zip, folder_ / "unpacked");
  EXPECT_EQ(contents("unpacked/bootstrap"), std::string(1000, 'x'));
  EXPECT_EQ(mode("unpacked/bootstrap"), 0755U) << "no set-user-id";
  EXPECT_EQ(contents("unpacked/folder/stored"), "abc");
}

TEST_F(ZipTest, ThatLeadsOutOfItsFolderIsRefused) {
  std::vector<std::string> texts;
  for (const auto* name : {"../out", "a/../../out", "a/..", "./a", "a//b", "..", "."}) {
    texts.push_back(fmt::format("a.writestr('ok', 'x'); a.writestr('{}', 'x')", name));
  }
  for (const auto& zip : python_zips(texts)) EXPECT_THAT(refusal(zip), HasSubstr("leads out"));
  const auto others = python_zips({"a.writestr('/etc/out', 'x')", "a.writestr('x' * 300, 'x')"});
  EXPECT_THAT(refusal(others[0]), HasSubstr("absolute"));
  EXPECT_THAT(refusal(others[1]), HasSubstr("too long"));
}

TEST_F(ZipTest, ThatHoldsALinkOrADeviceIsRefused) {
  const auto special = [](const char* type) {
    return fmt::format(
        "i = zipfile.ZipInfo('l'); i.create_system = 3\n"
        "i.external_attr = (stat.{} | 0o777) << 16; a.writestr(i, '/etc/passwd')",
        type);
  };
  const auto zips = python_zips({special("S_IFLNK"), special("S_IFCHR"), special("S_IFBLK")});
  EXPECT_THAT(refusal(zips[0]), HasSubstr("symbolic link"));
  EXPECT_THAT(refusal(zips[1]), HasSubstr("neither a file nor a folder"));
  EXPECT_THAT(refusal(zips[2]), HasSubstr("neither a file nor a folder"));
}

TEST_F(ZipTest, ThatNamesAFileTwiceIsRefused) {
  const auto zips =
      python_zips({"a.writestr('a', 'x'); a.writestr('a', 'y')", "a.writestr('a', 'x'); a.writestr('a/b', 'y')",
                   "a.writestr('a/b', 'x'); a.writestr('a', 'y')", "a.writestr('a/', ''); a.writestr('a/', '')"});
  EXPECT_THAT(refusal(zips[0]), HasSubstr("twice"));
  EXPECT_THAT(refusal(zips[1]), HasSubstr("is a file"));
  EXPECT_THAT(refusal(zips[2]), HasSubstr("file and a folder"));
  EXPECT_THAT(refusal(zips[3]), HasSubstr("twice"));
}

TEST_F(ZipTest, ThatUnpacksToTooMuchIsRefused) {
  const auto bomb = python_zip("[a.writestr(str(i), bytes(100000)) for i in range(20)]");
  EXPECT_LT(bomb.size(), 10'000U);
  EXPECT_THAT(refusal(bomb, ErrorKind::kTooLarge, {.bytes = 1'000'000}), HasSubstr("more than 1000000 bytes"));
  EXPECT_THAT(refusal(bomb, ErrorKind::kTooLarge, {.members = 19}), HasSubstr("more than 19 files"));
  unpack_zip(bomb, folder_ / "unpacked", {.bytes = 2'000'000, .members = 20});
}

TEST_F(ZipTest, ThatCannotBeReadIsRefused) {
  const auto zips =
      python_zips({"a.writestr('a', bytes(range(256)) * 40)", "a.writestr('a', bytes(1000), zipfile.ZIP_LZMA)"});
  const auto& zip = zips[0];
  EXPECT_THAT(refusal(""), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal("PK\3\4 but no more"), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal(zip.substr(0, zip.size() - 30)), HasSubstr("cannot be read"));
  auto damaged = zip;
  damaged[60] = static_cast<char>(damaged[60] ^ 0x55);
  EXPECT_THAT(refusal(damaged), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal(zips[1]), HasSubstr("neither stored"));
  auto encrypted = zip;  // flag 1 of both headers
  encrypted[6] = static_cast<char>(encrypted[6] | 1);
  encrypted[encrypted.find("PK\1\2") + 8] |= 1;
  EXPECT_THAT(refusal(encrypted), HasSubstr("encrypted"));
}

TEST_F(ZipTest, IsNotUnpackedOverWhatIsThere) {
  std::filesystem::create_directories(folder_ / "unpacked");
  std::ofstream(folder_ / "unpacked" / "mine") << "mine";
  const std::vector<ZipMember> members = {{.name = "mine", .bytes = "yours"}};
  try {
    unpack_zip(make_zip(members), folder_ / "unpacked");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
  }
  EXPECT_EQ(contents("unpacked/mine"), "mine");
}

TEST_F(ZipTest, StoresWhatIsNotWorthPacking) {
  const std::string text(100'000, 'x');
  const ZipMember member{.name = "bootstrap", .bytes = text, .mode = 0755};
  const auto stored = make_zip({&member, 1}, ZipMethod::kStored);
  EXPECT_GT(stored.size(), text.size());
  EXPECT_LT(make_zip({&member, 1}).size(), text.size() / 10);
  std::string read;
  read_zip(
      stored, {}, [](const UnpackedMember&) {}, [&](std::string_view part) { read += part; });
  EXPECT_EQ(read, text);
}

}  // namespace
}  // namespace virga
