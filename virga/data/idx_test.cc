#include "virga/data/idx.h"

#include <gmock/gmock.h>

#include "virga/base/hash.h"
#include "virga/data/files_testing.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string idx(const std::vector<std::uint32_t>& shape, std::string_view elements, char type = 8) {
  std::string file = {0, 0, type, static_cast<char>(shape.size())};
  for (const auto dimension : shape) file += big_endian(dimension);
  return file + std::string(elements);
}

/// Three images of 2 x 3 with the labels 7, 0, 7.
class IdxTest : public testing::Test {
 protected:
  IdxTest() {
    std::string pixels;
    for (int i = 0; i < 18; ++i) pixels += static_cast<char>(i * 15);
    pixels_ = pixels;
    images_ = directory_.write("a-images-idx3-ubyte", idx({3, 2, 3}, pixels));
    directory_.write("a-labels-idx1-ubyte", idx({3}, std::string("\x07\x00\x07", 3)));
    encoding_ = {.format = SourceFormat::kIdx, .dense = true};
  }
  void survey() {
    LabelSurvey labels;
    survey_idx({images_}, encoding_, labels);
    labels.decide(std::nullopt, encoding_);
  }
  /// Labels and values of all rows.
  std::pair<std::vector<double>, std::vector<float>> rows(const RowSourceOptions& options = {}) {
    const auto source = open_idx_rows({images_}, encoding_, options);
    ParsedRows parsed;
    std::pair<std::vector<double>, std::vector<float>> all;
    while (source->next(parsed)) {
      for (const auto& row : parsed.rows) {
        EXPECT_EQ(row.item, all.first.size());
        all.first.push_back(row.label);
        all.second.insert(all.second.end(), parsed.values.begin() + row.begin,
                          parsed.values.begin() + row.begin + row.count);
      }
      for (const auto& bad : parsed.first_bad_lines) ADD_FAILURE() << bad.reason;
    }
    sources_ = source->sources();
    return all;
  }

  TestDirectory directory_;
  std::string images_;
  std::string pixels_;
  Encoding encoding_;
  std::vector<SourceInfo> sources_;
};

TEST_F(IdxTest, ReadsImagesAndLabels) {
  survey();
  EXPECT_THAT(encoding_.image_shape, ElementsAre(2U, 3U));
  EXPECT_EQ(encoding_.features, 6U);
  EXPECT_THAT(encoding_.classes, ElementsAre("0", "7"));
  const auto [labels, values] = rows();
  EXPECT_THAT(labels, ElementsAre(1, 0, 1));
  ASSERT_EQ(values.size(), 18U);
  for (std::size_t i = 0; i < 18; ++i) EXPECT_EQ(values[i], static_cast<float>(i * 15));
  ASSERT_EQ(sources_.size(), 2U);
  EXPECT_EQ(sources_[0].crc32c, crc32c(read_file(images_)));
}

TEST_F(IdxTest, ReadsPackedFilesOfSeveralDimensions) {
  images_ = directory_.write("b-images-idx4-ubyte.gz", gzip(idx({3, 1, 2, 3}, pixels_)));
  directory_.write("b-labels-idx4-ubyte.gz", gzip(idx({3}, std::string("\x07\x00\x07", 3))));
  survey();
  EXPECT_THAT(encoding_.image_shape, ElementsAre(1U, 2U, 3U));
  EXPECT_EQ(rows().second.size(), 18U);
}

TEST_F(IdxTest, DoesWithoutLabelsWhereItMay) {
  survey();
  std::filesystem::remove(directory_.path("a-labels-idx1-ubyte"));
  EXPECT_THAT(error_of([&] { static_cast<void>(rows()); }), HasSubstr("not_found: cannot read"));
  const auto labels = rows({.label_required = false}).first;
  EXPECT_EQ(labels.size(), 3U);
  EXPECT_NE(labels[0], labels[0]);
}

TEST_F(IdxTest, RefusesFilesThatDoNotFit) {
  survey();
  const auto refused = [&](const std::string& images, const std::string& labels) {
    directory_.write("a-images-idx3-ubyte", images);
    directory_.write("a-labels-idx1-ubyte", labels);
    return error_of([&] { static_cast<void>(rows()); });
  };
  const auto images = idx({3, 2, 3}, pixels_);
  const auto labels = idx({3}, std::string("\x07\x00\x07", 3));
  EXPECT_EQ(refused(images, labels), "nothing");
  EXPECT_THAT(refused(images.substr(0, 30), labels), HasSubstr("bad_data: " + images_ + ": it ends before the number"));
  EXPECT_THAT(refused(images + "x", labels), HasSubstr("it goes on behind the number of items"));
  EXPECT_THAT(refused(images, labels + "x"), HasSubstr("it goes on behind the number of items"));
  EXPECT_THAT(refused(images, idx({2}, "\x01\x02")), HasSubstr("it has 3 images, but "));
  EXPECT_THAT(refused(images, images), HasSubstr("these are no labels"));
  EXPECT_THAT(refused(idx({3, 3, 2}, pixels_), labels), HasSubstr("its images are 3 x 2, but those of this set 2 x 3"));
  EXPECT_THAT(refused(images.substr(0, 9), labels), HasSubstr("it ends within its header"));
  EXPECT_THAT(refused("hello world", labels), HasSubstr("this is not an IDX file"));
  EXPECT_THAT(refused(idx({3, 2, 3}, pixels_, 13), labels), HasSubstr("unsupported: "));
  EXPECT_THAT(refused(idx({3, 0x80000000U, 0x80000000U}, ""), labels), HasSubstr("or more than 16777216"));
  // A hostile number of images takes no memory.
  EXPECT_THAT(refused(idx({0xFFFFFFFFU, 2, 3}, pixels_), idx({0xFFFFFFFFU}, "")),
              HasSubstr("it ends before the number"));
}

TEST_F(IdxTest, FindsTheFilesOfADirectory) {
  EXPECT_THAT(error_of([&] { static_cast<void>(find_idx_files(directory_.path("."))); }),
              HasSubstr("not_found: " + directory_.path(".")));
  directory_.write("train-images-idx3-ubyte.gz", "");
  directory_.write("t10k-images-idx3-ubyte.gz", "");
  const auto found = find_idx_files(directory_.path("."));
  EXPECT_THAT(found.train, HasSubstr("train-images-idx3-ubyte.gz"));
  EXPECT_THAT(found.test.value_or(""), HasSubstr("t10k-images-idx3-ubyte.gz"));
  EXPECT_EQ(idx_labels_of("/x/images/train-images-idx3-ubyte.gz"), "/x/images/train-labels-idx1-ubyte.gz");
  EXPECT_THAT(error_of([] { static_cast<void>(idx_labels_of("/images/pictures")); }),
              HasSubstr("its name does not tell the file of its labels"));
}

}  // namespace
}  // namespace virga
