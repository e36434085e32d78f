// Tables, plots and wrapped text.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/cli/output.h"
#include "virga/cli/plot.h"
#include "virga/cli/table.h"

namespace virga {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(TableTest, AlignsColumnsByWhatIsSeen) {
  Table table({{"NAME"}, {"ROWS", true}, {""}});
  table.add({"Zürich", "7", ""});
  table.add({"x", "1,000", "best"});
  EXPECT_EQ(table.text(),
            "NAME     ROWS\n"
            "Zürich      7\n"
            "x       1,000  best\n");
}

TEST(TableTest, ShowsNoControlCharacters) {
  Table table({{"NAME"}});
  table.add({"a\x1b[2Jb\n"});
  EXPECT_EQ(table.text(), "NAME\na?[2Jb?\n");
}

TEST(WrapTest, BreaksAtSpacesAndKeepsExamples) {
  EXPECT_EQ(wrap("one two three", 9), "one two\nthree");
  EXPECT_EQ(wrap("one two three", 11, 4), "one two\n    three");
  EXPECT_EQ(wrap("text\n  an example  that stays", 10), "text\n  an example  that stays");
  EXPECT_EQ(wrap("", 10), "");
  EXPECT_EQ(wrap("averyveryverylongword", 5), "averyveryverylongword");
}

TEST(PlotTest, DrawsEverySeriesBetweenItsExtremes) {
  const auto text = plot({{.name = "a", .mark = 'o', .values = {1.0, 0.5, std::nullopt}},
                          {.name = "b", .mark = '*', .values = {std::nullopt, 0.75, 0.5}}},
                         40, 3, "epoch", false);
  EXPECT_EQ(text,
            "        1 |o\n"
            "          |          *\n"
            "      0.5 |          o        *\n"
            "          +--------------------\n"
            "           1      epoch       3\n"
            "           o a   * b\n");
}

TEST(PlotTest, FitsIntoItsWidth) {
  Series series{.name = "loss", .values = {}};
  for (int i = 0; i < 1000; ++i) series.values.push_back(1.0 / (i + 1));
  const auto text = plot({series}, 60, 10, "epoch", false);
  EXPECT_THAT(text, Not(testing::ContainsRegex("[^\n]{61}")));
  EXPECT_THAT(plot({series}, 60, 10, "epoch", true), HasSubstr("│"));
}

TEST(PlotTest, SurvivesExtremeAndMissingValues) {
  constexpr double kHuge = std::numeric_limits<double>::max();
  EXPECT_EQ(plot({}, 60, 10, "epoch", false), "");
  EXPECT_EQ(plot({{.name = "a", .values = {1.0}}}, 60, 10, "epoch", false), "");
  EXPECT_NE(
      plot({{.name = "a", .values = {kHuge, -kHuge, std::numeric_limits<double>::infinity()}}}, 60, 10, "e", false),
      "");
  EXPECT_NE(plot({{.name = "a", .values = {0.0, 0.0}}}, 60, 10, "e", false), "");
  EXPECT_NE(plot({{.name = "a", .values = {2.0, 2.0}}}, 60, 10, "e", false), "");
}

}  // namespace
}  // namespace virga
