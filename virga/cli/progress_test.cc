#include "virga/cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace virga {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;

class ProgressTest : public testing::Test {
 protected:
  [[nodiscard]] ProgressDisplay::Options options(ProgressMode mode) {
    return {.mode = mode,
            .width = 80,
            .write = [this](std::string_view text) { written_.emplace_back(text); },
            .now = [this] { return now_; }};
  }
  std::vector<std::string> written_;
  std::chrono::steady_clock::time_point now_{};
};

TEST_F(ProgressTest, LineShowsPartRateAndTimeLeft) {
  EXPECT_EQ(progress_line({.phase = "import", .done = 50e6, .total = 200e6, .unit = "bytes"}, 2, 100, true),
            "import  [######..................]   25%  50.0 of 200.0 MB  25.0 MB/s  6.00 s left");
  EXPECT_EQ(
      progress_line({.phase = "train", .done = 2, .total = 20, .unit = "epochs", .detail = "loss 0.3"}, 1, 100, false),
      "train   10%  2 of 20 epochs  9.00 s left  loss 0.3");
  EXPECT_EQ(progress_line({.phase = "read", .done = 1500, .unit = "rows"}, 1, 100, true),
            "read  1,500 rows  1,500 rows/s");
}

TEST_F(ProgressTest, BarIsCutToTheTerminal) {
  EXPECT_THAT(progress_line({.phase = std::string(200, 'x'), .done = 1, .total = 2, .unit = "rows"}, 1, 40, true),
              SizeIs(40));
}

TEST_F(ProgressTest, BarIsRedrawnAtMostTenTimesASecondAndAtTheEnd) {
  ProgressDisplay display(options(ProgressMode::kBar));
  for (int i = 0; i <= 1000; ++i, now_ += 1ms) {
    display.report({.phase = "train", .done = static_cast<double>(i), .total = 1000, .unit = "rows"});
  }
  EXPECT_THAT(written_, SizeIs(testing::AllOf(testing::Ge(10), testing::Le(12))));
  EXPECT_THAT(written_.back(), HasSubstr("100%"));
}

TEST_F(ProgressTest, BarMakesRoomForLinesAndLeavesNothing) {
  {
    ProgressDisplay display(options(ProgressMode::kBar));
    display.report({.phase = "train", .done = 1, .total = 2, .unit = "rows"});
    display.milestone("epoch 1", "epoch", {});
    display.report({.phase = "train", .done = 2, .total = 2, .unit = "rows"});
  }
  EXPECT_THAT(written_, testing::ElementsAre(HasSubstr("50%"), "\r\x1b[K", "epoch 1\n", HasSubstr("100%"), "\r\x1b[K"));
}

TEST_F(ProgressTest, LineOfANarrowTerminalLosesTheAmountsBeforeTheTimeLeft) {
  const Progress progress{.phase = "train", .done = 50'000, .total = 200'000, .unit = "rows"};
  EXPECT_EQ(progress_line(progress, 1, 60, true), "train  [##........]   25%  50,000 rows/s  3.00 s left");
  EXPECT_THAT(progress_line(progress, 1, 20, true), SizeIs(20));
}

TEST_F(ProgressTest, FieldsThatDoNotFitAreLeftOut) {
  EXPECT_EQ(fitting_fields("  4/4 alive  1 restart  $3", 80), "  4/4 alive  1 restart  $3");
  EXPECT_EQ(fitting_fields("  4/4 alive  1 restart  $3", 23), "  4/4 alive  1 restart");
  EXPECT_EQ(fitting_fields("  4/4 alive  1 restart  $3", 12), "  4/4 alive");
  EXPECT_EQ(fitting_fields("  4/4 alive  1 restart  $3", 5), "  4/4");
  EXPECT_EQ(fitting_fields("      ", 3), "   ");
}

TEST_F(ProgressTest, BlockIsRedrawnInPlaceAndLeavesNothing) {
  {
    ProgressDisplay display(options(ProgressMode::kBar));
    Progress progress{.phase = "train", .done = 1, .total = 2, .unit = "rows", .detail = "unseen", .below = {"a", "b"}};
    display.report(progress);
    progress.done = 2;
    progress.below = {"c"};
    display.report(progress);
    display.milestone("epoch 1", "epoch", {});
  }
  ASSERT_THAT(written_, SizeIs(4));
  EXPECT_THAT(written_[0], testing::AllOf(testing::StartsWith("\rtrain"), testing::EndsWith("\x1b[K\na\x1b[K\nb\x1b[K"),
                                          testing::Not(HasSubstr("unseen"))));
  EXPECT_THAT(written_[1], testing::AllOf(testing::StartsWith("\r\x1b[2Atrain"), testing::EndsWith("\nc\x1b[K\x1b[J")));
  EXPECT_EQ(written_[2], "\r\x1b[1A\x1b[J");
  EXPECT_EQ(written_[3], "epoch 1\n");
}

TEST_F(ProgressTest, EventsHaveTheFactsThatTheBlockShows) {
  ProgressDisplay display(options(ProgressMode::kJsonl));
  display.report(
      {.phase = "train", .done = 1, .total = 2, .unit = "rows", .facts = {{"usd", 0.5}, {"validation_loss", {}}}});
  const auto event = nlohmann::json::parse(written_.at(0));
  EXPECT_EQ(event["usd"], 0.5);
  EXPECT_EQ(event["validation_loss"], nullptr);
}

TEST_F(ProgressTest, PlainSaysNothingOfWhatIsSoonOver) {
  ProgressDisplay display(options(ProgressMode::kPlain));
  display.report({.phase = "import", .done = 0, .total = 2, .unit = "rows"});
  now_ += 1s;
  display.report({.phase = "import", .done = 2, .total = 2, .unit = "rows"});
  EXPECT_THAT(written_, IsEmpty());
  now_ += 5s;
  display.report({.phase = "import", .done = 1, .total = 2, .unit = "rows"});
  EXPECT_THAT(written_, testing::ElementsAre(testing::EndsWith("\n")));
}

TEST_F(ProgressTest, JsonlWritesOneObjectALine) {
  ProgressDisplay display(options(ProgressMode::kJsonl));
  display.report({.phase = "import", .done = 1, .unit = "rows"});
  display.milestone("ignored", "epoch", {{"epoch", 1}});
  ASSERT_THAT(written_, SizeIs(2));
  const auto progress = nlohmann::json::parse(written_[0]);
  EXPECT_EQ(progress["event"], "progress");
  EXPECT_EQ(progress["total"], nullptr);
  EXPECT_EQ(nlohmann::json::parse(written_[1]), (nlohmann::json{{"event", "epoch"}, {"epoch", 1}}));
}

TEST_F(ProgressTest, NoneWritesNothing) {
  ProgressDisplay display(options(ProgressMode::kNone));
  display.report({.phase = "import", .done = 1, .unit = "rows"});
  display.milestone("line", "epoch", {});
  EXPECT_THAT(written_, IsEmpty());
}

}  // namespace
}  // namespace virga
