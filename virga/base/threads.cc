#include "virga/base/threads.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

namespace virga {
namespace {

/// Cores granted by the cgroup's CPU quota, or infinity. Reads version 2's cpu.max and version 1's cfs files as they
/// appear inside a container.
double quota_cores() {
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file) {
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  }
  double quota = -1;
  double period = 0;
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
  return HUGE_VAL;
}

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
  return std::max(1U, static_cast<unsigned>(std::min<double>(cores, std::ceil(quota_cores()))));
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
