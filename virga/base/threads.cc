#include "virga/base/threads.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include <sched.h>

#include "virga/base/group_limits.h"

namespace virga {
namespace {

/// Keeps the first exception of several threads.
class FirstError {
 public:
  template <typename Body>
  void guard(const Body& body) noexcept {
    try {
      body();
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }
  /// After all threads have been joined.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;  // written by the thread that set failed_, read after the join
};

}  // namespace

unsigned usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = static_cast<unsigned>(CPU_COUNT(&set));
  return std::max(1U, static_cast<unsigned>(std::min<double>(cores, std::ceil(group_limits().cores))));
}

void run_threads(unsigned count, const std::function<void(unsigned)>& body) {
  FirstError error;
  {
    std::vector<std::jthread> threads;
    threads.reserve(count);
    for (unsigned i = 1; i < count; ++i) threads.emplace_back([&, i] { error.guard([&] { body(i); }); });
    if (count > 0) error.guard([&] { body(0); });
  }
  error.rethrow();
}

void parallel_for(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& body) {
  FirstError error;
  std::atomic<std::size_t> next{0};
  const auto work = [&](unsigned) {
    for (std::size_t i = next++; i < count && !error.failed(); i = next++) error.guard([&] { body(i); });
  };
  run_threads(static_cast<unsigned>(std::min<std::size_t>(std::max(1U, threads), std::max<std::size_t>(count, 1))),
              work);
  error.rethrow();
}

}  // namespace virga
