// Tables, plots and wrapped text.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/cli/curve_plots.h"
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

TEST(PlotTest, DrawsOverAnAxisWithDistances) {
  const auto text = plot_over({{.name = "loss", .mark = 'o', .values = {1.0, 0.75, std::nullopt, 0.5}}},
                              {2.0, 3.0, 5.0, 6.0}, 52, 3, "dollars", "$2", "$6", false);
  EXPECT_EQ(text,
            "        1 |o\n"
            "          |          o\n"
            "      0.5 |                                       o\n"
            "          +----------------------------------------\n"
            "           $2              dollars               $6\n"
            "           o loss\n");
  EXPECT_EQ(plot_over({{.name = "loss", .values = {1.0}}}, {1.0}, 52, 3, "s", "1", "1", false), "");
  EXPECT_NE(plot_over({{.name = "loss", .values = {1.0, 2.0}}}, {1.0, 1.0}, 52, 3, "s", "1", "1", false), "");
}

TEST(CurvePlotsTest, DrawOverTimeAndDollars) {
  const std::vector<CurvePoint> curve = {
      {{.epoch = 1, .train_loss = 0.5, .validation_loss = 0.6, .seconds = 1.5}, Usd::of(0.0002)},
      {{.epoch = 2, .train_loss = 0.4, .validation_loss = 0.5, .seconds = 3}, Usd::of(0.0031)}};
  const auto text = curve_plots(curve, 60, 4, false);
  EXPECT_THAT(text, HasSubstr("1.50 s      time of training      3.00 s\n"));
  EXPECT_THAT(text, HasSubstr("$0.000200        dollars        $0.00310\n"));
  EXPECT_THAT(text, HasSubstr("o training loss   * validation loss\n"));
  EXPECT_EQ(curve_plots({curve[0]}, 60, 4, false), "");
  EXPECT_THAT(curve_plots({{curve[0].entry, Usd()}, {curve[1].entry, Usd()}}, 60, 4, false), Not(HasSubstr("dollars")));
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
