#include "virga/exchange/thread_barrier.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/threads.h"

namespace virga {
namespace {

std::exception_ptr error(const std::string& text) { return std::make_exception_ptr(std::runtime_error(text)); }

/// What arrive_and_wait threw, or nothing.
std::string meet(ThreadBarrier& barrier) {
  try {
    barrier.arrive_and_wait();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

class ThreadBarrierTest : public testing::TestWithParam<unsigned> {};

TEST_P(ThreadBarrierTest, ShowsEveryThreadWhatTheOthersWroteBefore) {
  const unsigned threads = GetParam();
  ThreadBarrier barrier(threads);
  std::vector<int> written(threads);  // not atomic: the barrier alone orders the accesses
  run_threads(threads, [&](unsigned thread) {
    for (int meeting = 1; meeting <= 300; ++meeting) {
      written[thread] = meeting;
      barrier.arrive_and_wait();
      EXPECT_THAT(written, testing::Each(meeting));
      barrier.arrive_and_wait();
    }
  });
}

TEST_P(ThreadBarrierTest, EndsEveryWaitWithTheErrorOfAnAbort) {
  const unsigned threads = GetParam();
  ThreadBarrier barrier(threads);
  std::vector<std::string> ends(threads);
  run_threads(threads, [&](unsigned thread) {
    if (thread == 0) {
      barrier.abort(error("first"));
      barrier.abort(error("second"));
    }
    ends[thread] = meet(barrier);
  });
  EXPECT_THAT(ends, testing::Each("first"));
  EXPECT_EQ(meet(barrier), "first");  // later ones too
}

/// A meeting takes place for all or for none, whenever the abort comes.
TEST_P(ThreadBarrierTest, IsLeftByAllInTheSameWay) {
  const unsigned threads = GetParam();
  for (int repeat = 0; repeat < 200; ++repeat) {
    ThreadBarrier barrier(threads);
    std::vector<int> met(threads);
    run_threads(threads + 1, [&](unsigned thread) {
      if (thread == threads) return barrier.abort(error("enough"));
      while (meet(barrier).empty()) ++met[thread];
    });
    EXPECT_THAT(met, testing::Each(met[0]));
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadBarrierTest, testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace virga
