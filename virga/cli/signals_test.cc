#include "virga/cli/signals.h"

#include <csignal>
#include <semaphore>

#include <unistd.h>

#include <gtest/gtest.h>

namespace virga {
namespace {

/// Sends this process a signal and waits until a stop is requested.
void send_and_wait(const StopOnSignal& stop, int number) {
  std::binary_semaphore requested(0);
  const std::stop_callback callback(stop.token(), [&] { requested.release(); });
  ASSERT_EQ(::kill(::getpid(), number), 0);
  requested.acquire();
}

TEST(StopOnSignalDeathTest, RequestsAStopAtTheFirstSignal) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        const StopOnSignal stop;
        if (stop.token().stop_requested()) std::_Exit(1);
        send_and_wait(stop, SIGTERM);
        std::_Exit(signal_received() == SIGTERM ? 0 : 2);
      },
      testing::ExitedWithCode(0), "stopping");
}

TEST(StopOnSignalDeathTest, EndsTheProgramAtTheSecond) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        const StopOnSignal stop;
        send_and_wait(stop, SIGINT);
        ::kill(::getpid(), SIGINT);
        for (;;) ::pause();
      },
      testing::KilledBySignal(SIGINT), "stopping");
}

TEST(StopOnSignalTest, LeavesNothingBehind) {
  { const StopOnSignal stop; }
  sigset_t blocked;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &blocked), 0);
  EXPECT_EQ(sigismember(&blocked, SIGINT), 0);
  EXPECT_EQ(signal_received(), 0);
}

}  // namespace
}  // namespace virga
