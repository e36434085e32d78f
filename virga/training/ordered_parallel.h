#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "virga/base/threads.h"

namespace virga {

/// A pipeline that keeps its order: next() hands out items, work(thread, item) turns each into a part on one of
/// `threads` threads (numbered from 0), consume(part) takes the parts in the order of the items. next() and consume()
/// are called by one thread at a time. At most 4 parts a thread wait for their turn, so memory is bounded however
/// unequal the items are. The first exception ends it and is rethrown.
template <typename Next, typename Work, typename Consume>
void ordered_parallel(unsigned threads, Next next, Work work, Consume consume) {
  using Item = typename decltype(next())::value_type;
  using Part = decltype(work(0U, std::declval<Item>()));
  const std::uint64_t window = std::uint64_t{threads} * 4;
  std::mutex source;  // guards next and handed_out
  std::uint64_t handed_out = 0;
  std::mutex order;  // guards consume and what follows
  std::condition_variable turn;
  std::map<std::uint64_t, Part> waiting;
  std::uint64_t consumed = 0;
  bool failed = false;

  const auto deliver = [&](std::uint64_t number, Part part) {
    std::unique_lock lock(order);
    turn.wait(lock, [&] { return failed || number < consumed + window; });
    if (failed) return;
    waiting.emplace(number, std::move(part));
    while (!waiting.empty() && waiting.begin()->first == consumed) {
      consume(std::move(waiting.begin()->second));
      waiting.erase(waiting.begin());
      ++consumed;
    }
    turn.notify_all();
  };
  const auto run = [&](unsigned thread) {
    for (;;) {
      std::uint64_t number = 0;
      std::optional<Item> item;
      {
        const std::lock_guard lock(source);
        if (const std::lock_guard order_lock(order); failed) return;
        item = next();
        if (!item) return;
        number = handed_out++;
      }
      deliver(number, work(thread, std::move(*item)));
    }
  };
  run_threads(threads, [&](unsigned thread) {
    try {
      run(thread);
    } catch (...) {
      const std::lock_guard lock(order);
      failed = true;
      turn.notify_all();
      throw;
    }
  });
}

}  // namespace virga
