#include "virga/exchange/thread_barrier.h"

#include <utility>

#include "virga/base/error.h"
#include "virga/exchange/spin.h"

namespace virga {
namespace {

constexpr std::uint32_t kAborted = 1;

}  // namespace

ThreadBarrier::ThreadBarrier(unsigned threads) : threads_(threads), spins_(spins_of(threads)) {
  check(threads > 0, "a barrier has threads that meet");
}

void ThreadBarrier::arrive_and_wait() {
  auto phase = phase_.load(std::memory_order_acquire);
  if ((phase & kAborted) != 0) throw_error();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    // Compared, because somebody may have given up since: those who wait then leave with the error, so this one must.
    if (!phase_.compare_exchange_strong(phase, phase + 2, std::memory_order_acq_rel)) throw_error();
    phase_.notify_all();
    return;
  }
  spin(spins_, [&] { return phase_.load(std::memory_order_acquire) != phase; });
  phase_.wait(phase, std::memory_order_acquire);
  // If the others met and only then somebody gave up, the next meeting tells.
  if (phase_.load(std::memory_order_acquire) == (phase | kAborted)) throw_error();
}

void ThreadBarrier::abort(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  phase_.fetch_or(kAborted, std::memory_order_acq_rel);
  phase_.notify_all();
}

void ThreadBarrier::throw_if_aborted() {
  if ((phase_.load(std::memory_order_acquire) & kAborted) != 0) throw_error();
}

void ThreadBarrier::throw_error() {
  const std::lock_guard lock(mutex_);
  std::rethrow_exception(error_);
}

}  // namespace virga
