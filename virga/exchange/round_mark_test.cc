#include "virga/exchange/round_mark.h"

#include <array>
#include <latch>
#include <thread>

#include <gtest/gtest.h>

#include "virga/base/threads.h"

namespace virga {
namespace {

TEST(RoundMark, LetsThreadsThroughInTheOrderOfTheirRounds) {
  for (const int spins : {0, 8000}) {
    constexpr unsigned kThreads = 3;
    constexpr Round kRounds = 3000;
    std::array<RoundMark, kThreads> marks = {RoundMark(spins), RoundMark(spins), RoundMark(spins)};
    Round sum = 0;  // guarded by the marks
    run_threads(kThreads, [&](unsigned thread) {
      for (Round round = thread; round < kRounds; round += kThreads) {
        ASSERT_TRUE(round == 0 || marks[(round - 1) % kThreads].wait(round - 1));
        ASSERT_EQ(sum, round * (round - 1) / 2);
        sum += round;
        marks[thread].set(round);
      }
    });
    EXPECT_EQ(sum, kRounds * (kRounds - 1) / 2);
    EXPECT_TRUE(marks[0].reached(kRounds - 3));
    EXPECT_FALSE(marks[0].reached(kRounds));
  }
}

TEST(RoundMark, EndsAWaitForWhatIsNotDoneWhenAborted) {
  RoundMark mark(0);
  mark.set(4);
  std::latch begun(1);
  bool came = true;
  std::jthread waiting([&] {
    begun.count_down();
    came = mark.wait(5);
  });
  begun.wait();
  mark.abort();
  waiting.join();
  EXPECT_FALSE(came);
  EXPECT_TRUE(mark.wait(4));
  EXPECT_FALSE(mark.wait(6));
  mark.set(6);  // that a thread goes on for a while is no error
  EXPECT_TRUE(mark.wait(6));
}

}  // namespace
}  // namespace virga
