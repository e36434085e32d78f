#include "virga/training/ordered_parallel.h"

#include <stdexcept>
#include <vector>

#include <gmock/gmock.h>

namespace virga {
namespace {

/// Hands out 0 ... count - 1.
auto numbers(int count) {
  return [count, i = 0]() mutable { return i < count ? std::optional<int>(i++) : std::nullopt; };
}

TEST(OrderedParallel, KeepsTheOrder) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    std::vector<int> results;
    ordered_parallel(
        threads, numbers(1000),
        [&](unsigned thread, int item) {
          EXPECT_LT(thread, threads);
          // The work of a few items takes far longer than that of the others.
          volatile int spin = item % 100 == 0 ? 100'000 : 0;
          while (spin > 0) spin = spin - 1;
          return item * 2;
        },
        [&](int part) { results.push_back(part); });
    ASSERT_EQ(results.size(), 1000U);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)], i * 2);
  }
}

TEST(OrderedParallel, LetsFewPartsWait) {
  // The first item ends only once the others can go no further.
  std::mutex mutex;
  std::condition_variable changed;
  int done = 0;
  ordered_parallel(
      3, numbers(100),
      [&](unsigned, int item) {
        std::unique_lock lock(mutex);
        if (item == 0) {
          changed.wait(lock, [&] { return done >= 11; });
          EXPECT_LE(done, 13) << "12 may wait, and each of two threads holds one more at most";
        }
        ++done;
        changed.notify_all();
        return item;
      },
      [](int) {});
  EXPECT_EQ(done, 100);
}

TEST(OrderedParallel, TakesNoItems) {
  ordered_parallel(
      2, numbers(0), [](unsigned, int item) { return item; }, [](int) { FAIL(); });
}

TEST(OrderedParallel, RethrowsWhatEveryStageThrows) {
  const auto fail_at = [](int bad) {
    return [bad](int i) {
      if (i == bad) throw std::runtime_error("stage");
    };
  };
  for (const int stage : {0, 1, 2}) {
    auto next = numbers(1000);
    EXPECT_THROW(ordered_parallel(
                     3,
                     [&]() -> std::optional<int> {
                       const auto item = next();
                       if (stage == 0) fail_at(50)(item.value_or(0));
                       return item;
                     },
                     [&](unsigned, int item) {
                       if (stage == 1) fail_at(50)(item);
                       return item;
                     },
                     [&](int part) {
                       if (stage == 2) fail_at(50)(part);
                     }),
                 std::runtime_error)
        << stage;
  }
}

}  // namespace
}  // namespace virga
