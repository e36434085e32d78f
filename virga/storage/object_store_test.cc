#include "virga/storage/object_store.h"

#include <filesystem>
#include <functional>
#include <thread>
#include <tuple>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/storage/directory_object_store.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

namespace fs = std::filesystem;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    auto name = (fs::path(testing::TempDir()) / "virga_object_store_test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error("cannot create " + name, errno);
    path_ = name;
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

/// The Error that `body` throws.
Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::kInternal, ""};
}

/// An empty store of the kind under test, and what must live as long as it.
struct Place {
  std::shared_ptr<void> keep;
  std::unique_ptr<ObjectStore> store;
};

/// What every ObjectStore promises.
class ObjectStoreTest : public testing::TestWithParam<std::pair<const char*, Place (*)()>> {
 protected:
  ObjectStoreTest() : place_(GetParam().second()), store_(*place_.store) {}
  Place place_;
  ObjectStore& store_;
};

TEST_P(ObjectStoreTest, GivesBackWhatWasPut) {
  store_.put("train/000000.blk", as_bytes("some bytes"));
  store_.put("empty", {}, Durability::kDurable);
  EXPECT_EQ(as_text(store_.get("train/000000.blk")), "some bytes");
  EXPECT_EQ(store_.size("train/000000.blk"), 10U);
  EXPECT_TRUE(store_.exists("train/000000.blk"));
  EXPECT_EQ(store_.get("empty"), Bytes());
  EXPECT_EQ(store_.size("empty"), 0U);
}

TEST_P(ObjectStoreTest, ReplacesAnObject) {
  store_.put("a", as_bytes("a longer first"));
  store_.put("a", as_bytes("second"));
  EXPECT_EQ(as_text(store_.get("a")), "second");
}

TEST_P(ObjectStoreTest, ReadsARange) {
  store_.put("a", as_bytes("0123456789"));
  Bytes out(4);
  store_.get_range("a", 3, out);
  EXPECT_EQ(as_text(out), "3456");
  store_.get_range("a", 6, out);
  EXPECT_EQ(as_text(out), "6789");
  store_.get_range("a", 10, {});
}

TEST_P(ObjectStoreTest, RefusesARangeBeyondTheEnd) {
  store_.put("a", as_bytes("0123456789"));
  Bytes out(4);
  for (const std::uint64_t offset : {std::uint64_t{7}, std::uint64_t{11}, ~std::uint64_t{0}}) {
    const auto error = error_of([&] { store_.get_range("a", offset, out); });
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    EXPECT_THAT(error.what(), testing::HasSubstr("10 bytes"));
    EXPECT_NE(error.remedy(), "");
  }
}

TEST_P(ObjectStoreTest, RefusesAnObjectOverTheLimit) {
  store_.put("a", as_bytes("0123456789"));
  EXPECT_EQ(error_of([&] { std::ignore = store_.get("a", 9); }).kind(), ErrorKind::kTooLarge);
  EXPECT_EQ(store_.get("a", 10).size(), 10U);
}

TEST_P(ObjectStoreTest, NamesWhatIsNotThere) {
  Bytes out(1);
  for (const auto& body : std::initializer_list<std::function<void()>>{
           [&] { std::ignore = store_.get("train/nowhere"); }, [&] { store_.get_range("train/nowhere", 0, out); },
           [&] { std::ignore = store_.size("train/nowhere"); }}) {
    const auto error = error_of(body);
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), testing::HasSubstr("train/nowhere"));
  }
  EXPECT_FALSE(store_.exists("train/nowhere"));
}

TEST_P(ObjectStoreTest, ListsByPrefixInOrder) {
  EXPECT_THAT(store_.list(), testing::IsEmpty());
  for (const auto* name : {"train/b", "train/a", "test/x", "manifest.json", "trainer"}) {
    store_.put(name, as_bytes(name));
  }
  const auto names = [&](std::string_view prefix) {
    std::vector<std::string> result;
    for (const auto& object : store_.list(prefix)) result.push_back(object.name);
    return result;
  };
  EXPECT_THAT(names(""), testing::ElementsAre("manifest.json", "test/x", "train/a", "train/b", "trainer"));
  EXPECT_THAT(names("train"), testing::ElementsAre("train/a", "train/b", "trainer"));
  EXPECT_THAT(names("train/"), testing::ElementsAre("train/a", "train/b"));
  EXPECT_THAT(store_.list("test/"), testing::ElementsAre(ObjectInfo{.name = "test/x", .bytes = 6}));
  EXPECT_THAT(names("nothing"), testing::IsEmpty());
}

TEST_P(ObjectStoreTest, RemovesRepeatably) {
  store_.put("train/a", as_bytes("x"));
  store_.remove("train/a");
  store_.remove("train/a");
  store_.remove("never/there");
  EXPECT_FALSE(store_.exists("train/a"));
  EXPECT_THAT(store_.list(), testing::IsEmpty());
}

TEST_P(ObjectStoreTest, KeepsUnusualNames) {
  for (const std::string name : {"a b", "ü/é", "x%2e%2e", "a..b/c.", "-"}) {
    store_.put(name, as_bytes(name));
    EXPECT_EQ(as_text(store_.get(name)), name);
    EXPECT_EQ(store_.list(name).size(), 1U) << name;
  }
}

TEST_P(ObjectStoreTest, RefusesNamesThatLeadElsewhere) {
  for (const std::string& name :
       {std::string(), std::string(".."), std::string("../a"), std::string("a/../b"), std::string("/a"),
        std::string("a/"), std::string("a//b"), std::string("."), std::string("a/./b"), std::string(".hidden"),
        std::string("a\nb"), std::string("a\0b", 3), std::string(201, 'a'), std::string("\x7F")}) {
    EXPECT_FALSE(is_object_name(name));
    EXPECT_EQ(error_of([&] { store_.put(name, as_bytes("x")); }).kind(), ErrorKind::kUsage) << name;
    EXPECT_EQ(error_of([&] { std::ignore = store_.get(name); }).kind(), ErrorKind::kUsage) << name;
    EXPECT_EQ(error_of([&] { store_.remove(name); }).kind(), ErrorKind::kUsage) << name;
  }
  EXPECT_THAT(store_.list(), testing::IsEmpty());
}

TEST_P(ObjectStoreTest, ShowsReadersOldOrNewButNeverHalf) {
  const Bytes old_bytes(200000, std::byte{1});
  const Bytes new_bytes(300000, std::byte{2});
  store_.put("a", old_bytes);
  {
    const std::jthread writer([&] {
      for (int i = 0; i < 50; ++i) store_.put("a", i % 2 == 0 ? new_bytes : old_bytes);
    });
    for (int i = 0; i < 50; ++i) {
      const auto seen = store_.get("a");
      EXPECT_TRUE(seen == old_bytes || seen == new_bytes);
    }
  }
  EXPECT_THAT(store_.list(), testing::SizeIs(1));
}

Place directory_place() {
  auto directory = std::make_shared<TemporaryDirectory>();
  auto store = open_object_store((directory->path() / "set").string());
  return {.keep = std::move(directory), .store = std::move(store)};
}
Place s3_place() {
  auto& swift = Swift::shared();
  return {.keep = {},
          .store = open_object_store(fmt::format("s3://{}/sets/a", swift.make_bucket()), swift.environment())};
}
INSTANTIATE_TEST_SUITE_P(Stores, ObjectStoreTest,
                         testing::Values(std::pair<const char*, Place (*)()>("Directory", &directory_place),
                                         std::pair<const char*, Place (*)()>("S3", &s3_place)),
                         [](const auto& test) { return test.param.first; });

TEST(OpenObjectStore, TakesPathsAndFileUris) {
  const TemporaryDirectory directory;
  open_object_store(directory.path().string() + "/set/")->put("a/b", as_bytes("x"));
  const auto store = open_object_store("file://" + directory.path().string() + "/set");
  EXPECT_EQ(as_text(store->get("a/b")), "x");
  EXPECT_THAT(open_object_store(directory.path().string() + "/set/")->list("a/"), testing::SizeIs(1));
  EXPECT_EQ(store->uri(), directory.path().string() + "/set");
}

TEST(OpenObjectStore, CreatesNothingBeforeTheFirstPut) {
  const TemporaryDirectory directory;
  EXPECT_THAT(open_object_store((directory.path() / "set").string())->list(), testing::IsEmpty());
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(OpenObjectStore, RefusesByNameWhatIsNotBuilt) {
  const auto error = error_of([] { std::ignore = open_object_store("gs://bucket/set"); });
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error.what(), testing::HasSubstr("gs://bucket/set"));
  EXPECT_THAT(error.remedy(), testing::HasSubstr("directory"));
  EXPECT_EQ(error_of([] { std::ignore = open_object_store(""); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(error_of([] { std::ignore = open_object_store("file://host/set"); }).kind(), ErrorKind::kUsage);
}

TEST(DirectoryObjectStore, NamesTheFolderThatCannotBeCreated) {
  const TemporaryDirectory directory;
  write_file_atomically(directory.path() / "file", as_bytes("x"));
  DirectoryObjectStore store(directory.path() / "file" / "set");
  const auto error = error_of([&] { store.put("a", as_bytes("x")); });
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), testing::HasSubstr("file/set"));
}

TEST(DirectoryObjectStore, LeavesNothingWhenWritingIsCutOff) {
  const TemporaryDirectory directory;
  DirectoryObjectStore store(directory.path());
  store.put("a", as_bytes("old"));
  // A limit on the size of files stands for the full disk: write() fails in the middle.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto error = error_of([&] { store.put("a", Bytes(100000)); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);

  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_EQ(as_text(store.get("a")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()), 1);
}

TEST(DirectoryObjectStore, DoesNotListWhatIsNoObject) {
  const TemporaryDirectory directory;
  DirectoryObjectStore store(directory.path());
  store.put("a", as_bytes("x"));
  write_file_atomically(directory.path() / ".a.XyZ123", as_bytes("left by a crash"));
  fs::create_directories(directory.path() / "folder");
  EXPECT_THAT(store.list(), testing::SizeIs(1));
  EXPECT_FALSE(store.exists("folder"));
}

}  // namespace
}  // namespace virga
