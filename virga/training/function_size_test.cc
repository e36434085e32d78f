#include "virga/training/function_size.h"

#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

Job::Functions local(std::uint32_t workers = 0, std::optional<std::uint64_t> memory = {}) {
  Job::Functions job;
  job.engine = "local";
  job.workers = workers;
  job.memory_bytes = memory;
  return job;
}

FunctionSize size_of(const Job::Functions& job, unsigned cores) {
  return function_size(job, cores, builtin_price_table());
}

TEST(FunctionSizeTest, SharesEightTenthsOfTheCores) {
  for (const unsigned cores : {1U, 2U, 8U}) {
    const auto size = size_of(local(), cores);
    EXPECT_EQ(size.workers, 2 * cores);
    EXPECT_EQ(size.memory_bytes, 708'000'000U);
    EXPECT_LE(size.workers * size.cpus, 0.8 * cores * 1.01);
    EXPECT_FALSE(size.oversubscribed);
  }
}

TEST(FunctionSizeTest, DividesTheShareAmongTheWorkersThatAreAskedFor) {
  EXPECT_EQ(size_of(local(2), 2).memory_bytes, 1'415'000'000U);
  EXPECT_EQ(size_of(local(4), 2).memory_bytes, 708'000'000U);
  EXPECT_EQ(size_of(local(1), 2).memory_bytes, 1'769'000'000U) << "a worker computes on one thread";
  EXPECT_EQ(size_of(local(100), 2).memory_bytes, 128'000'000U);
  EXPECT_TRUE(size_of(local(100), 2).oversubscribed);
}

TEST(FunctionSizeTest, TakesAsManyWorkersAsTheirMemoryAllows) {
  EXPECT_EQ(size_of(local(0, 1'769'000'000), 2).workers, 1U);
  EXPECT_EQ(size_of(local(0, 354'000'000), 2).workers, 8U);
  EXPECT_EQ(size_of(local(0, 1'000'000), 2).workers, size_of(local(0, 128'000'000), 2).workers);
  EXPECT_EQ(size_of(local(0, 10'000'000'000), 2).workers, 1U);
}

TEST(FunctionSizeTest, TakesWhatIsSaid) {
  const auto size = size_of(local(3, 1'769'000'000), 2);
  EXPECT_EQ(size.workers, 3U);
  EXPECT_EQ(size.memory_bytes, 1'769'000'000U);
  EXPECT_TRUE(size.oversubscribed);
}

TEST(FunctionSizeTest, LeavesTheWorkersOfOtherEnginesOpen) {
  Job::Functions process;
  process.engine = "process";
  const auto size = size_of(process, 2);
  EXPECT_EQ(size.workers, 0U);
  EXPECT_EQ(size.memory_bytes, 1'769'000'000U);
  EXPECT_FALSE(size.oversubscribed);
}

TEST(FunctionSizeTest, HasTheMemoryOfItsMachine) {
  Job::Functions vm;
  vm.engine = "vm";
  vm.workers = 3;
  const auto size = size_of(vm, 2);
  EXPECT_EQ(size.memory_bytes, (std::uint64_t{4096} << 20U) / 10 * 9) << "of a c5.large, but for the system's";
  EXPECT_EQ(size.cpus, 2);
  EXPECT_TRUE(size.oversubscribed);
  vm.workers = 2;
  EXPECT_FALSE(size_of(vm, 2).oversubscribed) << "a worker computes on one thread";
}

TEST(FunctionSizeTest, KnowsTheMachinesOfTheTableInForce) {
  Job::Functions vm;
  vm.engine = "vm";
  vm.instance = "mine";
  EXPECT_THROW(static_cast<void>(size_of(vm, 2)), Error);
  PriceTable table;
  table.instances.types["mine"] = {.rent = {}, .vcpus = 8, .memory_mb = 1000};
  EXPECT_EQ(function_size(vm, 2, table).memory_bytes, (std::uint64_t{1000} << 20U) / 10 * 9);
  EXPECT_EQ(function_size(vm, 2, table).cpus, 8);
}

TEST(FunctionSizeTest, CountsWorkersWithoutPrices) {
  for (const auto* engine : {"local", "process", "vm"}) {
    for (const auto workers : {0U, 3U}) {
      auto job = local(workers);
      job.engine = engine;
      EXPECT_EQ(function_count(job, 2), size_of(job, 2).workers) << engine;
    }
  }
}

}  // namespace
}  // namespace virga
