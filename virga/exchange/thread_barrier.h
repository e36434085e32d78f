#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

namespace virga {

/// Where the threads of a group wait until all have come, again and again; or until somebody gives up. What a thread
/// wrote before it came, all others see afterwards. Waits for a moment awake, as long as the group has no more threads
/// than there are cores, then asleep.
class ThreadBarrier {
 public:
  explicit ThreadBarrier(unsigned threads);

  /// Throws the error of abort(), if that came before the meeting: a meeting takes place for all or for none.
  void arrive_and_wait();
  /// Throws the error of abort(), if there was one.
  void throw_if_aborted();

  /// Ends all waits, now and later, with `error`; the first error stays.
  void abort(std::exception_ptr error);

 private:
  [[noreturn]] void throw_error();

  const unsigned threads_;
  const int spins_;
  std::atomic<unsigned> arrived_{0};
  std::atomic<std::uint32_t> phase_{0};  // twice the number of meetings so far (modulo 2^32), + 1 when aborted
  std::mutex mutex_;                     // guards error_
  std::exception_ptr error_;
};

}  // namespace virga
