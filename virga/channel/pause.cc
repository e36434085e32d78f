#include "virga/channel/pause.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "virga/base/error.h"

namespace virga {

void pause(std::chrono::nanoseconds time, const Wait& wait) {
  const auto until = Deadline::Clock::now() + std::min(time, wait.deadline.remaining());
  if (!wait.stop.stop_possible()) return std::this_thread::sleep_until(until);
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  (void)never.wait_until(lock, wait.stop, until, [] { return false; });
}

void throw_if_stopped(const std::string& uri, const Wait& wait) {
  if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, uri + ": the call was given up");
}

bool Polling::pause() {
  if (wait_.stop.stop_requested() || wait_.deadline.passed()) return false;
  virga::pause(next_, wait_);
  next_ = std::min(next_ + next_ / 4, pace_.longest);
  return true;
}

}  // namespace virga
