#include "virga/data/manifest.h"

#include <filesystem>
#include <functional>
#include <limits>
#include <tuple>

#include <unistd.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "virga/base/hash.h"

namespace virga {
namespace {

using nlohmann::json;

Manifest small_manifest() {
  Manifest manifest;
  manifest.seed = 0xFFFFFFFFFFFFFFFF;
  manifest.rows_per_group = 10;
  manifest.encoding = {.features = 3, .classes = {"-1", "+1"}, .feature_names = {"a", "b", "\xFF"}};
  manifest.train = {.rows = 45,
                    .nonzeros = 90,
                    .weight = 45.5,
                    .class_weight_sums = {20.25, 25.25},
                    .label_mean = 0.1,
                    .label_variance = 0.2};
  manifest.train.blocks = {
      {.name = "train/000000.blk", .bytes = 300, .crc32c = 7, .rows = 20, .group_bytes = {100, 200}},
      {.name = "train/000001.blk", .bytes = 303, .crc32c = 8, .rows = 25, .group_bytes = {100, 101, 102}}};
  manifest.test = {.rows = 1, .nonzeros = 1, .weight = 1, .class_weight_sums = {1, 0}};
  manifest.test.blocks = {{.name = "test/000000.blk", .bytes = 50, .rows = 1, .group_bytes = {50}}};
  manifest.sources = {{.path = "/data/\xE4.csv", .bytes = 12345, .crc32c = 99}};
  manifest.skipped_rows = 2;
  manifest.created_by = "virga 0.1.0";
  manifest.key_quantiles = {0, 1, 3};
  return manifest;
}

class ManifestTest : public testing::Test {
 protected:
  ManifestTest()
      : folder_(std::filesystem::path(testing::TempDir()) / ("virga_manifest_test." + std::to_string(::getpid()))),
        store_(open_object_store(folder_.string())) {}
  ~ManifestTest() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_;
  const std::unique_ptr<ObjectStore> store_;
};

TEST_F(ManifestTest, IsReadAsItWasWritten) {
  write_manifest(*store_, small_manifest());
  EXPECT_EQ(read_manifest(*store_), small_manifest());
  EXPECT_THAT(store_->list(), testing::SizeIs(2));
}

TEST_F(ManifestTest, NeedsNoArraysWhereThereAreNone) {
  auto manifest = small_manifest();
  write_manifest(*store_, manifest);
  manifest.encoding.feature_names.clear();
  write_manifest(*store_, manifest);
  EXPECT_EQ(read_manifest(*store_), manifest);
  EXPECT_FALSE(store_->exists("encoding.bin"));
}

TEST_F(ManifestTest, NamesAPlaceWithoutASet) {
  try {
    std::ignore = read_manifest(*store_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), testing::HasSubstr(folder_.string()));
    EXPECT_THAT(error.remedy(), testing::HasSubstr("virga import"));
  }
}

TEST_F(ManifestTest, RefusesTheArraysOfAnotherSet) {
  auto other = small_manifest();
  other.encoding.feature_names[0] = "other";
  write_manifest(*store_, small_manifest());
  store_->put("encoding.bin", encoding_arrays(other.encoding));
  EXPECT_THROW(std::ignore = read_manifest(*store_), Error);
  store_->remove("encoding.bin");
  EXPECT_THROW(std::ignore = read_manifest(*store_), Error);
}

TEST_F(ManifestTest, IsNotWrittenWhenItDoesNotAddUp) {
  auto manifest = small_manifest();
  manifest.train.rows = 44;
  EXPECT_THROW(write_manifest(*store_, manifest), Error);
  EXPECT_THAT(store_->list(), testing::IsEmpty());
}

TEST(ManifestChecksum, StandsInTheFileAndNamesTheData) {
  const auto manifest = small_manifest();
  EXPECT_EQ(json::parse(manifest_text(manifest)).at("checksum"), manifest_checksum(manifest));
  auto other = manifest;
  other.train.blocks[0].crc32c ^= 1;
  EXPECT_NE(manifest_checksum(other), manifest_checksum(manifest));
  other = manifest;
  other.encoding.feature_names[0] = "x";
  EXPECT_NE(manifest_checksum(other), manifest_checksum(manifest));
}

/// docs/formats/manifest.md describes this text; a change of the format needs a new version.
TEST(ManifestText, IsTheTextOfVersionOne) {
  Manifest manifest;
  manifest.rows_per_group = 10;
  manifest.encoding = {.features = 3, .classes = {"-1", "+1"}};
  manifest.train = {
      .rows = 5, .nonzeros = 9, .weight = 5, .class_weight_sums = {2, 3}, .label_mean = 0.5, .label_variance = 0.25};
  manifest.train.blocks = {{.name = "train/000000.blk", .bytes = 60, .crc32c = 7, .rows = 5, .group_bytes = {60}}};
  const std::string_view expected =
      R"({"arrays":{"bytes":0,"crc32c":0},"checksum":1407235545,"created_by":"",)"
      R"("encoding":{"classes":["-1","+1"],"columns":[],"delimiter":",","dense":false,"features":3,"format":"libsvm",)"
      R"("header":true,"image_shape":[],"missing":"indicator","one_based":true,"scale":"none","task":"binary"},)"
      R"("format":"virga-data-set","key_quantiles":[],"rows_per_group":10,"seed":0,"skipped_rows":0,"sources":[],)"
      R"("test":{"blocks":[],"class_weight_sums":[],"label_mean":0.0,"label_variance":0.0,"nonzeros":0,"rows":0,"weight":0.0},)"
      R"("train":{"blocks":[{"bytes":60,"crc32c":7,"group_bytes":[60],"name":"train/000000.blk","rows":5}],)"
      R"("class_weight_sums":[2.0,3.0],"label_mean":0.5,"label_variance":0.25,"nonzeros":9,"rows":5,"weight":5.0},)"
      R"("validation":{"blocks":[],"class_weight_sums":[],"label_mean":0.0,"label_variance":0.0,"nonzeros":0,"rows":0,"weight":0.0},)"
      R"("version":1})"
      "\n";
  EXPECT_EQ(manifest_text(manifest), expected);
}

TEST(ParseManifest, AcceptsTheSameDocumentInAnotherLayout) {
  const auto manifest = small_manifest();
  const auto text = json::parse(manifest_text(manifest)).dump(2);
  EXPECT_EQ(parse_manifest(text, encoding_arrays(manifest.encoding)), manifest);
}

TEST(ParseManifest, RefusesEveryChangedCharacterAndEveryCut) {
  const auto manifest = small_manifest();
  const auto text = manifest_text(manifest);
  const auto arrays = encoding_arrays(manifest.encoding);
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    EXPECT_THROW(std::ignore = parse_manifest(std::string_view(text).substr(0, i), arrays), Error);
    auto damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_THROW(std::ignore = parse_manifest(damaged, arrays), Error) << i;
  }
}

TEST(ParseManifest, RefusesDepthWithoutEnd) {
  EXPECT_THROW(std::ignore = parse_manifest(std::string(1000000, '['), {}), Error);
}

TEST(ParseManifest, SaysThatAVersionIsNotKnown) {
  auto document = json::parse(manifest_text(small_manifest()));
  document["version"] = 2;
  try {
    std::ignore = parse_manifest(document.dump(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("version 2"));
  }
}

/// The reason why a manifest, changed and with its checksum made right again, is refused; empty if it is not.
std::string reason_after(const std::function<void(Manifest&)>& change) {
  auto manifest = small_manifest();
  change(manifest);
  try {
    std::ignore = parse_manifest(manifest_text(manifest), encoding_arrays(manifest.encoding));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    return error.what();
  }
  return "";
}

TEST(ParseManifest, RefusesWhatDoesNotAddUp) {
  using testing::HasSubstr;
  EXPECT_EQ(reason_after([](auto&) {}), "");
  EXPECT_THAT(reason_after([](auto& m) { m.rows_per_group = 0; }), HasSubstr("rows"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.rows = 46; }), HasSubstr("rows"));
  EXPECT_THAT(reason_after([](auto& m) { std::swap(m.train.blocks[0], m.train.blocks[1]); }), HasSubstr("rows"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.blocks[0].rows = 0; }), HasSubstr("rows"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.blocks[0].group_bytes.push_back(0); }), HasSubstr("groups"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.blocks[0].bytes = 301; }), HasSubstr("groups"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.blocks[0].name = "../../etc/passwd"; }), HasSubstr("name"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.class_weight_sums.push_back(0); }), HasSubstr("classes"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.class_weight_sums[0] = -1; }), HasSubstr("negative"));
  EXPECT_THAT(reason_after([](auto& m) { m.train.weight = std::numeric_limits<double>::infinity(); }),
              HasSubstr("weight"));
  EXPECT_THAT(reason_after([](auto& m) { m.key_quantiles = {2, 1}; }), HasSubstr("quantiles"));
  EXPECT_THAT(reason_after([](auto& m) { m.key_quantiles = {4}; }), HasSubstr("quantiles"));
  EXPECT_THAT(reason_after([](auto& m) { m.encoding.classes.pop_back(); }), HasSubstr("classes"));
}

}  // namespace
}  // namespace virga
