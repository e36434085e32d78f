#include "virga/driver/functions_run.h"

#include <cmath>
#include <csignal>
#include <filesystem>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/channel/directory_register.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/open_channel.h"
#include "virga/channel/shaped_channel.h"
#include "virga/control/run_folder.h"
#include "virga/cost/bill.h"
#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/driver/choose_pattern.h"
#include "virga/driver/functions_run_testing.h"
#include "virga/engine/sandbox.h"
#include "virga/ps/server.h"
#include "virga/training/worker_job.h"

namespace virga {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr auto kShortLife = std::chrono::milliseconds(600);  // a start alone takes 200
#else
constexpr auto kShortLife = std::chrono::milliseconds(200);
#endif

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

using FunctionsRunTest = FunctionsFixture;

TEST_F(FunctionsRunTest, GivesTheBitsOfThreads) {
  for (const unsigned workers : {1U, 2U, 3U}) {
    for (const auto pattern : kPatterns) {
      place_.pattern = pattern;
      place_.channel = workers == 2 ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
      const auto run = run_of(3, workers);
      const auto expected = on_threads(run);
      expect_same(on_processes(run), expected);
      EXPECT_EQ(report_.views, 1U);
      EXPECT_EQ(report_.invocations, workers + 3);
    }
  }
}

TEST_F(FunctionsRunTest, TakesThePatternThatAProbeOfItsChannelSays) {
  place_.chooses_pattern = true;
  place_.emulate = "aws-2021:c5.large";
  std::optional<WorkerJob> job;
  place_.watch = [&](const Engine&) {
    const auto bytes = open_object_store(place_.folder.string())->get(kJobObject);
    job = decode_worker_job(as_text(bytes));
  };
  const auto run = run_of(3, 3);
  const auto outcome = on_processes(run);
  expect_same(outcome, on_threads(run));
  ASSERT_TRUE(outcome.chosen && job);
  EXPECT_EQ(outcome.chosen->failure, "");
  EXPECT_EQ(outcome.chosen->forecasts.size(), std::size(kPatterns));
  EXPECT_GE(outcome.chosen->figures.journey_seconds, 0.00015) << "a latency of the network";
  EXPECT_EQ(job->pattern, outcome.chosen->pattern);
  EXPECT_EQ(job->pieces, outcome.chosen->pieces);

  const auto alone = run_of(2, 1);
  expect_same(on_processes(alone), on_threads(alone));
}

TEST_F(FunctionsRunTest, GivesTheSameBitsThroughAChannelThatFailsOnPurpose) {
  place_.faults = {"throttled=0.02", "cut-off=0.02", "late=0.05", "late-by=5ms", "doubled=0.1", "get-cut-off=0.02"};
  const auto run = run_of(4, 3);
  expect_same(on_processes(run), on_threads(run));
  EXPECT_GT(report_.retries, 0U);
  const auto retries = report_.retries;
  const auto puts = report_.traffic.messages_put;
  expect_same(on_processes(run), on_threads(run));
  EXPECT_EQ(report_.traffic.messages_put, puts);  // which of them fail follows from the seed
  EXPECT_EQ(report_.retries, retries);
  place_.faults.clear();
  expect_same(on_processes(run), on_threads(run));
  EXPECT_EQ(report_.retries, 0U);
  EXPECT_LT(report_.traffic.messages_put, puts);
}

TEST_F(FunctionsRunTest, TakesTheDefaultPatternWhenItsChannelCannotBeMeasured) {
  MemoryChannel memory;
  ShapedChannel refusing(memory, {.faults = {.throttled = 1}});
  const auto run = run_of(1, 3);
  const auto [choice, traffic] =
      probe_for_pattern(refusing, std::nullopt, run.plan, set_.manifest, 10, place_.memory_bytes, {}, {});
  EXPECT_EQ(choice.pattern, default_pattern(3));
  EXPECT_THAT(choice_text(choice), HasSubstr("scatter-reduce, unmeasured: "));
  EXPECT_THAT(choice.failure, HasSubstr("too many requests"));
  EXPECT_EQ(traffic, Traffic());
}

TEST_F(FunctionsRunTest, ClearsAwayWhatAKilledProbeLeft) {
  PsServerOptions options;
  options.listen = {"unix:" + (folder() / "probed.socket").string()};
  PsServer server(options);
  place_.store = "ps:" + server.addresses()[0];
  const auto channel = open_channel(place_.store, place_.run_id, "");
  const ByteView text = as_bytes(std::string_view("left"));
  channel->put(std::vector<Outgoing>{{{.view = 0, .round = 9}, {&text, 1}}}, {Deadline::in(10s)});
  const auto run = run_of(1, 2);
  expect_same(on_processes(run), on_threads(run));
  EXPECT_EQ(channel->contents({Deadline::in(10s)}), ChannelContents());
}

TEST_F(FunctionsRunTest, GivesTheSameBitsWhenWorkersAreKilledAgainAndAgain) {
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0, kills = 0;
  bool is_under_way = false;  // some die before, some after
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (processes.empty() || kills >= (is_under_way ? 9U : 4U) || random.below(2, 0, look++) > 0) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
    ++kills;
  };
  with_enough_epochs(20, [&](std::uint32_t epochs) {
    const auto run = run_of(epochs, 3);
    kills = 0;
    is_under_way = false;
    expect_same(on_processes(run, [&](std::size_t) { is_under_way = true; }), on_threads(run));
    return kills > 4;
  });
  EXPECT_GT(kills, 4U);
  EXPECT_GT(report_.views, 1U);
}

TEST_F(FunctionsRunTest, GoesOnInTheNextGenerationWhenALifeIsOver) {
  place_.lifetime = kShortLife;
  with_enough_epochs(40, [&](std::uint32_t epochs) {
    const auto run = run_of(epochs, 2);
    expect_same(on_processes(run), on_threads(run));
    return report_.views > 1;
  });
  EXPECT_GT(report_.views, 1U);
}

TEST_F(FunctionsRunTest, HasAFreshFunctionAfterEveryFewRounds) {
  for (const auto& [rounds, workers] : {std::pair{1U, 1U}, {1U, 2U}, {7U, 3U}}) {
    place_.rounds_per_invocation = rounds;
    const auto run = run_of(1, workers);
    const auto expected = on_threads(run);
    expect_same(on_processes(run), expected);
    const auto generations = (expected.result.last.round + rounds - 1) / rounds;
    EXPECT_EQ(report_.views, generations);
    EXPECT_EQ(report_.invocations, generations * workers + 1);
    EXPECT_EQ(report_.worker_rounds, expected.result.last.round * workers) << "none was run twice";
  }
}

TEST_F(FunctionsRunTest, LeavesWhereModelsAreAveragedAfterSoManyRounds) {
  auto run = run_of(2, 2);
  run.plan.algorithm = {.kind = AlgorithmKind::kModelAveraging, .every = 5};
  const auto expected = undisturbed(run);
  place_.rounds_per_invocation = 6;
  expect_same(on_processes(run), expected);
  EXPECT_EQ(expected.result.last.round, 54U);
  EXPECT_EQ(report_.views, 6U) << "of 27 rounds an epoch: after 10, 20 and 27";
}

TEST_F(FunctionsRunTest, StopsAndGoesOnThoughEachFunctionRunsOneRound) {
  place_.rounds_per_invocation = 1;
  const auto run = run_of(2, 2);
  const auto expected = on_threads(run);
  std::stop_source stop;
  const auto stop_after_1 = [&](std::size_t evaluations) {
    if (evaluations == 1) stop.request_stop();
  };
  const auto part = on_processes(run, stop_after_1, stop.get_token());
  EXPECT_EQ(part.result.reason, EndReason::kStopped);
  EXPECT_LT(part.result.last.round, expected.result.last.round);
  place_.resume = true;
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, KeepsTheBestModelWhenItIsStopped) {
  std::stop_source stop;
  const auto outcome = on_processes(
      run_of(2000, 2), [&](std::size_t) { stop.request_stop(); }, stop.get_token());
  EXPECT_EQ(outcome.result.reason, EndReason::kStopped);
  EXPECT_GE(outcome.history.size(), 1U);
  EXPECT_LT(outcome.result.last.epoch, 2000U);
}

TEST_F(FunctionsRunTest, StopsAtTheFirstSnapshotThatMetTheTarget) {
  auto run = run_of(60, 2);
  run.target_loss = *on_threads(run).history[3].validation_loss;
  const auto expected = on_threads(run);
  expect_same(on_processes(run), expected);
  EXPECT_EQ(expected.result.reason, EndReason::kTargetLoss);
}

class FunctionsRunBudgetTest : public FunctionsRunTest {
 protected:
  FunctionsRunBudgetTest() {
    place_.channel = FunctionsPlace::ChannelKind::kDirectory;  // whose hours cost nothing
    place_.lifetime = 400ms;
    place_.ledger = folder() / "ledger.jsonl";
  }
  ~FunctionsRunBudgetTest() override { std::filesystem::remove(place_.ledger); }

  [[nodiscard]] Usd spent() const { return price(read_ledger(place_.ledger), builtin_price_table()).total(); }
  /// Enough for one generation of two workers, not for another one.
  const Usd tight_ = Usd::of(0.0019);
};

TEST_F(FunctionsRunBudgetTest, StopsBeforeMoreIsSpentAndGoesOnWithALargerOne) {
  const auto run = run_of(300, 2);
  const auto expected = on_threads(run);
  place_.budget = tight_;
  const auto part = on_processes(run);
  EXPECT_EQ(part.result.reason, EndReason::kBudget);
  EXPECT_LT(part.result.last.epoch, 300U);
  EXPECT_LE(spent(), tight_);
  EXPECT_GT(spent(), Usd());
  EXPECT_EQ(read_leased(*open_object_store(place_.folder.string())), spent());
  place_.resume = true;
  place_.budget = Usd::of(1);
  place_.lifetime = 60s;
  place_.channel = FunctionsPlace::ChannelKind::kDataStore;  // which is faster
  for (const auto& report : part.history) place_.reported.insert(report.round);
  const auto rest = on_processes(run);
  EXPECT_EQ(rest.result.parameters, expected.result.parameters);
  EXPECT_EQ(rest.result.reason, EndReason::kEpochs);
}

TEST_F(FunctionsRunBudgetTest, StopsWhileThereIsMoneyForWhoeverIsTold) {
  const auto run = run_of(1, 2);
  const auto expected = on_threads(run);
  place_.rounds_per_invocation = 1;
  place_.budget = tight_;
  const auto part = on_processes(run);
  EXPECT_EQ(part.result.reason, EndReason::kBudget);
  EXPECT_GT(part.result.last.round, 0U) << "there is a model";
  EXPECT_LE(part.result.last.round, 3U);
  EXPECT_LE(spent(), tight_);
  place_.resume = true;
  place_.budget = Usd::of(1);
  EXPECT_EQ(on_processes(run).result.parameters, expected.result.parameters);
}

TEST_F(FunctionsRunBudgetTest, IsNeverExceededWhateverDies) {
  place_.budget = Usd::of(0.003);
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (processes.empty() || random.below(3, 0, look++) > 0) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
  };
  try {
    const auto outcome = on_processes(run_of(2000, 3));
    EXPECT_EQ(outcome.result.reason, EndReason::kBudget);
  } catch (const Error& error) {
    // Who is killed at once again and again gets no further, and spends little.
    EXPECT_THAT(error.kind(), testing::AnyOf(ErrorKind::kUnavailable, ErrorKind::kBudgetExhausted)) << error.what();
  }
  EXPECT_LE(spent(), *place_.budget);
}

TEST_F(FunctionsRunBudgetTest, CountsRequestsThatAreBilled) {
  place_.channel = FunctionsPlace::ChannelKind::kDataStore;
  place_.emulate = "aws-2021:s3";
  place_.lifetime = 60s;
  const auto run = run_of(300, 2);
  const auto expected = on_threads(run);
  place_.budget = Usd::of(0.004);
  const auto part = on_processes(run);
  EXPECT_EQ(part.result.reason, EndReason::kBudget);
  EXPECT_LT(part.result.last.epoch, 300U);
  EXPECT_GT(part.result.last.round, 0U);
  EXPECT_LE(spent(), *place_.budget);
  const auto ledger = read_ledger(place_.ledger);
  const auto bill = price(ledger, builtin_price_table());
  EXPECT_GT(bill.of_service("object-store"), Usd());
}

TEST_F(FunctionsRunBudgetTest, GoesByThePricesOfTheRun) {
  place_.prices = find_price_table("ibm-2021");
  place_.budget = tight_;
  EXPECT_EQ(on_processes(run_of(300, 2)).result.reason, EndReason::kBudget);
  const auto ledger = read_ledger(place_.ledger);
  const auto bill = price(ledger, place_.prices);
  EXPECT_LE(bill.total(), tight_);
  EXPECT_EQ(read_leased(*open_object_store(place_.folder.string())), bill.total());
  ASSERT_FALSE(bill.charges().empty());
  const double gb_seconds_of_unit = 1769.0 / 1024 * 0.1;
  const auto units = bill.charges().front().amount / gb_seconds_of_unit;
  EXPECT_NEAR(units, std::round(units), 1e-6) << "each is billed by 100 ms";
}

TEST_F(FunctionsRunBudgetTest, RefusesAServiceWithoutAPriceBeforeAnythingIsDone) {
  place_.prices = find_price_table("ibm-2021");
  place_.channel = FunctionsPlace::ChannelKind::kDataStore;
  const auto refused = [&] {
    try {
      (void)on_processes(run_of(1, 2));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.remedy(), HasSubstr("--prices"));
      return std::string(error.what());
    }
    return std::string();
  };
  place_.emulate = "aws-2021:s3";
  EXPECT_THAT(refused(), AllOf(HasSubstr("the channel (exchange.channel) is paid for as 'object-store'"),
                               HasSubstr("IBM Cloud Functions of 2021-12-06"), HasSubstr("rabbitmq, redis")));
  place_.emulate.reset();
  for (const auto& [store, service] : {std::pair{"dynamodb://table/x", "dynamodb"},
                                       {"memcached://127.0.0.1:1", "memcached"},
                                       {"s3://b/x", "object-store"}}) {
    place_.store = store;
    EXPECT_THAT(refused(), HasSubstr(service)) << store;
  }
  place_.store.clear();
  place_.uri = "s3://bucket/run/functions";
  EXPECT_THAT(refused(), HasSubstr("the place of the run (output.run)"));
  place_.uri.clear();
  place_.data = "s3://bucket/set";
  EXPECT_THAT(refused(), HasSubstr("the data (data.train)"));
  EXPECT_FALSE(std::filesystem::exists(place_.folder));
  EXPECT_FALSE(std::filesystem::exists(place_.ledger));
}

TEST_F(FunctionsRunBudgetTest, CountsWhatADriverThatDiedHadLeased) {
  place_.budget = tight_;
  const auto run = run_of(300, 2);
  EXPECT_EQ(on_processes(run).result.reason, EndReason::kBudget);
  keep_leased(*open_object_store(place_.folder.string()),
              Usd::of(0.9999));  // as if it had died with all that under way
  place_.resume = true;
  place_.budget = Usd::of(1);
  try {
    (void)on_processes(run);
    ADD_FAILURE() << "it has gone on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBudgetExhausted);
    EXPECT_THAT(error.what(), HasSubstr("too small for 2 functions to begin"));
  }
}

class MachinesRunTest : public FunctionsRunTest {
 protected:
  MachinesRunTest() {
    place_.engine = FunctionsPlace::EngineKind::kVm;
    place_.instance = "c5.large";
    place_.channel = FunctionsPlace::ChannelKind::kDirect;
    place_.ledger = folder() / "machines.jsonl";
  }
  ~MachinesRunTest() override { std::filesystem::remove(place_.ledger); }
};

TEST_F(MachinesRunTest, ArePaidForFromTheirRequestOnWhoeverDiesOnThem) {
  const auto run = run_of(20, 2);
  const auto expected = on_threads(run);
  int kills = 0;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (!processes.empty() && kills < 2 && ++kills > 0) ::kill(processes.front(), SIGKILL);
  };
  expect_same(on_processes(run), expected);
  EXPECT_EQ(kills, 2);
  const auto ledger = read_ledger(place_.ledger);
  ASSERT_EQ(ledger.vms.size(), 2U) << "a worker that died is started again on its machine";
  EXPECT_GE(ledger.invocations.size(), 2U + 20U + 1U);
  for (const auto& vm : ledger.vms) {
    EXPECT_EQ(vm.instance, "c5.large");
    EXPECT_EQ(vm.startup_seconds, 132);
    EXPECT_LT(vm.seconds, 120) << "nobody waits for a start-up";
    for (const auto& record : ledger.invocations) {
      EXPECT_EQ(record.instance, "c5.large");
      EXPECT_GE(record.start_seconds, vm.start_seconds);
      EXPECT_LE(record.start_seconds + record.seconds, vm.start_seconds + vm.seconds + 0.01);
    }
  }
  const auto bill = price(ledger, builtin_price_table());
  EXPECT_EQ(bill.total(), bill.of_service("c5.large"));
  EXPECT_EQ(price(report_.ledger, builtin_price_table()), bill);
}

TEST_F(MachinesRunTest, StopWhileThereIsMoneyForTheEndAndGoOnWithMore) {
  const auto run = run_of(2000, 2);
  // Two seconds, and what is kept back: half a minute for the end, and a minute for who loses his driver.
  const auto each = vm_price(find_instance(builtin_price_table(), "c5.large"), 132, 2 + 30 + 60);
  place_.budget = each + each;
  const auto part = on_processes(run);
  EXPECT_EQ(part.result.reason, EndReason::kBudget);
  EXPECT_GT(part.result.last.epoch, 0U);
  const auto spent = price(read_ledger(place_.ledger), builtin_price_table()).total();
  EXPECT_LE(spent, *place_.budget);
  EXPECT_EQ(read_leased(*open_object_store(place_.folder.string())), spent);
  place_.resume = true;
  EXPECT_THROW((void)on_processes(run), Error) << "the start of other machines is not to be had for the rest";
}

TEST_F(FunctionsRunTest, GoesOnAfterItWasStopped) {
  const auto run = run_of(60, 2);
  const auto expected = on_threads(run);
  std::stop_source stop;
  const auto stop_after_4 = [&](std::size_t evaluations) {
    if (evaluations == 4) stop.request_stop();
  };
  EXPECT_EQ(on_processes(run, stop_after_4, stop.get_token()).result.reason, EndReason::kStopped);
  ASSERT_TRUE(std::filesystem::exists(place_.folder));
  place_.resume = true;
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, GoesOnAfterItsDriverWasKilledAgainAndAgain) {
  const auto run = run_of(40, 2);
  const auto expected = on_threads(run);
  for (std::size_t death = 1; death <= 4; ++death) {
    const auto driver = ::fork();
    if (driver == 0) {
      (void)on_processes(run, [&](std::size_t evaluations) {
        if (evaluations == 3 * death) ::kill(::getpid(), SIGKILL);
      });
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(driver, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it died in the middle";
    place_.resume = true;
  }
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, LeavesTheRunToADriverThatTakesOver) {
  const auto run = run_of(2000, 1);
  DirectoryRegister registers((place_.folder / "registers").string());
  place_.watch = [&](const Engine&) {
    registers.write(kDriverRegister, as_bytes("{}"), {Deadline::in(20s)});  // as another driver would
  };
  try {
    (void)on_processes(run);
    FAIL() << "two drivers";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
    EXPECT_THAT(error.what(), HasSubstr("another driver has taken over"));
  }
}

TEST_F(FunctionsRunTest, RefusesConnectionsBetweenFunctionsThatCannotMeet) {
  place_.channel = FunctionsPlace::ChannelKind::kDirect;
  EXPECT_NO_THROW(check_functions_meet(place_)) << "processes of one machine";
  place_.engine = FunctionsPlace::EngineKind::kLocal;
  if (SandboxMaker("test").powers().network.empty()) return check_functions_meet(place_);  // they can, where this runs
  try {
    check_functions_meet(place_);
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("a network of its own (by namespace)"));
    EXPECT_THAT(error.remedy(), testing::HasSubstr("--engine process"));
  }
  EXPECT_EQ(paid_channel(place_), std::nullopt);
}

TEST_F(FunctionsRunTest, SaysWhyWorkersDieAgainAndAgain) {
  place_.watch = [](const Engine& engine) {
    for (const auto pid : engine.processes()) ::kill(pid, SIGKILL);
  };
  try {
    (void)on_processes(run_of(5000, 2));
    FAIL() << "trained by the dead";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), HasSubstr("10 restarts in a row"));
    EXPECT_THAT(error.what(), HasSubstr("killed by signal 9"));
  }
}

}  // namespace
}  // namespace virga
