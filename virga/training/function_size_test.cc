#include "virga/training/function_size.h"

#include <gtest/gtest.h>

namespace virga {
namespace {

Job::Functions local(std::uint32_t workers = 0, std::optional<std::uint64_t> memory = {}) {
  Job::Functions job;
  job.engine = "local";
  job.workers = workers;
  job.memory_bytes = memory;
  return job;
}

TEST(FunctionSizeTest, SharesEightTenthsOfTheCores) {
  for (const unsigned cores : {1U, 2U, 8U}) {
    const auto size = function_size(local(), cores);
    EXPECT_EQ(size.workers, 2 * cores);
    EXPECT_EQ(size.memory_bytes, 708'000'000U);
    EXPECT_LE(size.workers * size.cpus, 0.8 * cores * 1.01);
    EXPECT_FALSE(size.oversubscribed);
  }
}

TEST(FunctionSizeTest, DividesTheShareAmongTheWorkersThatAreAskedFor) {
  EXPECT_EQ(function_size(local(2), 2).memory_bytes, 1'415'000'000U);
  EXPECT_EQ(function_size(local(4), 2).memory_bytes, 708'000'000U);
  EXPECT_EQ(function_size(local(1), 2).memory_bytes, 1'769'000'000U) << "a worker computes on one thread";
  EXPECT_EQ(function_size(local(100), 2).memory_bytes, 128'000'000U);
  EXPECT_TRUE(function_size(local(100), 2).oversubscribed);
}

TEST(FunctionSizeTest, TakesAsManyWorkersAsTheirMemoryAllows) {
  EXPECT_EQ(function_size(local(0, 1'769'000'000), 2).workers, 1U);
  EXPECT_EQ(function_size(local(0, 354'000'000), 2).workers, 8U);
  EXPECT_EQ(function_size(local(0, 1'000'000), 2).workers, function_size(local(0, 128'000'000), 2).workers);
  EXPECT_EQ(function_size(local(0, 10'000'000'000), 2).workers, 1U);
}

TEST(FunctionSizeTest, TakesWhatIsSaid) {
  const auto size = function_size(local(3, 1'769'000'000), 2);
  EXPECT_EQ(size.workers, 3U);
  EXPECT_EQ(size.memory_bytes, 1'769'000'000U);
  EXPECT_TRUE(size.oversubscribed);
}

TEST(FunctionSizeTest, LeavesTheWorkersOfOtherEnginesOpen) {
  Job::Functions process;
  process.engine = "process";
  const auto size = function_size(process, 2);
  EXPECT_EQ(size.workers, 0U);
  EXPECT_EQ(size.memory_bytes, 1'769'000'000U);
  EXPECT_FALSE(size.oversubscribed);
}

TEST(FunctionSizeTest, HasTheMemoryOfItsMachine) {
  Job::Functions vm;
  vm.engine = "vm";
  vm.workers = 3;
  const auto size = function_size(vm, 2);
  EXPECT_EQ(size.memory_bytes, (std::uint64_t{4096} << 20U) / 10 * 9) << "of a c5.large, but for the system's";
  EXPECT_EQ(size.cpus, 2);
  EXPECT_TRUE(size.oversubscribed);
  vm.workers = 2;
  EXPECT_FALSE(function_size(vm, 2).oversubscribed) << "a worker computes on one thread";
}

}  // namespace
}  // namespace virga
