#include "virga/data/raw_reader.h"

#include <cmath>

#include <fcntl.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/data/files_testing.h"
#include "virga/data/import.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RawReaderTest : public testing::Test {
 protected:
  /// The encoding that an import of `text` finds.
  Encoding encoding_of(
      const std::string& text, const std::function<void(ImportOptions&)>& change = [](auto&) {}) {
    ImportOptions options;
    options.train = {directory_.write("train", text)};
    options.to = directory_.path("set");
    options.validation_fraction = 0;
    options.overwrite = true;
    change(options);
    return import_set(options).manifest.encoding;
  }
  /// All rows as "feature:value ..." or dense values, and their labels.
  struct Read {
    std::vector<std::vector<std::pair<std::uint32_t, float>>> rows;
    std::vector<float> labels;
    std::vector<std::uint64_t> lines;
    std::uint64_t unseen = 0;
  };
  Read read(const std::vector<std::string>& files, const Encoding& encoding, const RawReaderOptions& options = {}) {
    RawReader reader(files, encoding, options);
    Read all;
    while (const auto group = reader.next()) {
      EXPECT_LE(group->rows, options.rows_per_group);
      for (std::uint32_t row = 0; row < group->rows; ++row) {
        auto& entries = all.rows.emplace_back();
        for (std::uint32_t i = 0; group->dense && i < group->columns; ++i) {
          entries.emplace_back(i, group->matrix[row * group->columns + i]);
        }
        for (auto i = group->dense ? 0 : group->row_begin[row]; !group->dense && i < group->row_begin[row + 1]; ++i) {
          entries.emplace_back(group->keys[group->index(i)], group->values.empty() ? 1 : group->values[i]);
        }
        all.labels.push_back(group->labels[row]);
      }
      all.lines.insert(all.lines.end(), reader.lines().begin(), reader.lines().end());
    }
    EXPECT_EQ(reader.rows(), all.rows.size());
    all.unseen = reader.unseen();
    return all;
  }

  TestDirectory directory_;
};

using Row = std::vector<std::pair<std::uint32_t, float>>;

TEST_F(RawReaderTest, ScalesRowsAndKeepsTheirOrder) {
  const auto encoding = encoding_of("-1 1:4 2:1\n+1 2:0.5 3:1\n");
  const auto all =
      read({directory_.write("a", "# x\n+1 1:2\n2:1 9:3\n\n-1 3:1 2:1\n7"), directory_.write("b", "5 1:1\n")}, encoding,
           {.rows_per_group = 2});
  EXPECT_THAT(all.rows, ElementsAre(Row{{0, 0.5F}}, Row{{1, 1}}, Row{{1, 1}, {2, 1}}, Row{}, Row{{0, 0.25F}}));
  EXPECT_THAT(all.labels, ElementsAre(1, testing::IsNan(), 0, testing::IsNan(), testing::IsNan()));
  EXPECT_THAT(all.lines, ElementsAre(2U, 3U, 5U, 6U, 7U));
  EXPECT_EQ(all.unseen, 1U);
}

TEST_F(RawReaderTest, WantsLabelsWhereTheyAreRequired) {
  const auto encoding = encoding_of("-1 1:4 2:1\n+1 2:0.5 3:1\n");
  const auto file = directory_.write("a", "+1 1:2\n2:1\n5 1:1\n");
  EXPECT_THAT(error_of([&] { read({file}, encoding, {.label_required = true}); }),
              HasSubstr("a:2:1: the label is missing"));
  const auto all = read({file}, encoding, {.label_required = true, .skip_bad = 2});
  EXPECT_THAT(all.labels, ElementsAre(1));
  EXPECT_THAT(error_of([&] { read({file}, encoding, {.label_required = true, .skip_bad = 1}); }),
              HasSubstr("there are more than 1 bad lines; the first: "));
}

TEST_F(RawReaderTest, ReadsTheStandardInput) {
  const auto encoding = encoding_of("-1 1:1\n+1 2:1\n");
  const auto file = directory_.write("a", gzip("2:1\n1:1 2:1\n"));
  const int before = ::dup(STDIN_FILENO);
  const int input = ::open(file.c_str(), O_RDONLY);
  ASSERT_GE(::dup2(input, STDIN_FILENO), 0);
  const auto all = read({"-"}, encoding);
  ::dup2(before, STDIN_FILENO);
  ::close(input);
  ::close(before);
  EXPECT_THAT(all.rows, ElementsAre(Row{{1, 1}}, Row{{0, 1}, {1, 1}}));
}

constexpr const char* kAdult =
    "age,work,hours,income\n"
    "20,state,40,<=50K\n"
    "40,private,,>50K\n"
    "60,private,20,>50K\n"
    "?,self,60,<=50K\n";

TEST_F(RawReaderTest, EncodesColumnsOfACsvFile) {
  const auto encoding = encoding_of(kAdult, [](auto& o) { o.scale = ScaleKind::kNone; });
  // age, age is missing, work: private, self, state, unseen; hours, hours is missing
  ASSERT_EQ(encoding.features, 8U);
  EXPECT_FALSE(encoding.dense);
  EXPECT_THAT(encoding.classes, ElementsAre("<=50K", ">50K"));
  EXPECT_EQ(encoding.task, Task::kBinary);
  const auto all = read({directory_.write("train", kAdult)}, encoding);
  EXPECT_THAT(all.labels, ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(all.rows, ElementsAre(Row{{0, 20}, {4, 1}, {6, 40}}, Row{{0, 40}, {2, 1}, {6, 40}, {7, 1}},
                                    Row{{0, 60}, {2, 1}, {6, 20}}, Row{{0, 40}, {1, 1}, {3, 1}, {6, 60}}));
  // Other orders of columns, further columns, without label; an unseen level.
  const auto file = directory_.write("b", "extra,hours,work,age\nx,50,farmer,30\n");
  const auto other = read({file}, encoding);
  EXPECT_THAT(other.rows, ElementsAre(Row{{0, 30}, {5, 1}, {6, 50}}));
  EXPECT_EQ(other.unseen, 1U);
  EXPECT_THAT(error_of([&] { read({file}, encoding, {.label_required = true}); }),
              HasSubstr("b: there is no column \"income\" in its header -> it needs the columns"));
  EXPECT_THAT(error_of([&] { read({directory_.write("c", "work,hours\na,1\n")}, encoding); }),
              HasSubstr("there is no column \"age\" in its header"));
}

TEST_F(RawReaderTest, StandardisesDenseRowsByTheTrainingData) {
  const auto encoding = encoding_of("x,y,label\n1,7,0\n3,7,1\n5,7,1\n");
  EXPECT_TRUE(encoding.dense);
  const auto all = read({directory_.write("a", "x,y\n3,7\n5,9\n")}, encoding);
  const auto scaled = static_cast<float>(2 / std::sqrt(8.0 / 3));
  // A column that is constant in the training data is 0 everywhere.
  EXPECT_THAT(all.rows, ElementsAre(Row{{0, 0}, {1, 0}}, Row{{0, scaled}, {1, 0}}));
}

TEST_F(RawReaderTest, FollowsThePolicyForMissingValues) {
  const std::string text = "x,z,label\n1,1,0\n,2,1\n5,3,1\n";
  const auto values = [&](MissingPolicy policy) {
    const auto encoding = encoding_of(text, [&](auto& o) {
      o.csv.missing = policy;
      o.scale = ScaleKind::kNone;
    });
    return read({directory_.write("train", text)}, encoding).rows.at(1);
  };
  EXPECT_EQ(values(MissingPolicy::kIndicator), (Row{{0, 3}, {1, 1}, {2, 2}}));
  EXPECT_EQ(values(MissingPolicy::kMean), (Row{{0, 3}, {1, 2}}));
  EXPECT_EQ(values(MissingPolicy::kZero), (Row{{0, 0}, {1, 2}}));
  EXPECT_THAT(error_of([&] { values(MissingPolicy::kError); }),
              HasSubstr("train:3:1: column \"x\" is numeric, but the value is missing: \"\""));
}

TEST_F(RawReaderTest, ReadsFilesWithoutHeaderWithAndWithoutLabel) {
  const auto encoding = encoding_of("1.5,2,0\n2.5,4,1\n3.5,6,1\n", [](auto& o) { o.scale = ScaleKind::kMaxAbs; });
  EXPECT_FALSE(encoding.header);
  EXPECT_EQ(read({directory_.write("a", "3.5,3,1\n")}, encoding).rows, (std::vector<Row>{{{0, 1}, {1, 0.5F}}}));
  EXPECT_EQ(read({directory_.write("a", "3.5,3\n")}, encoding).rows, (std::vector<Row>{{{0, 1}, {1, 0.5F}}}));
  EXPECT_THAT(error_of([&] { read({directory_.write("a", "3.5\n")}, encoding); }),
              HasSubstr("a:1:1: 1 field, but there are 3 columns"));
}

}  // namespace
}  // namespace virga
