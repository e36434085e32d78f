// What of the design space is supported: each cell gives the bits of threads, undisturbed, with killed workers, and
// after its driver was killed. What has no line here is refused by name (job/options.cc).
#include <csignal>
#include <string>
#include <tuple>

#include <sys/wait.h>

#include <gmock/gmock.h>

#include "virga/base/random.h"
#include "virga/collective/pattern_testing.h"
#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using ChannelKind = FunctionsPlace::ChannelKind;

struct ModelCase {
  const char* kind;
  PlantedLabels labels;
  const char* optimizer;  // each with another one
};
std::ostream& operator<<(std::ostream& out, const ModelCase& model) { return out << model.kind; }

constexpr ModelCase kModels[] = {{"logistic", PlantedLabels::kBinary, "adagrad"},
                                 {"svm", PlantedLabels::kBinary, "sgd"},
                                 {"svm-squared", PlantedLabels::kBinary, "momentum"},
                                 {"softmax", PlantedLabels::kClasses, "adam"},
                                 {"least-squares", PlantedLabels::kValues, "nesterov"}};

std::string name_of(ChannelKind channel) { return channel == ChannelKind::kDirectory ? "directory" : "ps"; }

class Conformance : public FunctionsFixture,
                    public testing::WithParamInterface<std::tuple<ModelCase, Pattern, ChannelKind>> {
 protected:
  static void SetUpTestSuite() {
    FunctionsFixture::SetUpTestSuite();
    make_planted_set(folder() / "classes", PlantedLabels::kClasses);
    make_planted_set(folder() / "values", PlantedLabels::kValues);
  }

  Conformance() {
    const auto& [model, pattern, channel] = GetParam();
    if (model.labels == PlantedLabels::kClasses) set_ = open_data_set((folder() / "classes" / "set").string());
    if (model.labels == PlantedLabels::kValues) set_ = open_data_set((folder() / "values" / "set").string());
    place_.data = set_.uri;
    place_.pattern = pattern;
    place_.channel = channel;
    Job job;
    job.functions.engine = "single";
    job.model.kind = model.kind;
    job.optimizer.name = model.optimizer;
    job.optimizer.learning_rate = 0.02;
    job.optimizer.batch_size = 100;
    job.stop.epochs = 6;
    job.stop.patience = 0;
    job.functions.workers = 2;
    run_.plan = plan_training(job, set_.manifest, 1);
    run_.seed = job.seed;
  }

  TrainingRun run_;
};

TEST_P(Conformance, GivesTheBitsOfThreads) { expect_same(on_processes(run_), on_threads(run_)); }

TEST_P(Conformance, GivesTheBitsOfThreadsWhenWorkersAreKilled) {
  const auto expected = on_threads(run_);
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0;
  int kills = 0;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (processes.empty() || kills == 5 || random.below(2, 0, look++) > 0) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
    ++kills;
  };
  expect_same(on_processes(run_), expected);
  EXPECT_GT(kills, 0);
}

TEST_P(Conformance, GivesTheBitsOfThreadsWhenItsDriverIsKilled) {
  const auto expected = on_threads(run_);
  const auto driver = ::fork();
  if (driver == 0) {
    place_.watch = [looks = 0](const Engine&) mutable {
      if (++looks == 3) ::kill(::getpid(), SIGKILL);
    };
    (void)on_processes(run_);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(driver, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it died in the middle";
  place_.resume = true;
  const auto resumed = on_processes(run_);
  EXPECT_EQ(resumed.result.parameters, expected.result.parameters);
  EXPECT_EQ(resumed.result.best.epoch, expected.result.best.epoch);
}

INSTANTIATE_TEST_SUITE_P(GradientAveragingBsp, Conformance,
                         testing::Combine(testing::ValuesIn(kModels), testing::ValuesIn(kPatterns),
                                          testing::Values(ChannelKind::kDirectory, ChannelKind::kDataStore)),
                         [](const auto& test) {
                           auto name = std::string(std::get<0>(test.param).kind) + "_" +
                                       name_of(std::get<1>(test.param)) + "_" + name_of(std::get<2>(test.param));
                           for (auto& letter : name) letter = letter == '-' ? '_' : letter;
                           return name;
                         });

}  // namespace
}  // namespace virga
