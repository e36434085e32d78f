// What of the design space is supported: each cell gives the bits of threads, undisturbed, with killed workers, and
// after its driver was killed; with protocols whose bits are those of no other run, as good a model. What has no line
// here is refused by name (job/options.cc).
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <sys/wait.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/random.h"
#include "virga/channel/dynamodb_testing.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/redis_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/driver/functions_run_testing.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

enum class StoreKind : std::uint8_t { kDirectory, kPs, kRedis, kMemcached, kDynamo, kS3, kDirect, kMachines };
constexpr std::size_t kStores = 6;  // that take turns: all but the last two

struct ModelCase {
  const char* kind;
  PlantedLabels labels;
  const char* optimizer;        // each with another one
  const char* covariance = "";  // a full one is of dense rows
  [[nodiscard]] bool dense() const { return std::string_view(covariance) == "full"; }
};
std::ostream& operator<<(std::ostream& out, const ModelCase& model) { return out << model.kind; }

constexpr ModelCase kModels[] = {{"logistic", PlantedLabels::kBinary, "adagrad"},
                                 {"svm", PlantedLabels::kBinary, "sgd"},
                                 {"svm-squared", PlantedLabels::kBinary, "momentum"},
                                 {"softmax", PlantedLabels::kClasses, "adam"},
                                 {"least-squares", PlantedLabels::kValues, "nesterov"}};

constexpr ModelCase kClusterings[] = {{"kmeans", PlantedLabels::kBinary, "none"},
                                      {"gaussian-mixture", PlantedLabels::kBinary, "none", "diagonal"},
                                      {"gaussian-mixture", PlantedLabels::kBinary, "none", "full"}};

std::string name_of(StoreKind store) {
  constexpr const char* kNames[] = {"directory", "ps", "redis", "memcached", "dynamodb", "s3", "direct", "vm"};
  return kNames[static_cast<std::size_t>(store)];
}

using Cell = std::tuple<ModelCase, Pattern, StoreKind, AlgorithmPlan>;

/// Each model and pattern through two stores in turn, so that each model goes through each store, and so does each
/// pattern; but through S3, whose requests take ten milliseconds, only one model. Pipelined sends what scatter-reduce
/// does, in pieces: the smallest and the largest model.
std::vector<Cell> cells() {
  std::vector<Cell> cells;
  std::size_t first = 0;
  for (const auto& model : kModels) {
    for (const auto pattern : kPatternsOfOneThread) {
      for (const std::size_t number : {first, first + 1}) {
        const auto store = static_cast<StoreKind>(number % kStores);
        if (store == StoreKind::kS3 && &model != &kModels[0]) continue;
        cells.emplace_back(model, pattern, store, AlgorithmPlan());
      }
      first += 2;
    }
    ++first;
  }
  cells.emplace_back(kModels[0], Pattern::kPipelined, StoreKind::kPs, AlgorithmPlan());
  cells.emplace_back(kModels[3], Pattern::kPipelined, StoreKind::kRedis, AlgorithmPlan());
  return cells;
}

class Conformance : public FunctionsFixture, public testing::WithParamInterface<Cell> {
 protected:
  static void SetUpTestSuite() {
    FunctionsFixture::SetUpTestSuite();
    redis_ = std::make_unique<RedisServer>();
    memcached_ = new_memcached();
    dynamo_ = std::make_unique<DynamoService>();
    make_planted_set(folder() / "classes", PlantedLabels::kClasses);
    make_planted_set(folder() / "values", PlantedLabels::kValues);
    make_blobs(folder());
  }
  static void TearDownTestSuite() {
    dynamo_.reset();
    memcached_.reset();
    redis_.reset();
    FunctionsFixture::TearDownTestSuite();
  }

  Conformance() {
    const auto& [model, pattern, store, algorithm] = GetParam();
    if (model.labels == PlantedLabels::kClasses) set_ = open_data_set((folder() / "classes" / "set").string());
    if (model.labels == PlantedLabels::kValues) set_ = open_data_set((folder() / "values" / "set").string());
    if (model.dense()) set_ = open_data_set((folder() / "blobs").string());
    place_.data = set_.uri;
    place_.pattern = pattern;
    if (store == StoreKind::kDirectory) place_.channel = FunctionsPlace::ChannelKind::kDirectory;
    if (store == StoreKind::kDirect || store == StoreKind::kMachines) {
      place_.channel = FunctionsPlace::ChannelKind::kDirect;
    }
    if (store == StoreKind::kMachines) {
      place_.engine = FunctionsPlace::EngineKind::kVm;
      place_.instance = "c5.large";
    }
    if (store == StoreKind::kRedis) {
      place_.store = redis_->uri();
      place_.store_token = redis_->password();
    }
    if (store == StoreKind::kMemcached) place_.store = memcached_->uri();
    if (store == StoreKind::kDynamo) {
      place_.store = dynamo_->uri();
      place_.store_token = dynamo_->token();
    }
    if (store == StoreKind::kS3) {
      static const auto bucket = Swift::shared().make_bucket();
      static int runs = 0;
      place_.store = fmt::format("s3://{}/{}?endpoint={}", bucket, ++runs, Swift::shared().endpoint());
      place_.store_token = "test%3Atester:testing";
    }
    Job job;
    job.functions.engine = "single";
    job.model.kind = model.kind;
    job.optimizer.name = model.optimizer;
    job.optimizer.learning_rate = 0.02;
    job.optimizer.batch_size = 100;
    job.stop.epochs = 6;
    job.stop.patience = 0;
    job.functions.workers = 2;
    run_.seed = job.seed;
    if (std::string_view(model.optimizer) == "none") {
      job.optimizer = {.batch_size = 100};
      job.model.clusters = 5;
      if (model.covariance[0] != '\0') job.model.covariance = model.covariance;
      job.stop.improvement = 0;
      job.stop.epochs = 20;  // of few rounds: there is to be time to be killed in
      run_.plan = plan_training(job, set_.manifest, 1);
      GroupCache cache(*set_.store, set_.manifest, 1U << 24);
      find_first_centres(run_, Seeding::kKMeansParallel, cache, {});
      return;
    }
    run_.plan = plan_training(job, set_.manifest, 1);
    run_.plan.algorithm = algorithm;
  }

  ~Conformance() override {
    // A server may come to the last request of a worker that was killed when all has been swept.
    if (killed_) {
      if (redis_->ask({"DBSIZE"}).integer != 0) redis_ = std::make_unique<RedisServer>();
      if (!memcached_->keys().empty()) memcached_ = new_memcached();
      if (dynamo_->items() != 0) dynamo_ = std::make_unique<DynamoService>();
      return;
    }
    EXPECT_EQ(redis_->ask({"DBSIZE"}).integer, 0);
    EXPECT_THAT(memcached_->keys(), testing::IsEmpty());
    EXPECT_EQ(dynamo_->items(), 0U);
  }
  /// Some workers are killed in the next run.
  void kill_workers() {
    killed_ = true;
    place_.watch = [this, random = Random(1, Purpose::kTest), look = std::uint64_t{0}](const Engine& engine) mutable {
      const auto processes = engine.processes();
      if (processes.empty() || kills_ == most_kills_) return;
      if (kills_ > 0 && random.below(2, 0, look++) > 0) return;  // a driver may look but seldom in a short run
      ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
      ++kills_;
    };
  }
  /// What another driver has begun, which was killed in the middle.
  [[nodiscard]] Outcome resumed() {
    const auto driver = ::fork();
    if (driver == 0) {
      place_.watch = [looks = 0](const Engine&) mutable {
        if (++looks == 3) ::kill(::getpid(), SIGKILL);
      };
      // At its first evaluation at the latest: a driver may look but seldom in a short run.
      (void)on_processes(run_, [](std::size_t) { ::kill(::getpid(), SIGKILL); });
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(driver, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it died in the middle";
    killed_ = true;
    place_.resume = true;
    return on_processes(run_);
  }

  static std::unique_ptr<MemcachedService> new_memcached() {
    return std::make_unique<MemcachedService>(std::vector<std::string>{"-M"});
  }

  bool killed_ = false;
  int kills_ = 0;
  int most_kills_ = 5;

  TrainingRun run_;

 private:
  // In which nothing is left after any run of which nobody was killed.
  static inline std::unique_ptr<RedisServer> redis_;
  static inline std::unique_ptr<MemcachedService> memcached_;
  static inline std::unique_ptr<DynamoService> dynamo_;
};

TEST_P(Conformance, GivesTheBitsOfAnUndisturbedRun) { expect_same(on_processes(run_), undisturbed(run_)); }

TEST_P(Conformance, GivesTheSameBitsWhenWorkersAreKilled) {
  const auto expected = undisturbed(run_);
  kill_workers();
  expect_same(on_processes(run_), expected);
  EXPECT_GT(kills_, 0);
}

TEST_P(Conformance, GivesTheSameBitsWhenItsDriverIsKilled) {
  const auto expected = undisturbed(run_);
  const auto outcome = resumed();
  EXPECT_EQ(outcome.result.parameters, expected.result.parameters);
  EXPECT_EQ(outcome.result.best.epoch, expected.result.best.epoch);
}

/// Cells whose bits are those of no other run: they are trained until it does not matter much how.
class ApartConformance : public Conformance {
 protected:
  ApartConformance() {
    const std::string_view optimizer = std::get<0>(GetParam()).optimizer;
    const bool is_s3 = std::get<2>(GetParam()) == StoreKind::kS3;  // where a step takes some tens of milliseconds
    run_.plan.learning_rate = optimizer == "adagrad" ? 0.5 : optimizer == "sgd" ? 0.2 : 0.05;
    run_.plan.epochs = is_s3 ? 4 : 8;
    if (is_s3) run_.plan.batch_size = 450;
  }
};

TEST_P(ApartConformance, GivesAsGoodAModel) {
  const auto outcome = on_processes(run_);
  expect_as_good(outcome, run_);
  EXPECT_EQ(outcome.history.size(), run_.plan.epochs);
  const auto expected = on_threads(run_);
  EXPECT_EQ(outcome.result.last.round, expected.result.last.round);
  EXPECT_EQ(outcome.result.last.examples, expected.result.last.examples);
  EXPECT_EQ(report_.staleness.size(), run_.plan.workers);
}

TEST_P(ApartConformance, GivesAsGoodAModelWhenWorkersAreKilled) {
  kill_workers();
  expect_as_good(on_processes(run_), run_);
  EXPECT_GT(kills_, 0);
}

TEST_P(ApartConformance, GivesAsGoodAModelWhenItsDriverIsKilled) { expect_as_good(resumed(), run_); }

/// PyWren's way: nobody lives longer than a round.
class FreshConformance : public Conformance {
 protected:
  FreshConformance() {
    place_.rounds_per_invocation = 1;
    place_.checkpoint_interval = std::chrono::seconds(60);  // so that each death costs a round of all
    run_.plan.epochs = 2;
    run_.plan.batch_size = 450;
  }
};

TEST_P(FreshConformance, GivesTheBitsOfAnUndisturbedRun) {
  const auto expected = undisturbed(run_);
  expect_same(on_processes(run_), expected);
  const auto rounds_per_epoch = make_schedule(run_.plan, set_.manifest, run_.seed).rounds_per_epoch();
  EXPECT_EQ(report_.views, exchanges_after(run_.plan, expected.result.last.round, rounds_per_epoch));
}

TEST_P(FreshConformance, GivesTheSameBitsWhenWorkersAreKilled) {
  const auto expected = undisturbed(run_);
  kill_workers();
  expect_same(on_processes(run_), expected);
  EXPECT_GT(kills_, 0);
}

TEST_P(FreshConformance, GivesTheSameBitsWhenItsDriverIsKilled) {
  const auto expected = undisturbed(run_);
  const auto outcome = resumed();
  EXPECT_EQ(outcome.result.parameters, expected.result.parameters);
  EXPECT_EQ(outcome.result.best.epoch, expected.result.best.epoch);
}

/// The run itself lies at S3, whatever its messages travel through.
class AtS3Conformance : public Conformance {
 protected:
  AtS3Conformance() {
    for (const auto& [name, value] : Swift::shared().variables()) {
      ::setenv(name.c_str(), value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
    }
    place_.uri = fmt::format("s3://{}/functions", Swift::shared().make_bucket());
    place_.environment["VIRGA_DATA_TOKEN"] = "test%3Atester:testing";
    // What costs a request is rare.
    place_.checkpoint_interval = std::chrono::milliseconds(200);
    run_.plan.epochs = 2;
    most_kills_ = 2;
  }
  ~AtS3Conformance() override { EXPECT_THAT(open_object_store(place_.uri)->list(), testing::IsEmpty()); }
};

TEST_P(AtS3Conformance, GivesTheSameBitsWhenWorkersAreKilled) {
  const auto expected = on_threads(run_);
  kill_workers();
  expect_same(on_processes(run_), expected);
  EXPECT_GT(kills_, 0);
}

TEST_P(AtS3Conformance, GivesTheSameBitsWhenItsDriverIsKilled) {
  const auto expected = on_threads(run_);
  const auto outcome = resumed();
  EXPECT_EQ(outcome.result.parameters, expected.result.parameters);
  EXPECT_EQ(outcome.result.best.epoch, expected.result.best.epoch);
}

std::string name_of_cell(const testing::TestParamInfo<Cell>& test) {
  const auto& [model, pattern, store, algorithm] = test.param;
  auto name = std::string(model.kind) + (model.dense() ? "_full_" : "_") + name_of(pattern) + "_" + name_of(store);
  for (auto& letter : name) letter = letter == '-' ? '_' : letter;
  return name;
}

INSTANTIATE_TEST_SUITE_P(GradientAveragingBsp, Conformance, testing::ValuesIn(cells()), name_of_cell);

// Straight between workers: no store, whose messages would outlive them.
INSTANTIATE_TEST_SUITE_P(
    Direct, Conformance,
    testing::Values(Cell(kModels[0], Pattern::kAllToAll, StoreKind::kDirect, AlgorithmPlan()),
                    Cell(kModels[3], Pattern::kScatterReduce, StoreKind::kDirect, AlgorithmPlan()),
                    Cell(kModels[1], Pattern::kScatterReduce, StoreKind::kDirect,
                         AlgorithmPlan{.kind = AlgorithmKind::kModelAveraging, .every = 7}),
                    Cell(kModels[2], Pattern::kAllToAll, StoreKind::kDirect,
                         AlgorithmPlan{.kind = AlgorithmKind::kAdmm, .passes = 2, .rho = 1e-2}),
                    Cell(kClusterings[0], Pattern::kScatterReduce, StoreKind::kDirect, AlgorithmPlan()),
                    Cell(kClusterings[1], Pattern::kAllToAll, StoreKind::kDirect, AlgorithmPlan()),
                    Cell(kClusterings[2], Pattern::kAllToAll, StoreKind::kDirect, AlgorithmPlan())),
    name_of_cell);

// Virtual machines, which are connected with each other (engine vm).
INSTANTIATE_TEST_SUITE_P(
    Machines, Conformance,
    testing::Values(Cell(kModels[0], Pattern::kAllToAll, StoreKind::kMachines, AlgorithmPlan()),
                    Cell(kModels[3], Pattern::kScatterReduce, StoreKind::kMachines, AlgorithmPlan()),
                    Cell(kModels[1], Pattern::kScatterReduce, StoreKind::kMachines,
                         AlgorithmPlan{.kind = AlgorithmKind::kModelAveraging, .every = 7}),
                    Cell(kModels[2], Pattern::kAllToAll, StoreKind::kMachines,
                         AlgorithmPlan{.kind = AlgorithmKind::kAdmm, .passes = 2, .rho = 1e-2}),
                    Cell(kClusterings[0], Pattern::kScatterReduce, StoreKind::kMachines, AlgorithmPlan())),
    name_of_cell);

// That patterns give the same bits, and channels, is the matter of the suite above, and of the rooms they are in.
INSTANTIATE_TEST_SUITE_P(ModelAveraging, Conformance,
                         testing::Combine(testing::ValuesIn(kModels), testing::Values(Pattern::kScatterReduce),
                                          testing::Values(StoreKind::kPs),
                                          testing::Values(AlgorithmPlan{.kind = AlgorithmKind::kModelAveraging,
                                                                        .every = 7})),
                         name_of_cell);
INSTANTIATE_TEST_SUITE_P(Admm, Conformance,
                         testing::Combine(testing::ValuesIn(kModels), testing::Values(Pattern::kAllToAll),
                                          testing::Values(StoreKind::kRedis),
                                          testing::Values(AlgorithmPlan{
                                              .kind = AlgorithmKind::kAdmm, .passes = 2, .rho = 1e-2})),
                         name_of_cell);

constexpr AlgorithmPlan kFresh{.protocol = ProtocolKind::kSsp, .staleness = 0};
constexpr AlgorithmPlan kStale{.protocol = ProtocolKind::kSsp, .staleness = 2};
constexpr AlgorithmPlan kAsynchronous{.protocol = ProtocolKind::kAsp};

// With nothing to be stale, the bits are those of threads.
INSTANTIATE_TEST_SUITE_P(SspFresh, Conformance,
                         testing::Combine(testing::Values(kModels[3]), testing::Values(Pattern::kAllToAll),
                                          testing::Values(StoreKind::kPs), testing::Values(kFresh)),
                         name_of_cell);

/// Each model through another store.
std::vector<Cell> cells_apart(const AlgorithmPlan& algorithm) {
  std::vector<Cell> cells;
  for (std::size_t model = 0; model < std::size(kModels); ++model) {
    cells.emplace_back(kModels[model], Pattern::kAllToAll, static_cast<StoreKind>(model), algorithm);
  }
  return cells;
}
INSTANTIATE_TEST_SUITE_P(Ssp, ApartConformance, testing::ValuesIn(cells_apart(kStale)), name_of_cell);
INSTANTIATE_TEST_SUITE_P(Asp, ApartConformance, testing::ValuesIn(cells_apart(kAsynchronous)), name_of_cell);
// SIREN's own.
INSTANTIATE_TEST_SUITE_P(AspThroughS3, ApartConformance,
                         testing::Values(Cell(kModels[0], Pattern::kAllToAll, StoreKind::kS3, kAsynchronous)),
                         name_of_cell);

INSTANTIATE_TEST_SUITE_P(Pywren, FreshConformance,
                         testing::Values(Cell(kModels[0], Pattern::kLeader, StoreKind::kS3, AlgorithmPlan()),
                                         Cell(kModels[3], Pattern::kScatterReduce, StoreKind::kPs, AlgorithmPlan()),
                                         Cell(kModels[2], Pattern::kAllToAll, StoreKind::kRedis,
                                              AlgorithmPlan{.kind = AlgorithmKind::kAdmm, .passes = 2, .rho = 1e-2})),
                         name_of_cell);

INSTANTIATE_TEST_SUITE_P(RunAtS3, AtS3Conformance,
                         testing::Values(Cell(kModels[0], Pattern::kLeader, StoreKind::kPs, AlgorithmPlan())),
                         name_of_cell);

INSTANTIATE_TEST_SUITE_P(ExpectationMaximisation, Conformance,
                         testing::Combine(testing::ValuesIn(kClusterings), testing::Values(Pattern::kScatterReduce),
                                          testing::Values(StoreKind::kPs, StoreKind::kDirectory),
                                          testing::Values(AlgorithmPlan())),
                         name_of_cell);

}  // namespace
}  // namespace virga
