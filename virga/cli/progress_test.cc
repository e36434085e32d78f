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
