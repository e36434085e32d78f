#include "virga/data/csv_columns.h"

#include <cmath>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/hash.h"
#include "virga/data/csv_survey.h"
#include "virga/data/files_testing.h"
#include "virga/data/import.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = ColumnEncoding::Kind;

/// "name:kind ..." of the columns.
std::string columns_of(std::string_view text, const CsvOptions& options = {}) {
  constexpr std::string_view kKinds[] = {"ignored", "label", "weight", "numeric", "categorical", "hashed"};
  std::string columns;
  for (const auto& column : draft_csv(text, "file", options).encoding.columns) {
    columns +=
        (columns.empty() ? "" : " ") + column.name + ":" + std::string(kKinds[static_cast<std::size_t>(column.kind)]);
  }
  return columns;
}

TEST(CsvColumns, AreFoundByTheFirstRows) {
  EXPECT_EQ(columns_of("a,b,c,income\n1,x,,0\n2.5,y,,1\n?,3,NA,1\n"), "a:numeric b:categorical c:ignored income:label");
  EXPECT_EQ(columns_of("Label,b\n1,2\n"), "Label:label b:numeric");
  EXPECT_EQ(columns_of("a,Target,b\nx,1,2\n"), "a:categorical Target:label b:numeric");
  EXPECT_EQ(columns_of("\xEF\xBB\xBFy;a\n1;2,5\n"), "y:label a:categorical");
  EXPECT_EQ(columns_of("1,2\n3,4\n"), "1:numeric 2:label");
  EXPECT_EQ(columns_of("a,,c\n1,2,3\n"), "a:numeric 2:numeric c:label");
  // Without header: few values in the first column, many in the last one.
  std::string higgs;
  for (int i = 0; i < 200; ++i) higgs += fmt::format("{},{}.5,{}.25\n", i % 2, i, i);
  EXPECT_EQ(columns_of(higgs), "1:label 2:numeric 3:numeric");
  EXPECT_FALSE(draft_csv("a,yes\n1,no\n2,yes\n", "file", {.label = "2"}).encoding.columns.empty());
  EXPECT_TRUE(draft_csv("a,label\n1,no\n2,yes\n", "file", {}).label_is_word);
}

TEST(CsvColumns, AreWhatTheUserSays) {
  EXPECT_EQ(columns_of("a,b,c,d\n1,2,3,4\n", {.label = "b", .weight = "1", .categorical = {"c"}, .ignored = {"d"}}),
            "a:weight b:label c:categorical d:ignored");
  EXPECT_EQ(columns_of("a,b\n1,2\n", {.header = false}), "1:categorical 2:label");
  EXPECT_EQ(columns_of("1,2\n3,4\n", {.header = true}), "1:numeric 2:label");
  EXPECT_EQ(columns_of("a;b\n1;2\n", {.delimiter = ';'}), "a:numeric b:label");
  const auto refused = [](const CsvOptions& options) {
    return error_of([&] { columns_of("age,hours,label\n1,2,3\n", options); });
  };
  EXPECT_THAT(refused({.label = "ages"}), HasSubstr("usage: label: there is no column \"ages\" -> is \"age\" meant?"));
  EXPECT_THAT(refused({.weight = "4"}), HasSubstr("usage: weight: there is no column \"4\""));
  EXPECT_THAT(refused({.numeric = {"age"}, .ignored = {"1"}}),
              HasSubstr("usage: ignore: column \"age\" is something else already"));
  EXPECT_THAT(refused({.numeric = {"label"}}), HasSubstr("column \"label\" is something else already"));
  EXPECT_THAT(error_of([] { columns_of(""); }), HasSubstr("bad_data: file: there are no records in it"));
  EXPECT_THAT(error_of([] { columns_of("a,a\n1,2\n"); }), HasSubstr("bad_data: file: two columns are called \"a\""));
}

TEST(CsvColumns, KnowWhatIsMissing) {
  for (const auto* text : {"", "?", "NA", "n/a", "NaN", "nan", "null", "NULL"}) EXPECT_TRUE(is_missing(text)) << text;
  for (const auto* text : {"0", "none", "N", "-", "nano", "??"}) EXPECT_FALSE(is_missing(text)) << text;
  EXPECT_EQ(csv_number("1e3"), 1000.0F);
  EXPECT_TRUE(std::isnan(csv_number("NA").value_or(0)));
  EXPECT_FALSE(csv_number("inf"));
  EXPECT_FALSE(csv_number("12a"));
}

class CsvImportTest : public testing::Test {
 protected:
  ImportReport import(
      const std::string& text, const std::function<void(ImportOptions&)>& change = [](auto&) {}) {
    ImportOptions options;
    options.train = {directory_.write("data.csv", text)};
    options.to = directory_.path("set");
    options.validation_fraction = 0;
    options.overwrite = true;
    change(options);
    return import_set(options);
  }
  TestDirectory directory_;
};

TEST_F(CsvImportTest, MakesTheSameSetWithAnyNumberOfThreads) {
  std::string text = "x,color,y,label\n";
  for (int i = 0; i < 150'000; ++i) {
    text += fmt::format("{},c{},{},{}\n", i % 97 == 0 ? "" : fmt::format("{:.3f}", 0.001 * (i * 7919 % 10'007)),
                        i * 31 % 50, i * 13 % 1009, i % 3 == 0 ? "yes" : "no");
  }
  const auto one = import(text, [](auto& o) { o.threads = 1; });
  for (const unsigned threads : {2U, 7U}) {
    EXPECT_EQ(import(text, [&](auto& o) { o.threads = threads; }).manifest, one.manifest);
  }
  const auto& encoding = one.manifest.encoding;
  EXPECT_EQ(one.label_column, "label");
  EXPECT_EQ(one.label_reason, "by its name");
  EXPECT_EQ(encoding.features, 2 + 51 + 1U);  // x and "x is missing", 50 colours and "unseen", y
  EXPECT_THAT(encoding.classes, ElementsAre("no", "yes"));
  // Against sums made the obvious way.
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 150'000; ++i) sum += i * 13 % 1009;
  for (int i = 0; i < 150'000; ++i) squares += std::pow(i * 13 % 1009 - sum / 150'000, 2);
  EXPECT_NEAR(encoding.scale_offset.at(53), sum / 150'000, 1e-4);
  EXPECT_NEAR(encoding.scale_factor.at(53), 1 / std::sqrt(squares / 150'000), 1e-8);
  EXPECT_EQ(encoding.scale_factor.at(1), 1);
  EXPECT_EQ(encoding.scale_offset.at(10), 0);
}

TEST_F(CsvImportTest, HashesAColumnOfManyLevels) {
  std::string text = "id,label\n";
  for (int i = 0; i < 12'000; ++i) text += fmt::format("user{},{}\n", i, i % 2);
  const auto report = import(text);
  ASSERT_EQ(report.hashed_columns.size(), 1U);
  const auto& column = report.manifest.encoding.columns.at(0);
  EXPECT_EQ(column.kind, Kind::kHashed);
  EXPECT_EQ(column.features, 32'768U);
  EXPECT_THAT(column.levels, IsEmpty());
  EXPECT_NEAR(static_cast<double>(report.hashed_columns[0].levels), 12'000, 20);
  // n balls in m bins: the share without a bin of its own is 1 - m / n (1 - e^(-n/m)).
  EXPECT_NEAR(report.hashed_columns[0].collision_rate, 1 - 32768.0 / 12'000 * (1 - std::exp(-12'000 / 32768.0)), 0.01);
  const auto store = open_object_store(directory_.path("set"));
  const auto groups = read_groups(*store, report.manifest, report.manifest.train);
  const auto wanted = murmur3_x86_32("id=user77") & 32'767U;
  EXPECT_TRUE(std::ranges::any_of(groups, [&](const RowGroup& g) { return std::ranges::count(g.keys, wanted) > 0; }));
  // At the limit all levels have features of their own.
  text = "id,label\n";
  for (int i = 0; i < 10'000; ++i) text += fmt::format("user{},{}\n", i, i % 2);
  EXPECT_EQ(import(text).manifest.encoding.features, 10'001U);
}

TEST_F(CsvImportTest, LearnsFromTheTrainingSplitOnly) {
  std::string text = "x,level,label\n";
  for (int i = 0; i < 2000; ++i) text += fmt::format("{},level{},{}\n", i, i, i % 2);
  const auto report = import(text, [](auto& o) { o.validation_fraction = 0.5; });
  const auto& manifest = report.manifest;
  EXPECT_EQ(manifest.encoding.columns.at(1).levels.size(), manifest.train.rows);
  EXPECT_EQ(manifest.train.rows + manifest.validation.rows, 2000U);
}

TEST_F(CsvImportTest, TakesWeights) {
  const auto report = import("w,x,label\n0.5,1,0\n2,2,1\n1,3,1\n", [](auto& o) { o.csv.weight = "w"; });
  EXPECT_EQ(report.manifest.train.weight, 3.5);
  EXPECT_THAT(report.manifest.train.class_weight_sums, ElementsAre(0.5, 3));
  EXPECT_THAT(error_of([&] {
                import("w,x,label\n-1,1,0\n2,2,1\n", [](auto& o) { o.csv.weight = "w"; });
}),
              HasSubstr("data.csv:2:1: column \"w\": no weight (a number from 0 on): \"-1\""));
}

TEST_F(CsvImportTest, ReportsConstantColumns) {
  const auto report = import("a,b,c,label\n1,5,x,0\n2,5,x,1\n");
  EXPECT_THAT(report.constant_columns, ElementsAre("b", "c"));
  for (const auto factor : report.manifest.encoding.scale_factor) EXPECT_TRUE(std::isfinite(factor));
}

TEST_F(CsvImportTest, SaysWhereAndWhyALineIsBad) {
  std::string head = "a,b,label\n";
  for (int i = 0; i < 12'000; ++i) head += "1,x,0\n2,y,1\n";
  const auto refused = [&](const std::string& line) { return error_of([&] { import(head + line + "\n"); }); };
  EXPECT_THAT(refused("1,x"), HasSubstr("data.csv:24002:1: 2 fields, but there are 3 columns"));
  EXPECT_THAT(refused("1x,x,0"),
              HasSubstr("data.csv:24002:1: column \"a\" is numeric, but the value is not a number: \"1x\""));
  EXPECT_THAT(refused("1e40,x,0"), HasSubstr("but the value is too large: \"1e40\""));
  EXPECT_THAT(refused("1,x,"), HasSubstr("data.csv:24002:5: the label is missing: \"\""));
  EXPECT_THAT(refused("1,x,yes"), HasSubstr("data.csv:24002:5: the label is not a number: \"yes\""));
  EXPECT_THAT(refused("1,\"x\"y,1"), HasSubstr("data.csv:24002:6: something stands behind a closing quote"));
  EXPECT_EQ(refused("1,z,1"), "nothing");
  const auto report = import(head + "1,x\n\n3,x,0\n", [](auto& o) { o.skip_bad = 1; });
  EXPECT_EQ(report.manifest.skipped_rows, 1U);
  EXPECT_EQ(report.manifest.train.rows, 24'001U);
}

TEST_F(CsvImportTest, JoinsFilesThatHaveTheSameColumns) {
  const auto second = directory_.write("b.csv", "label,x\n1,7\n");
  const auto join = [&](auto& o) { o.train.push_back(second); };
  EXPECT_EQ(import("x,label\n1,0\n2,1\n", join).manifest.train.rows, 3U);
  EXPECT_THAT(error_of([&] { import("x,z,label\n1,1,0\n2,2,1\n", join); }),
              HasSubstr("b.csv: there is no column \"z\" in its header"));
}

}  // namespace
}  // namespace virga
