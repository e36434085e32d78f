// A data store of one's own: it may die and come back, and nothing of a run stays in it.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/redis_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/control/run_folder.h"
#include "virga/driver/functions_run_testing.h"
#include "virga/driver/store_process_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class DataStoreFixture : public FunctionsFixture {
 protected:
  DataStoreFixture() {
    place_.store = "ps:" + store_.address();
    place_.restart_pause = 20ms;
  }
  ~DataStoreFixture() override {
    for (const auto pid : all_) EXPECT_NE(::kill(pid, 0), 0) << "process " << pid << " still runs";
    if (store_.runs()) {
      EXPECT_EQ(store_.messages_of(place_.run_id), 0U);
    }
  }

  void remember(const Engine& engine) {
    for (const auto pid : engine.processes()) all_.insert(pid);
  }
  /// Has the run got further by so many rounds since this was last true?
  [[nodiscard]] bool has_got_further(std::uint64_t rounds) {
    const auto newest = newest_checkpoint();
    if (newest < further_than_ + rounds) return false;
    further_than_ = newest;
    return true;
  }

  StoreProcess store_{"unix:" + (folder() / "store.socket").string()};

 private:
  [[nodiscard]] std::uint64_t newest_checkpoint() const {
    std::uint64_t newest = 0;
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(place_.folder / "checkpoints", none)) {
      if (const auto round = number_of(file.path().filename().string(), "")) newest = std::max(newest, *round);
    }
    return newest;
  }
  std::set<pid_t> all_;
  std::uint64_t further_than_ = 0;
};

/// Two workers through a virga-ps, three through a Redis server or a Memcached.
class DyingStoreTest : public DataStoreFixture, public testing::WithParamInterface<std::tuple<Pattern, unsigned>> {
 protected:
  DyingStoreTest() {
    if (std::get<1>(GetParam()) == 2) return;
    if (std::get<0>(GetParam()) == Pattern::kLeader) {
      memcached_.emplace();
      place_.store = memcached_->uri();
      return;
    }
    redis_.emplace();
    place_.store = redis_->uri();
    place_.store_token = redis_->password();
  }
  ~DyingStoreTest() override {
    if (redis_) {
      EXPECT_EQ(redis_->ask({"DBSIZE"}).integer, 0);
    }
  }

  [[nodiscard]] bool store_runs() const {
    return memcached_ ? memcached_->runs() : redis_ ? redis_->runs() : store_.runs();
  }
  void start_store() { memcached_ ? memcached_->start() : redis_ ? redis_->start() : store_.start(); }
  void kill_store() { memcached_ ? memcached_->kill() : redis_ ? redis_->kill() : store_.kill(); }

 private:
  std::optional<RedisServer> redis_;
  std::optional<MemcachedService> memcached_;
};

TEST_P(DyingStoreTest, GivesTheBitsOfThreads) {
  constexpr int kDeaths = 3;
  constexpr int kLooksWithout = 4;
  const auto& [pattern, workers] = GetParam();
  const auto run = run_of(40, workers);
  const auto expected = on_threads(run);
  place_.pattern = pattern;
  int deaths = 0, looks_without = 0;
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    if (!store_runs()) {
      if (++looks_without % kLooksWithout == 0) start_store();
      return;
    }
    const auto processes = engine.processes();
    if (deaths == kDeaths || processes.empty() || !has_got_further(20)) return;
    if (deaths % 2 == 1) ::kill(processes[static_cast<std::size_t>(deaths) % processes.size()], SIGKILL);
    kill_store();
    ++deaths;
  };

  expect_same(on_processes(run), expected);

  EXPECT_EQ(deaths, kDeaths);
  EXPECT_GT(report_.views, 1U);
}

std::string name_of_dying(const testing::TestParamInfo<DyingStoreTest::ParamType>& test) {
  return name_of(std::get<0>(test.param)) + std::to_string(std::get<1>(test.param));
}
INSTANTIATE_TEST_SUITE_P(All, DyingStoreTest,
                         testing::Combine(testing::ValuesIn(kPatternsOfOneThread), testing::Values(2U, 3U)),
                         name_of_dying);
INSTANTIATE_TEST_SUITE_P(InPieces, DyingStoreTest,
                         testing::Combine(testing::Values(Pattern::kPipelined), testing::Values(3U)), name_of_dying);

using DataStoreTest = DataStoreFixture;

TEST_F(DataStoreTest, IsNamedWhenItStaysAwayAndTheRunGoesOnOnceItIsBack) {
  const auto run = run_of(60, 2);
  const auto expected = on_threads(run);
  place_.restart_pause = 2ms;
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    if (store_.runs() && has_got_further(20)) store_.kill();
  };
  try {
    (void)on_processes(run);
    FAIL() << "trained without a store";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), HasSubstr("10 restarts in a row"));
    EXPECT_THAT(error.what(), HasSubstr(store_.address()));
    EXPECT_THAT(error.remedy(), HasSubstr("server runs there"));
  }
  ASSERT_TRUE(std::filesystem::exists(place_.folder));

  store_.start();
  place_.watch = [&](const Engine& engine) { remember(engine); };
  place_.resume = true;
  const auto resumed = on_processes(run);

  EXPECT_EQ(resumed.result.parameters, expected.result.parameters);
  EXPECT_EQ(resumed.result.best.epoch, expected.result.best.epoch);
  EXPECT_FALSE(std::filesystem::exists(place_.folder));
}

TEST_F(DataStoreTest, MayBeAwayForLongerThanTenStartsOfAWorkerTake) {
  constexpr int kLooksWithout = 50;
  const auto run = run_of(12, 3);
  const auto expected = on_threads(run);
  int looks_without = 0;
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    if (store_.runs()) {
      if (looks_without == 0 && has_got_further(20)) store_.kill();
    } else if (++looks_without == kLooksWithout) {
      store_.start();
    }
  };
  expect_same(on_processes(run), expected);
  EXPECT_EQ(looks_without, kLooksWithout);
}

TEST_F(DataStoreTest, IsNotNeededOnceTheWorkIsDone) {
  const auto run = run_of(3, 2);
  const auto expected = on_threads(run);
  const auto at_the_end = [&](std::size_t evaluations) {
    if (evaluations == 3) store_.kill();
  };
  expect_same(on_processes(run, at_the_end), expected);
}

TEST_F(DataStoreTest, IsEmptyAfterARunThatFailed) {
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    for (const auto pid : engine.processes()) ::kill(pid, SIGKILL);
  };
  EXPECT_THROW((void)on_processes(run_of(5000, 2)), Error);
}

TEST_F(DataStoreTest, IsEmptyAfterARunThatWasStopped) {
  std::stop_source stop;
  place_.watch = [&](const Engine& engine) { remember(engine); };
  (void)on_processes(
      run_of(2000, 3), [&](std::size_t) { stop.request_stop(); }, stop.get_token());
}

TEST_F(DataStoreTest, ThatIsFullEndsTheRunAndLeavesNothing) {
  const RedisServer redis(RedisServer::Listens::kUnix, "sesame",
                          {"--maxmemory", "1kb", "--maxmemory-policy", "noeviction"});
  place_.store = redis.uri();
  place_.store_token = redis.password();
  try {
    (void)on_processes(run_of(3, 2));
    FAIL() << "trained without memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
    EXPECT_THAT(error.what(), HasSubstr(redis.uri()));
    EXPECT_THAT(error.what(), HasSubstr("round 0"));
    EXPECT_THAT(error.remedy(), HasSubstr("maxmemory"));
  }
  EXPECT_EQ(redis.ask({"DBSIZE"}).integer, 0);
}

class DirectoryTest : public DataStoreFixture {
 protected:
  [[nodiscard]] std::size_t views_with_messages() const {
    const auto root = place_.folder / "channel" / place_.run_id;
    std::set<std::filesystem::path> views;
    std::error_code gone;  // under our hands
    using Iterator = std::filesystem::recursive_directory_iterator;
    for (auto at = Iterator(root, gone); !gone && at != Iterator(); at.increment(gone)) {
      const auto name = at->path().filename().string();
      if (at.depth() == 3 && !name.starts_with('.')) views.insert(*at->path().lexically_relative(root).begin());
    }
    return views.size();
  }
};

TEST_F(DirectoryTest, HoldsLittleOfViewsThatAreOver) {
  constexpr int kDeaths = 8;
  constexpr std::size_t kMostViews = 3;  // this one, and what was put late in two before
  place_.channel = FunctionsPlace::ChannelKind::kDirectory;
  int deaths = 0;
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    EXPECT_LE(views_with_messages(), kMostViews);
    const auto processes = engine.processes();
    if (deaths == kDeaths || processes.empty() || !has_got_further(20)) return;
    ::kill(processes[0], SIGKILL);
    ++deaths;
  };
  (void)on_processes(run_of(20, 2));
  EXPECT_EQ(deaths, kDeaths);
  EXPECT_GT(report_.views, kMostViews);
}

TEST_F(DataStoreTest, KeepsRunsApart) {
  PsClient other({.address = store_.address(), .token = "", .job = "other"});
  const auto bytes = as_bytes("x");
  const PsOutgoing message{.key = {.view = 1, .round = 3}, .parts = {&bytes, 1}};
  other.put({&message, 1}, {Deadline::in(20s)});

  const auto run = run_of(3, 2);
  expect_same(on_processes(run), on_threads(run));

  EXPECT_EQ(store_.messages_of("other"), 1U);
}

}  // namespace
}  // namespace virga
