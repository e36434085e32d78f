#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

namespace virga {

/// Cores that this process may use (affinity and cgroup quota considered), at least 1.
[[nodiscard]] unsigned usable_cores();

/// Runs body(0) ... body(count - 1), each on a thread of its own, and waits for all. The first exception is rethrown.
/// Ranks that wait for each other need this: all of them run at once.
void run_threads(unsigned count, const std::function<void(unsigned)>& body);

/// Runs body(i) for all i < count on at most `threads` threads, in any order. The first exception stops the rest and is
/// rethrown.
void parallel_for(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& body);

/// First-in first-out queue of bounded length between threads. close() wakes everybody: push returns false from then
/// on, pop hands out what is left and then nothing.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool push(T item) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    filled_.notify_one();
    return true;
  }
  [[nodiscard]] std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    room_.notify_one();
    return item;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    room_.notify_all();
    filled_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;  // guards items_, closed_
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace virga
