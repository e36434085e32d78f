#include "virga/training/epoch_control.h"

#include <stdexcept>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/threads.h"

namespace virga {
namespace {

using testing::Each;
using testing::ElementsAre;

/// Runs `ranks` threads through `control`, in lock step as an exchange would keep them; the number of rounds each has
/// run.
std::vector<Round> run_ranks(EpochControl& control, unsigned ranks, const std::function<void(unsigned, Round)>& body) {
  std::vector<Round> completed(ranks);
  std::mutex mutex;
  std::condition_variable step;
  Round sum = 0;
  run_threads(ranks, [&](unsigned rank) {
    try {
      for (Round round = 0; control.may_run(rank, round); ++round) {
        body(rank, round);
        std::unique_lock lock(mutex);
        ++completed[rank];
        ++sum;
        step.notify_all();
        step.wait(lock, [&] { return sum >= (round + 1) * ranks; });
      }
    } catch (...) {
      control.abort(std::current_exception());
      const std::lock_guard lock(mutex);
      sum = ~Round{0};
      step.notify_all();
      throw;
    }
  });
  return completed;
}

TEST(EpochControl, RunsTheHookBetweenEpochsAndStopsAfterTheLast) {
  std::vector<Round> hooks;
  EpochControl control({.ranks = 3, .rounds_per_epoch = 4, .epochs = 2},
                       [&](Round completed, std::optional<EndReason> end) -> std::optional<EndReason> {
                         hooks.push_back(completed);
                         EXPECT_EQ(end.has_value(), completed == 8);
                         return std::nullopt;
                       });
  EXPECT_THAT(run_ranks(control, 3, [](unsigned, Round) {}), Each(8U));
  EXPECT_THAT(hooks, ElementsAre(4U, 8U));
  EXPECT_EQ(control.reason(), EndReason::kEpochs);
}

TEST(EpochControl, EndsWhenTheHookSaysSo) {
  EpochControl control({.ranks = 2, .rounds_per_epoch = 3, .epochs = 10},
                       [](Round completed, std::optional<EndReason>) -> std::optional<EndReason> {
                         if (completed == 6) return EndReason::kTargetLoss;
                         return std::nullopt;
                       });
  EXPECT_THAT(run_ranks(control, 2, [](unsigned, Round) {}), Each(6U));
  EXPECT_EQ(control.reason(), EndReason::kTargetLoss);
}

TEST(EpochControl, StopsAllRanksAfterTheSameRoundWhenAskedInTheMiddleOfAnEpoch) {
  std::stop_source stop;
  std::vector<Round> hooks;
  EpochControl control({.ranks = 4, .rounds_per_epoch = 1000, .epochs = 10, .stop = stop.get_token()},
                       [&](Round completed, std::optional<EndReason> end) {
                         hooks.push_back(completed);
                         return end;
                       });
  const auto completed = run_ranks(control, 4, [&](unsigned rank, Round round) {
    if (rank == 2 && round == 17) stop.request_stop();
  });
  EXPECT_THAT(completed, Each(completed[0]));
  EXPECT_GE(completed[0], 18U);
  EXPECT_LE(completed[0], 19U);
  EXPECT_THAT(hooks, ElementsAre(completed[0])) << "the parameters at the stop are evaluated once";
  EXPECT_EQ(control.reason(), EndReason::kStopped);
}

TEST(EpochControl, EndsAtATimeLimit) {
  EpochControl control(
      {.ranks = 2, .rounds_per_epoch = 1000, .epochs = 10, .deadline = std::chrono::steady_clock::now()},
      [](Round, std::optional<EndReason> end) { return end; });
  EXPECT_THAT(run_ranks(control, 2, [](unsigned, Round) {}), Each(1U));
  EXPECT_EQ(control.reason(), EndReason::kSeconds);
}

TEST(EpochControl, HandsAnErrorOfTheHookToEveryRank) {
  EpochControl control(
      {.ranks = 3, .rounds_per_epoch = 2, .epochs = 2},
      [](Round, std::optional<EndReason>) -> std::optional<EndReason> { throw std::runtime_error("hook"); });
  std::atomic<int> thrown{0};
  run_threads(3, [&](unsigned rank) {
    EXPECT_TRUE(control.may_run(rank, 0));
    EXPECT_TRUE(control.may_run(rank, 1));
    try {
      static_cast<void>(control.may_run(rank, 2));
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  });
  EXPECT_EQ(thrown, 3);
}

TEST(EpochControl, ReleasesRanksThatWaitForOneThatFailed) {
  EpochControl control({.ranks = 2, .rounds_per_epoch = 1, .epochs = 2},
                       [](Round, std::optional<EndReason>) { return std::optional<EndReason>(); });
  EXPECT_THROW(run_threads(2,
                           [&](unsigned rank) {
                             if (rank == 1) return control.abort(std::make_exception_ptr(std::runtime_error("rank 1")));
                             static_cast<void>(control.may_run(0, 0));
                             static_cast<void>(control.may_run(0, 1));
                           }),
               std::runtime_error);
}

/// Runs `ranks` threads that take rounds by turns; the rounds in the order in which they were run.
std::vector<Round> run_by_turns(EpochControl& control, unsigned ranks, const std::function<void(Round)>& body) {
  std::vector<Round> order;
  std::mutex mutex;
  std::condition_variable turn;
  run_threads(ranks, [&](unsigned rank) {
    for (Round round = rank; control.may_run(rank, round); round += ranks) {
      std::unique_lock lock(mutex);
      turn.wait(lock, [&] { return order.size() == round; });
      order.push_back(round);
      body(round);
      turn.notify_all();
    }
  });
  return order;
}

TEST(EpochControl, RunsTheHookBetweenEpochsOfRanksThatTakeTurns) {
  for (const Round rounds_per_epoch : {1U, 2U, 4U, 5U}) {  // also fewer than there are ranks, and no multiple of them
    std::vector<Round> hooks;
    Round done = 0;
    EpochControl control({.ranks = 3, .by_turns = true, .rounds_per_epoch = rounds_per_epoch, .epochs = 4},
                         [&](Round completed, std::optional<EndReason> end) -> std::optional<EndReason> {
                           EXPECT_EQ(completed, done);
                           EXPECT_EQ(end.has_value(), completed == 4 * rounds_per_epoch);
                           hooks.push_back(completed);
                           return std::nullopt;
                         });
    const auto order = run_by_turns(control, 3, [&](Round) { ++done; });
    EXPECT_EQ(order.size(), 4 * rounds_per_epoch);
    EXPECT_THAT(hooks, ElementsAre(rounds_per_epoch, 2 * rounds_per_epoch, 3 * rounds_per_epoch, 4 * rounds_per_epoch));
    EXPECT_EQ(control.reason(), EndReason::kEpochs);
  }
}

TEST(EpochControl, EndsRanksThatTakeTurnsWhenTheHookSaysSo) {
  EpochControl control({.ranks = 2, .by_turns = true, .rounds_per_epoch = 3, .epochs = 10},
                       [](Round completed, std::optional<EndReason>) -> std::optional<EndReason> {
                         if (completed == 6) return EndReason::kTargetLoss;
                         return std::nullopt;
                       });
  EXPECT_EQ(run_by_turns(control, 2, [](Round) {}).size(), 6U);
  EXPECT_EQ(control.reason(), EndReason::kTargetLoss);
}

TEST(EpochControl, StopsRanksThatTakeTurnsAfterTheSameRound) {
  for (const Round asked_in : {16U, 17U, 29U}) {
    std::stop_source stop;
    std::vector<Round> hooks;
    EpochControl control({.ranks = 2, .by_turns = true, .rounds_per_epoch = 30, .epochs = 10, .stop = stop.get_token()},
                         [&](Round completed, std::optional<EndReason> end) {
                           hooks.push_back(completed);
                           return end;
                         });
    const auto order = run_by_turns(control, 2, [&](Round round) {
      if (round == asked_in) stop.request_stop();
    });
    // Rank 0 sees it before its next round at the latest, and the run ends before the one after that.
    EXPECT_GT(order.size(), asked_in);
    EXPECT_LE(order.size(), asked_in + 5);
    EXPECT_EQ(hooks.back(), order.size());
    EXPECT_EQ(control.reason(), EndReason::kStopped);
  }
}

}  // namespace
}  // namespace virga
