#include "virga/base/threads.h"

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(UsableCores, IsAtLeastOne) { EXPECT_GE(usable_cores(), 1U); }

TEST(ParallelFor, RunsEachItemOnce) {
  std::vector<std::atomic<int>> runs(1000);
  parallel_for(4, runs.size(), [&](std::size_t i) { ++runs[i]; });
  for (const auto& count : runs) EXPECT_EQ(count, 1);
  parallel_for(4, 0, [](std::size_t) { FAIL(); });
}

TEST(ParallelFor, HandsOnTheFirstErrorAndStops) {
  std::atomic<int> runs{0};
  EXPECT_THROW(parallel_for(2, 1'000'000,
                            [&](std::size_t) {
                              ++runs;
                              throw std::runtime_error("no");
                            }),
               std::runtime_error);
  EXPECT_LE(runs, 2);
}

TEST(RunThreads, RunsAllAtOnce) {
  std::atomic<unsigned> arrived{0};
  run_threads(4, [&](unsigned) {
    ++arrived;
    while (arrived < 4) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 4U);
}

TEST(BoundedQueue, KeepsOrderAndBound) {
  BoundedQueue<int> queue(2);
  std::vector<int> received;
  std::jthread consumer([&] {
    while (const auto item = queue.pop()) received.push_back(*item);
  });
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(queue.push(i));
  queue.close();
  consumer.join();
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(received, expected);
  EXPECT_FALSE(queue.push(1)) << "closed";
}

TEST(BoundedQueue, ClosingWakesAWaitingProducer) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.push(1));
  std::jthread producer([&] { EXPECT_FALSE(queue.push(2)); });
  queue.close();
}

}  // namespace
}  // namespace virga
