#include "virga/policy/supervisor.h"

#include <algorithm>
#include <set>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using How = WorkerEnded::How;
using testing::HasSubstr;
using testing::StartsWith;

// Commands as words: "view 1 (0.1 1.1) from 0, invoke 0.1, invoke 1.1".
std::string text(const Member& member) { return fmt::format("{}.{}", member.worker, member.generation); }
std::string snapshot_text(std::uint32_t epoch, bool stopped) { return fmt::format("{}{}", epoch, stopped ? "s" : ""); }
std::string text(const OpenView& command) {
  std::vector<std::string> members;
  for (const auto& member : command.view.members) members.push_back(text(member));
  return fmt::format("view {} ({}) from {}", command.view.number, fmt::join(members, " "), command.start_round);
}
std::string text(const InvokeWorker& command) { return "invoke " + text(command.member); }
std::string text(const KillWorker& command) { return "kill " + text(command.member); }
std::string text(const InvokeEvaluation& command) {
  return "evaluate " + snapshot_text(command.epoch, command.stopped);
}
std::string text(const Evaluated& command) {
  return fmt::format("{}: {}{}", snapshot_text(command.epoch, command.stopped),
                     command.loss ? fmt::format("{}", *command.loss) : "none", command.best ? " best" : "");
}
std::string text(const WriteStop&) { return "stop"; }
std::string text(const Finish& command) {
  switch (command.why) {
    case EndReason::kEpochs:
      return "finish epochs";
    case EndReason::kTargetLoss:
      return "finish target";
    case EndReason::kPatience:
      return "finish patience";
    case EndReason::kConverged:
      return "finish converged";
    case EndReason::kSeconds:
      return "finish seconds";
    case EndReason::kBudget:
      return "finish budget";
    case EndReason::kStopped:
      return "finish stopped";
  }
  return "";
}
std::string text(const Fail& command) { return fmt::format("fail {}: {}", to_string(command.kind), command.text); }

// Events by short names.
WorkerEnded ended(WorkerId worker, Generation generation, How how, std::uint32_t view = UINT32_MAX) {
  return {.member = {worker, generation},
          .how = how,
          .view = view,
          .error = ErrorKind::kInternal,
          .text = "it fell",
          .remedy = ""};
}
WorkerEnded failed(WorkerId worker, Generation generation, ErrorKind error) {
  return {
      .member = {worker, generation}, .how = How::kFailed, .error = error, .text = "it cannot", .remedy = "mend it"};
}
SnapshotSeen snapshot(std::uint32_t epoch, double train_loss = 0) {
  return {.epoch = epoch, .stopped = false, .train_loss = train_loss};
}
SnapshotSeen stopped_snapshot(std::uint32_t epoch) { return {.epoch = epoch, .stopped = true, .train_loss = 0}; }
EvaluationEnded loss(std::uint32_t epoch, std::optional<double> loss) {
  return {.epoch = epoch, .stopped = false, .loss = loss, .crash = ""};
}
EvaluationEnded stopped_loss(std::uint32_t epoch, double loss) {
  return {.epoch = epoch, .stopped = true, .loss = loss, .crash = ""};
}
EvaluationEnded evaluation_crash(std::uint32_t epoch) {
  return {.epoch = epoch, .stopped = false, .loss = std::nullopt, .crash = "killed"};
}

Supervisor::Options options_of(std::uint32_t workers, std::uint32_t epochs) {
  Supervisor::Options options;
  options.workers = workers;
  options.epochs = epochs;
  return options;
}

/// A supervisor whose commands come as words.
class Trace {
 public:
  explicit Trace(const Supervisor::Options& options) : supervisor_(options) {}
  std::string tell(const SupervisorEvent& event) {
    std::vector<std::string> words;
    for (const auto& command : supervisor_.handle(event)) {
      words.push_back(std::visit([](const auto& c) { return text(c); }, command));
    }
    return fmt::format("{}", fmt::join(words, ", "));
  }
  [[nodiscard]] const Supervisor& supervisor() const { return supervisor_; }

 private:
  Supervisor supervisor_;
};

TEST(Supervisor, LeadsAnUndisturbedRunToItsEnd) {
  Trace run(options_of(3, 2));

  EXPECT_EQ(run.tell(Begin{}), "view 1 (0.1 1.1 2.1) from 0, invoke 0.1, invoke 1.1, invoke 2.1");
  EXPECT_EQ(run.tell(CheckpointSeen{5}), "");
  EXPECT_EQ(run.tell(snapshot(1)), "evaluate 1");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best");
  EXPECT_EQ(run.tell(Tick{100}), "");
  EXPECT_EQ(run.tell(snapshot(2)), "evaluate 2");
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(2, 1, How::kDone)), "");
  EXPECT_FALSE(run.supervisor().over());
  EXPECT_EQ(run.tell(loss(2, 0.6)), "2: 0.6, finish epochs");
  EXPECT_TRUE(run.supervisor().over());
}

TEST(Supervisor, WaitsForItsWorkersEvenIfTheLastEvaluationCameFirst) {
  Trace run(options_of(2, 1));
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best");
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "finish epochs");
}

TEST(Supervisor, StartsOverWithoutTheDeadWhenOneCrashesBeforeAnyCheckpoint) {
  Trace run(options_of(3, 2));
  (void)run.tell(Begin{});

  EXPECT_EQ(run.tell(ended(1, 1, How::kCrashed)), "view 2 (0.1 1.2 2.1) from 0, invoke 1.2");
}

TEST(Supervisor, GoesOnFromTheNewestCheckpoint) {
  Trace run(options_of(3, 2));
  (void)run.tell(Begin{});
  (void)run.tell(CheckpointSeen{7});
  (void)run.tell(CheckpointSeen{12});
  (void)run.tell(CheckpointSeen{9});  // seen late

  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.1 2.1) from 12, invoke 0.2");
  EXPECT_EQ(run.tell(ended(0, 2, How::kOrphaned)), "view 3 (0.3 1.1 2.1) from 12, invoke 0.3");
}

TEST(Supervisor, OpensAViewForEachOfTwoThatCrash) {
  Trace run(options_of(3, 2));
  (void)run.tell(Begin{});

  EXPECT_EQ(run.tell(ended(2, 1, How::kCrashed)), "view 2 (0.1 1.1 2.2) from 0, invoke 2.2");
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 3 (0.2 1.1 2.2) from 0, invoke 0.2");
}

TEST(Supervisor, IgnoresOlderGenerationsAndStrangers) {
  Trace run(options_of(2, 2));
  (void)run.tell(Begin{});
  (void)run.tell(ended(1, 1, How::kCrashed));

  for (const auto how : {How::kSuperseded, How::kCrashed, How::kDone, How::kContinue, How::kFailed}) {
    EXPECT_EQ(run.tell(ended(1, 1, how)), "");
    EXPECT_EQ(run.tell(ended(5, 1, how)), "");
  }
  EXPECT_EQ(run.tell(Tick{100}), "") << "nobody of this view has left";
}

TEST(Supervisor, InvitesTheNextGenerationsWhenAllHaveLeft) {
  Trace run(options_of(2, 2));
  (void)run.tell(Begin{});
  (void)run.tell(CheckpointSeen{20});

  EXPECT_EQ(run.tell(ended(1, 1, How::kContinue)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kContinue)), "view 2 (0.2 1.2) from 20, invoke 0.2, invoke 1.2");
}

TEST(Supervisor, InvitesTheNextGenerationsHoweverOftenTheyLeave) {
  Trace run(options_of(2, 2));
  (void)run.tell(Begin{});
  for (std::uint32_t life = 1; life <= 50; ++life) {
    (void)run.tell(CheckpointSeen{life});
    (void)run.tell(ended(0, life, How::kContinue));
    EXPECT_THAT(run.tell(ended(1, life, How::kContinue)), StartsWith(fmt::format("view {}", life + 1)));
  }
}

TEST(Supervisor, KillsWhoDoesNotLeaveWithTheOthers) {
  auto options = options_of(3, 2);
  options.leave_seconds = 4;
  Trace run(options);
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(Tick{100}), "") << "nobody has left";
  (void)run.tell(CheckpointSeen{20});
  (void)run.tell(ended(1, 1, How::kContinue));

  EXPECT_EQ(run.tell(Tick{3.9}), "");
  EXPECT_EQ(run.tell(Tick{4}), "kill 0.1, kill 2.1, view 2 (0.2 1.2 2.2) from 20, invoke 0.2, invoke 1.2, invoke 2.2");
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "") << "it was killed";
  EXPECT_EQ(run.tell(Tick{100}), "");
}

TEST(Supervisor, ReplacesWhoFinishedInTheViewBeforeWhileThisOneCountsOnHim) {
  Trace run(options_of(2, 1));
  (void)run.tell(Begin{});
  (void)run.tell(CheckpointSeen{20});
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.1) from 20, invoke 0.2") << "before its last snapshot";
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone, 1)), "view 3 (0.2 1.2) from 20, invoke 1.2") << "it had no news of that";
  EXPECT_EQ(run.tell(ended(1, 2, How::kDone, 3)), "");
}

TEST(Supervisor, ReplacesWhoLeftTheViewBeforeAndCountsItAsNoFailure) {
  auto options = options_of(2, 1);
  options.most_restarts = 1;
  Trace run(options);
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.1) from 0, invoke 0.2");
  EXPECT_EQ(run.tell(ended(1, 1, How::kContinue, 1)), "view 3 (0.2 1.2) from 0, invoke 1.2");
}

TEST(Supervisor, WantsNoMoreOfWhoLeftTheViewBeforeOnceTheLastSnapshotIsThere) {
  Trace run(options_of(2, 1));
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.1) from 0, invoke 0.2");
  EXPECT_EQ(run.tell(snapshot(1)), "evaluate 1");
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone, 1)), "kill 0.2") << "it would wait for him";
  EXPECT_EQ(run.tell(ended(0, 2, How::kCrashed)), "");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, finish epochs");
}

TEST(Supervisor, LetsWorkersEndInTheirTimeOnceTheLastSnapshotIsThere) {
  Trace run(options_of(2, 1));
  (void)run.tell(Begin{});
  (void)run.tell(ended(1, 1, How::kDone));
  (void)run.tell(snapshot(1));
  EXPECT_EQ(run.tell(Tick{9.9}), "");
  EXPECT_EQ(run.tell(Tick{10}), "kill 0.1") << "but not without an end";
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, finish epochs");
}

TEST(Supervisor, GivesUpWhenWorkersNeverLeaveAndNothingGetsFurther) {
  auto options = options_of(2, 2);
  options.most_restarts = 3;
  Trace run(options);
  (void)run.tell(Begin{});
  for (std::uint32_t life = 1; life <= 3; ++life) {
    (void)run.tell(ended(1, life, How::kContinue));
    EXPECT_THAT(run.tell(Tick{100}), HasSubstr(fmt::format("view {}", life + 1)));
  }
  (void)run.tell(ended(1, 4, How::kContinue));
  EXPECT_THAT(run.tell(Tick{100}), StartsWith("kill 0.4, fail unavailable: 3 restarts in a row"));
}

TEST(Supervisor, RestartsAfterAFailureThatMayPass) {
  for (const auto kind : {ErrorKind::kUnavailable, ErrorKind::kThrottled}) {
    Trace run(options_of(2, 2));
    (void)run.tell(Begin{});
    EXPECT_EQ(run.tell(failed(1, 1, kind)), "");
    EXPECT_EQ(run.tell(Tick{0, 0.1}), "view 2 (0.1 1.2) from 0, invoke 1.2");
  }
  Trace run(options_of(2, 2));
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(failed(1, 1, ErrorKind::kDeadlineExceeded)), "view 2 (0.1 1.2) from 0, invoke 1.2");
}

TEST(Supervisor, PausesLongerAndLongerWhileAServiceIsNotThere) {
  auto options = options_of(1, 2);
  options.first_pause_seconds = 2;
  options.most_restarts = 9;
  Trace run(options);
  (void)run.tell(Begin{});
  double now = 0;
  Generation generation = 1;
  for (const double pause : {2., 4., 8., 16., 32., 64., 128., 200., 200.}) {
    EXPECT_EQ(run.tell(failed(0, generation, ErrorKind::kUnavailable)), "");
    EXPECT_EQ(run.tell(Tick{0, now += pause - 0.5}), "");
    ++generation;
    EXPECT_EQ(run.tell(Tick{0, now += 0.5}), fmt::format("view {0} (0.{0}) from 0, invoke 0.{0}", generation));
  }
  EXPECT_THAT(run.tell(failed(0, generation, ErrorKind::kUnavailable)), StartsWith("fail unavailable: 9 restarts"));
}

TEST(Supervisor, PausesBrieflyAgainOnceTheRunHasGotFurther) {
  auto options = options_of(1, 2);
  options.first_pause_seconds = 1;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(failed(0, 1, ErrorKind::kThrottled));
  EXPECT_EQ(run.tell(Tick{0, 1}), "view 2 (0.2) from 0, invoke 0.2");
  (void)run.tell(failed(0, 2, ErrorKind::kThrottled));
  EXPECT_EQ(run.tell(Tick{0, 2}), "");
  EXPECT_EQ(run.tell(Tick{0, 3}), "view 3 (0.3) from 0, invoke 0.3");
  (void)run.tell(CheckpointSeen{7});
  (void)run.tell(failed(0, 3, ErrorKind::kUnavailable));
  EXPECT_EQ(run.tell(Tick{0, 4}), "view 4 (0.4) from 7, invoke 0.4");
}

TEST(Supervisor, CountsAllWhoMissAServiceAsOneRestart) {
  auto options = options_of(4, 2);
  options.most_restarts = 1;
  options.first_pause_seconds = 1;
  Trace run(options);
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(failed(1, 1, ErrorKind::kUnavailable)), "");
  EXPECT_EQ(run.tell(failed(0, 1, ErrorKind::kUnavailable)), "");
  EXPECT_EQ(run.tell(ended(3, 1, How::kCrashed)), "");
  EXPECT_EQ(run.tell(CheckpointSeen{7}), "");
  EXPECT_EQ(run.tell(Tick{100, 1}), "view 2 (0.2 1.2 2.1 3.2) from 7, invoke 0.2, invoke 1.2, invoke 3.2");
}

TEST(Supervisor, StaysWithItsPauseWhenTheOthersHaveLeft) {
  for (const auto how : {How::kContinue, How::kDone}) {
    Trace run(options_of(2, 2));
    (void)run.tell(Begin{});
    EXPECT_EQ(run.tell(failed(1, 1, ErrorKind::kUnavailable)), "");
    EXPECT_EQ(run.tell(ended(0, 1, how)), "");
    EXPECT_EQ(run.tell(Tick{100, 0.1}), "view 2 (0.2 1.2) from 0, invoke 0.2, invoke 1.2");
  }
}

TEST(Supervisor, EndsWithinAPauseIfNothingIsLeftToDo) {
  Trace run(options_of(1, 1));
  (void)run.tell(Begin{});
  (void)run.tell(failed(0, 1, ErrorKind::kUnavailable));
  EXPECT_EQ(run.tell(snapshot(1)), "evaluate 1");
  EXPECT_EQ(run.tell(Tick{100, 100}), "");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, finish epochs");
}

TEST(Supervisor, FailsWithinAPauseAfterAFailureThatStays) {
  Trace run(options_of(3, 1));
  (void)run.tell(Begin{});
  (void)run.tell(failed(0, 1, ErrorKind::kUnavailable));
  EXPECT_EQ(run.tell(failed(2, 1, ErrorKind::kBadData)), "kill 1.1, fail bad_data: worker 2: it cannot");
}

TEST(Supervisor, FailsTheRunAndKillsTheRestAfterAFailureThatStays) {
  for (const auto kind : {ErrorKind::kDiverged, ErrorKind::kBadData, ErrorKind::kCorrupt, ErrorKind::kInternal}) {
    Supervisor run(options_of(3, 2));
    (void)run.handle(Begin{});
    const auto commands = run.handle(failed(1, 1, kind));
    EXPECT_THAT(commands, testing::ElementsAre(KillWorker{{0, 1}}, KillWorker{{2, 1}},
                                               Fail{kind, "worker 1: it cannot", "mend it"}));
    EXPECT_TRUE(run.over());
  }
}

TEST(Supervisor, GivesUpAfterRestartsWithoutProgress) {
  auto options = options_of(2, 2);
  options.most_restarts = 2;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(ended(0, 1, How::kCrashed));
  (void)run.tell(ended(0, 2, How::kCrashed));
  EXPECT_EQ(run.tell(ended(0, 3, How::kCrashed)),
            "kill 1.1, fail unavailable: 2 restarts in a row without getting further; the last one: worker 0: it fell");
}

TEST(Supervisor, CountsRestartsAnewAfterACheckpointOrASnapshot) {
  auto options = options_of(1, 1000);
  options.most_restarts = 1;
  options.validates = false;
  Trace run(options);
  (void)run.tell(Begin{});
  for (std::uint32_t i = 1; i <= 50; ++i) {
    ASSERT_THAT(run.tell(ended(0, i, How::kCrashed)), HasSubstr(fmt::format("invoke 0.{}", i + 1)));
    if (i % 2 == 0) {
      (void)run.tell(CheckpointSeen{i});
    } else {
      (void)run.tell(snapshot(i / 2 + 1));
    }
  }
  // What is seen again is no progress.
  (void)run.tell(ended(0, 51, How::kCrashed));
  (void)run.tell(CheckpointSeen{50});
  (void)run.tell(snapshot(25));
  EXPECT_THAT(run.tell(ended(0, 52, How::kCrashed)), StartsWith("fail unavailable"));
}

TEST(Supervisor, NeedsNoRestartOnceTheLastSnapshotIsThere) {
  Trace run(options_of(3, 1));
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(snapshot(1)), "evaluate 1");
  EXPECT_EQ(run.tell(failed(1, 1, ErrorKind::kDeadlineExceeded)), "kill 0.1, kill 2.1") << "they might wait for it";
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "");
  EXPECT_EQ(run.tell(failed(2, 1, ErrorKind::kInternal)), "");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, finish epochs");
}

TEST(Supervisor, EndsWithTheSnapshotThatHasConverged) {
  Trace run(options_of(2, 9));
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  (void)run.tell(loss(1, 0.5));
  EXPECT_EQ(run.tell(SnapshotSeen{.epoch = 2, .stopped = false, .train_loss = 0.4, .converged = true}), "evaluate 2");
  EXPECT_EQ(run.tell(ended(1, 1, How::kCrashed)), "kill 0.1") << "nobody need go on";
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "");
  EXPECT_EQ(run.tell(loss(2, 0.45)), "2: 0.45 best, finish converged");
}

TEST(Supervisor, RunsAgainWithAllWhenOneHadFinishedAndAnotherDiedBeforeTheSnapshot) {
  Trace run(options_of(2, 1));
  (void)run.tell(Begin{});
  (void)run.tell(CheckpointSeen{3});
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.2) from 3, invoke 0.2, invoke 1.2");
}

TEST(Supervisor, DecidesOnEvaluationsInTheOrderOfEpochs) {
  auto options = options_of(1, 4);
  options.target_loss = 0.4;
  Trace run(options);
  (void)run.tell(Begin{});
  for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) (void)run.tell(snapshot(epoch));

  EXPECT_EQ(run.tell(loss(3, 0.1)), "");
  EXPECT_EQ(run.tell(loss(2, 0.4)), "");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, 2: 0.4 best, stop") << "the second met the target first";
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "finish target");
}

TEST(Supervisor, HasFewSnapshotsEvaluatedAtOnce) {
  auto options = options_of(1, 9);
  options.most_evaluations = 2;
  Trace run(options);
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(snapshot(1)), "evaluate 1");
  EXPECT_EQ(run.tell(snapshot(2)), "evaluate 2");
  EXPECT_EQ(run.tell(snapshot(3)), "");
  EXPECT_EQ(run.tell(snapshot(4)), "");
  EXPECT_EQ(run.tell(loss(2, 0.4)), "evaluate 3");
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, 2: 0.4 best, evaluate 4");
}

TEST(Supervisor, LosesPatienceInTheOrderOfEpochs) {
  auto options = options_of(1, 9);
  options.patience = 2;
  options.patience_after = 2;
  options.most_evaluations = 6;
  Trace run(options);
  (void)run.tell(Begin{});
  for (std::uint32_t epoch = 1; epoch <= 6; ++epoch) (void)run.tell(snapshot(epoch));
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best");
  EXPECT_EQ(run.tell(loss(2, 0.6)), "2: 0.6") << "patience does not count it";
  EXPECT_EQ(run.tell(loss(5, 0.1)), "");
  EXPECT_EQ(run.tell(loss(4, std::nullopt)), "");
  EXPECT_EQ(run.tell(loss(3, 0.5)), "3: 0.5, 4: none, stop");
  EXPECT_EQ(run.tell(loss(6, 0.05)), "") << "the model is chosen";
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "finish patience");
}

TEST(Supervisor, HasNothingMoreEvaluatedOnceTheModelIsChosen) {
  auto options = options_of(2, 9);
  options.target_loss = 0.4;
  options.most_restarts = 1;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  (void)run.tell(snapshot(2));
  EXPECT_EQ(run.tell(loss(1, 0.3)), "1: 0.3 best, stop");

  EXPECT_EQ(run.tell(evaluation_crash(2)), "");
  EXPECT_EQ(run.tell(evaluation_crash(2)), "") << "no reason to fail";
  EXPECT_EQ(run.tell(snapshot(3)), "");
  EXPECT_EQ(run.tell(stopped_snapshot(4)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "finish target");
}

TEST(Supervisor, HasNoNeedToStopWorkersThatAreThrough) {
  auto options = options_of(1, 1);
  options.target_loss = 0.4;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  EXPECT_EQ(run.tell(loss(1, 0.3)), "1: 0.3 best");
  EXPECT_EQ(run.tell(StopWanted{}), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "finish target");
}

TEST(Supervisor, StopsOnceAndHasTheSnapshotOfThatPlaceEvaluated) {
  auto options = options_of(2, 9);
  options.target_loss = 0.2;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  EXPECT_EQ(run.tell(StopWanted{EndReason::kSeconds}), "stop");
  EXPECT_EQ(run.tell(StopWanted{EndReason::kStopped}), "");

  EXPECT_EQ(run.tell(stopped_snapshot(2)), "evaluate 2s");
  EXPECT_EQ(run.tell(stopped_snapshot(2)), "");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(1, 1, How::kCrashed)), "") << "its work is done";
  EXPECT_EQ(run.tell(stopped_loss(2, 0.1)), "") << "the first epoch comes before";
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best, 2s: 0.1 best, finish seconds");
}

TEST(Supervisor, StopsBetweenEpochsWithoutASnapshotOfItsOwn) {
  Trace run(options_of(2, 9));
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  EXPECT_EQ(run.tell(loss(1, 0.5)), "1: 0.5 best");
  EXPECT_EQ(run.tell(StopWanted{}), "stop");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "");
  EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "finish stopped");
}

TEST(Supervisor, LeavesOutTheSnapshotOfAStopBehindAnEpochThatIsThere) {
  // All were told to stop after epoch 2; one died, and those who went on from the checkpoint stopped in epoch 1.
  for (const bool validates : {true, false}) {
    auto options = options_of(2, 9);
    options.validates = validates;
    Trace run(options);
    (void)run.tell(Begin{});
    (void)run.tell(CheckpointSeen{5});
    (void)run.tell(snapshot(1));
    (void)run.tell(snapshot(2));
    (void)run.tell(loss(1, 0.5));
    (void)run.tell(loss(2, 0.4));
    EXPECT_EQ(run.tell(StopWanted{}), "stop");
    EXPECT_EQ(run.tell(ended(1, 1, How::kDone)), "");
    EXPECT_EQ(run.tell(ended(0, 1, How::kCrashed)), "view 2 (0.2 1.2) from 5, invoke 0.2, invoke 1.2");
    EXPECT_EQ(run.tell(stopped_snapshot(1)), "");
    EXPECT_EQ(run.tell(ended(0, 2, How::kDone)), "");
    EXPECT_EQ(run.tell(ended(1, 2, How::kDone)), "finish stopped");
  }
}

TEST(Supervisor, TakesTheLastSnapshotWithoutValidation) {
  auto options = options_of(1, 3);
  options.validates = false;
  options.patience = 1;
  Trace run(options);
  (void)run.tell(Begin{});
  EXPECT_EQ(run.tell(snapshot(1, 0.5)), "1: 0.5 best");
  EXPECT_EQ(run.tell(snapshot(2, 0.7)), "2: 0.7 best");
  EXPECT_EQ(run.tell(snapshot(2, 0.7)), "") << "written again by those who went on from before";
  EXPECT_EQ(run.tell(snapshot(3, 0.6)), "3: 0.6 best");
  EXPECT_EQ(run.tell(ended(0, 1, How::kDone)), "finish epochs");
}

TEST(Supervisor, RepeatsAnEvaluationThatDied) {
  auto options = options_of(1, 1);
  options.most_restarts = 2;
  Trace run(options);
  (void)run.tell(Begin{});
  (void)run.tell(snapshot(1));
  (void)run.tell(ended(0, 1, How::kDone));
  EXPECT_EQ(run.tell(evaluation_crash(1)), "evaluate 1");
  EXPECT_EQ(run.tell(evaluation_crash(1)), "evaluate 1");
  EXPECT_EQ(run.tell(evaluation_crash(1)),
            "fail unavailable: the evaluation of a snapshot fails again and again: killed");
}

TEST(Supervisor, SaysNothingAfterTheEnd) {
  Trace finished(options_of(1, 1));
  (void)finished.tell(Begin{});
  (void)finished.tell(snapshot(1));
  (void)finished.tell(loss(1, 0.5));
  ASSERT_EQ(finished.tell(ended(0, 1, How::kDone)), "finish epochs");
  Trace failing(options_of(1, 1));
  (void)failing.tell(Begin{});
  ASSERT_THAT(failing.tell(failed(0, 1, ErrorKind::kDiverged)), StartsWith("fail"));
  for (auto* run : {&finished, &failing}) {
    for (const SupervisorEvent& event :
         {SupervisorEvent(Begin{}), SupervisorEvent(ended(0, 1, How::kCrashed)), SupervisorEvent(CheckpointSeen{99}),
          SupervisorEvent(snapshot(2)), SupervisorEvent(loss(1, 0.1)), SupervisorEvent(StopWanted{}),
          SupervisorEvent(Tick{1000})}) {
      EXPECT_EQ(run->tell(event), "");
    }
  }
}

TEST(Supervisor, GoesOnWhereAnEarlierDriverWas) {
  auto options = options_of(2, 4);
  options.first_view = 8;
  options.generations = {{0, 3}, {1, 5}};
  options.start_round = 40;
  options.patience = 2;
  options.decided = {loss(1, 0.5), loss(2, 0.6)};
  Trace run(options);
  EXPECT_EQ(run.tell(Begin{}), "view 8 (0.4 1.6) from 40, invoke 0.4, invoke 1.6");
  EXPECT_EQ(run.tell(snapshot(2)), "");
  EXPECT_EQ(run.tell(snapshot(3)), "evaluate 3");
  EXPECT_EQ(run.tell(loss(3, 0.5)), "3: 0.5, stop") << "it remembers the best, and its patience";
}

TEST(Supervisor, InvitesNobodyWhenAnEarlierDriverHadDecidedAll) {
  auto through = options_of(2, 2);
  through.decided = {loss(1, 0.5), loss(2, 0.6)};
  EXPECT_EQ(Trace(through).tell(Begin{}), "finish epochs");
  auto reached = options_of(2, 9);
  reached.target_loss = 0.5;
  reached.decided = {loss(1, 0.5)};
  EXPECT_EQ(Trace(reached).tell(Begin{}), "finish target");
}

/// A world that does what it is told and suffers what a stream of random numbers says, and checks every command.
class World {
 public:
  World(const Supervisor::Options& options, std::uint64_t seed)
      : options_(options), random_(seed, Purpose::kTest), supervisor_(options) {}

  void tell(const SupervisorEvent& event) {
    const bool was_over = over_;
    const auto commands = supervisor_.handle(event);
    EXPECT_TRUE(!was_over || commands.empty()) << "after the end";
    for (const auto& command : commands) {
      EXPECT_FALSE(over_) << "the end comes last";
      std::visit([&](const auto& c) { perform(c); }, command);
    }
    EXPECT_EQ(supervisor_.over(), over_);
  }

  /// One random event.
  void step(bool faults) {
    switch (below(10)) {
      case 0:
      case 1:
        tell_of_a_worker(faults);
        break;
      case 2:
        tell(CheckpointSeen{newest_ = std::max(newest_, below(newest_ + 5))});
        break;
      case 3:
      case 4:
        tell_of_a_snapshot();
        break;
      case 5:
      case 6:
      case 7:
        tell_of_an_evaluation(faults);
        break;
      case 8:
        now_ += static_cast<double>(below(20));
        tell(Tick{static_cast<double>(below(20)), now_});
        break;
      default:
        if (faults && below(20) == 0) {
          stop_wanted_ = true;
          tell(StopWanted{});
        }
    }
  }

  /// What is left to be done goes well.
  void settle() {
    for (int turn = 0; turn < 3 && !over_; ++turn) {
      tell(Tick{0, now_ += 1000});
      while (epochs_ < options_.epochs && !stopped_ && !over_) tell_of_the_next_epoch();
      while (!live_.empty() && !over_) end(*live_.begin(), How::kDone, false);
      while (!pending_.empty() && !over_) tell_of_an_evaluation(false);
    }
  }

  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] std::string evaluated() const { return evaluated_; }

  /// Of epoch e: none of the order of events.
  [[nodiscard]] std::optional<double> loss_of(std::uint32_t epoch) const {
    const auto loss = losses_.below(50, epoch, options_.epochs);
    return loss == 0 ? std::nullopt : std::optional(static_cast<double>(loss));
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_.below(bound, 0, draws_++); }

  void end(const Member& member, How how, bool faults) {
    auto event = ended(member.worker, member.generation, how);
    event.view = options_.first_view + views_ - 1;
    if (faults && below(4) == 0) --event.view;  // it left the view before
    constexpr ErrorKind kErrors[] = {ErrorKind::kDiverged, ErrorKind::kUnavailable, ErrorKind::kDeadlineExceeded};
    event.error = kErrors[below(3)];
    live_.erase(member);
    tell(event);
  }
  void tell_of_a_worker(bool faults) {
    if (!gone_.empty() && below(3) == 0) {  // older news: nothing may come of it
      const auto views = views_;
      const auto& member = gone_[below(gone_.size())];
      tell(ended(member.worker, member.generation, How::kCrashed));
      EXPECT_EQ(views_, views);
      return;
    }
    if (live_.empty()) return;
    const auto member = *std::next(live_.begin(), static_cast<std::ptrdiff_t>(below(live_.size())));
    const bool may_finish = epochs_ == options_.epochs || stopped_ || stop_wanted_;
    if (may_finish && below(2) == 0) {
      end(member, How::kDone, faults);
    } else if (faults) {
      constexpr How kFaults[] = {How::kContinue, How::kContinue, How::kCrashed, How::kSuperseded, How::kOrphaned};
      end(member, below(20) == 0 ? How::kFailed : kFaults[below(5)], true);
    }
  }
  void tell_of_the_next_epoch() {
    ++epochs_;
    tell(snapshot(epochs_, loss_of(epochs_).value_or(0)));
  }
  void tell_of_a_snapshot() {
    if (stopped_) return;
    if ((stop_wanted_ || stop_written_) && below(3) == 0) {
      stopped_ = true;
      tell(stopped_snapshot(std::min(static_cast<std::uint32_t>(below(epochs_ + 2)), options_.epochs)));
    } else if (epochs_ < options_.epochs) {
      tell_of_the_next_epoch();
    } else if (epochs_ > 0) {
      tell(snapshot(static_cast<std::uint32_t>(below(epochs_) + 1)));  // again
    }
  }
  void tell_of_an_evaluation(bool faults) {
    if (pending_.empty()) return;
    const auto at = std::next(pending_.begin(), static_cast<std::ptrdiff_t>(below(pending_.size())));
    const auto [epoch, stopped] = *at;
    pending_.erase(at);
    EvaluationEnded event{.epoch = epoch, .stopped = stopped, .loss = loss_of(epoch), .crash = ""};
    if (faults && below(5) == 0) event.crash = "killed";
    tell(event);
  }

  void perform(const OpenView& command) {
    ++views_;
    EXPECT_EQ(command.view.number, options_.first_view + views_ - 1);
    EXPECT_EQ(command.start_round, newest_);
    ASSERT_EQ(command.view.size(), options_.workers);
    for (Rank rank = 0; rank < command.view.size(); ++rank) {
      const auto& member = command.view.members[rank];
      EXPECT_EQ(member.worker, rank);
      const bool alive = live_.contains(member);
      EXPECT_EQ(member.generation, generations_[member.worker] + (alive ? 0U : 1U));
    }
    EXPECT_EQ(supervisor_.view(), command.view);
    view_ = command.view;
  }
  void perform(const InvokeWorker& command) {
    EXPECT_TRUE(view_.rank_of(command.member));
    EXPECT_TRUE(std::ranges::none_of(live_, [&](const Member& m) { return m.worker == command.member.worker; }));
    EXPECT_EQ(command.member.generation, ++generations_[command.member.worker]);
    live_.insert(command.member);
  }
  void perform(const KillWorker& command) {
    EXPECT_EQ(live_.erase(command.member), 1U);
    gone_.push_back(command.member);
  }
  void perform(const InvokeEvaluation& command) {
    EXPECT_TRUE(options_.validates);
    EXPECT_TRUE(command.stopped ? stopped_ : command.epoch <= epochs_);
    EXPECT_TRUE(pending_.insert({command.epoch, command.stopped}).second);
  }
  void perform(const Evaluated& command) {
    EXPECT_GT(command.epoch, last_evaluated_);
    last_evaluated_ = command.epoch;
    if (command.best && options_.validates) {
      ASSERT_TRUE(command.loss);
      EXPECT_TRUE(!best_ || *command.loss < *best_);
      best_ = command.loss;
    }
    evaluated_ += text(command) + "\n";
  }
  void perform(const WriteStop&) {
    EXPECT_FALSE(stop_written_);
    stop_written_ = true;
  }
  void perform(const Finish&) {
    EXPECT_TRUE(live_.empty());
    over_ = true;
  }
  void perform(const Fail&) {
    EXPECT_TRUE(live_.empty()) << "all are killed";
    over_ = failed_ = true;
  }

  struct ByWorker {
    bool operator()(const Member& a, const Member& b) const {
      return std::pair(a.worker, a.generation) < std::pair(b.worker, b.generation);
    }
  };
  const Supervisor::Options options_;
  const Random random_;
  const Random losses_{options_.epochs, Purpose::kTest};
  std::uint64_t draws_ = 0;
  double now_ = 0;
  Supervisor supervisor_;

  std::set<Member, ByWorker> live_;
  std::vector<Member> gone_;
  std::map<WorkerId, Generation> generations_ = options_.generations;
  View view_;
  std::uint32_t views_ = 0;
  std::uint64_t newest_ = options_.start_round;
  std::uint32_t epochs_ = 0;
  bool stop_wanted_ = false, stop_written_ = false, stopped_ = false;
  std::set<std::pair<std::uint32_t, bool>> pending_;
  std::uint32_t last_evaluated_ = 0;
  std::optional<double> best_;
  std::string evaluated_;
  bool over_ = false, failed_ = false;
};

Supervisor::Options random_options(std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  auto options = options_of(1 + static_cast<std::uint32_t>(random.below(4, 1, 0)),
                            1 + static_cast<std::uint32_t>(random.below(8, 1, 1)));
  options.validates = random.below(4, 1, 2) > 0;
  if (random.below(3, 1, 3) == 0) options.target_loss = static_cast<double>(random.below(20, 1, 4));
  options.patience = static_cast<std::uint32_t>(random.below(4, 1, 5));
  options.patience_after = static_cast<std::uint32_t>(random.below(3, 1, 6));
  options.most_restarts = static_cast<std::uint32_t>(random.below(5, 1, 7));
  options.first_view = 1 + static_cast<std::uint32_t>(random.below(3, 1, 8));
  options.first_pause_seconds = static_cast<double>(random.below(8, 1, 9));
  return options;
}

TEST(Supervisor, KeepsItsWordWhateverHappens) {
  int finished = 0, gave_up = 0;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    SCOPED_TRACE(seed);
    World world(random_options(seed), seed);
    world.tell(Begin{});
    for (int i = 0; i < 60; ++i) world.step(/*faults=*/true);
    world.settle();
    EXPECT_TRUE(world.over());
    world.step(/*faults=*/true);
    ++(world.failed() ? gave_up : finished);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(finished, 1000);
  EXPECT_GT(gave_up, 1000);
}

TEST(Supervisor, DecidesTheSameWhoeverDiesAndHoweverEvaluationsArrive) {
  for (std::uint64_t seed = 0; seed < 5'000; ++seed) {
    SCOPED_TRACE(seed);
    auto options = random_options(seed);
    options.most_restarts = 1000;
    World orderly(options, seed);
    orderly.tell(Begin{});
    orderly.settle();
    World disturbed(options, seed + 1'000'000);
    disturbed.tell(Begin{});
    for (int i = 0; i < 60; ++i) disturbed.step(/*faults=*/false);
    disturbed.settle();
    ASSERT_TRUE(orderly.over() && disturbed.over());
    ASSERT_FALSE(orderly.failed() || disturbed.failed());
    ASSERT_EQ(disturbed.evaluated(), orderly.evaluated());
  }
}

}  // namespace
}  // namespace virga
