// The memory of a function on data ten times its limit.
#include <filesystem>
#include <string>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/data/set_testing.h"
#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsMeasured = false;  // a sanitizer's own memory would count
#else
constexpr bool kIsMeasured = true;
#endif

/// Sparse rows take longer to read.
constexpr std::uint64_t limit_of(bool dense) { return dense ? 48'000'000 : 28'000'000; }

/// Groups repeat, because making them is slow.
TestSet::Options set_of(bool dense) {
  TestSet::Options options{
      .train_rows = dense ? 500'000U : 400'000U, .validation_rows = dense ? 100'000U : 40'000U, .shape = {}};
  options.shape.dense = dense;
  options.shape.rows = 200;
  options.shape.features = dense ? 250 : 1U << 14;
  options.shape.row_length = 100;
  options.shape.values = GroupShape::Values::kFloats;
  options.distinct_groups = 4;
  return options;
}

std::uint64_t decoded_bytes(const TestSet& set, const Split& split) {
  std::uint64_t bytes = 0;
  for (const auto& group : set.train_groups()) bytes += memory_bytes(group);
  return bytes * split.rows / (set.train_groups().size() * set.train_groups()[0].rows);
}

class MemoryTest : public FunctionsFixture, public testing::WithParamInterface<bool> {
 protected:
  MemoryTest() : large_(set_of(GetParam())) {
    large_.manifest().train.label_mean = 400;
    large_.manifest().train.label_variance = 640'000.0 / 12;
    write_manifest(large_.store(), large_.manifest());
    set_ = open_data_set(large_.store().uri());
    place_.data = set_.uri;
    place_.cache_bytes = std::uint64_t{1} << 40;
  }
  [[nodiscard]] TrainingRun run_of(unsigned workers) const {
    Job job;
    job.functions.engine = "single";
    job.stop.epochs = 1;
    job.functions.workers = workers;
    job.optimizer.learning_rate = 0.01;
    job.optimizer.batch_size = 500;
    TrainingRun run;
    run.plan = plan_training(job, set_.manifest, 1);
    return run;
  }

  TestSet large_;
};

TEST_P(MemoryTest, StaysBelowTheLimitOnDataTenTimesAsLarge) {
  const auto limit = limit_of(GetParam());
  ASSERT_GE(decoded_bytes(large_, set_.manifest.train), 10 * limit);
  for (const unsigned workers : {1U, 2U}) {
    const auto run = run_of(workers);
    place_.memory_bytes = limit;
    expect_same(on_processes(run), on_threads(run));
    if (!kIsMeasured) continue;
    EXPECT_LT(report_.peak_memory_bytes, limit) << workers;
    EXPECT_GT(report_.peak_memory_bytes, limit / 3) << "most of it lies idle";
  }
}

TEST_P(MemoryTest, IsRefusedBeforeTheStartIfItIsTooLittle) {
  place_.memory_bytes = 10'000'000;
  const auto run = run_of(2);
  try {
    (void)on_processes(run);
    FAIL() << "trained in no memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
    EXPECT_THAT(error.what(), HasSubstr("a function of 9.5 MiB is too small"));
    EXPECT_THAT(error.remedy(), HasSubstr("--memory"));
    EXPECT_FALSE(std::filesystem::exists(place_.folder));
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, MemoryTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "Dense" : "Sparse"; });

}  // namespace
}  // namespace virga
