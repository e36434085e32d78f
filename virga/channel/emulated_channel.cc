#include "virga/channel/emulated_channel.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/pause.h"

namespace virga {

using namespace std::chrono_literals;

/// Waits for messages on a thread of its own, and notes when each came.
class EmulatedChannel::Arrivals {
 public:
  struct Arrival {
    Clock::time_point at;
    MessageKey key;
    SharedBytes bytes;
  };

  Arrivals(Channel& channel, std::span<const MessageKey> keys, const Wait& wait)
      : over_(wait.stop, [this] { stop_.request_stop(); }), thread_([this, &channel, keys, &wait] {
          std::exception_ptr error;
          try {
            const auto note = [this](const MessageKey& key, const SharedBytes& bytes) {
              const std::lock_guard lock(mutex_);
              arrivals_.push_back({Clock::now(), key, bytes});
              changed_.notify_one();
            };
            channel.get(keys, note, {wait.deadline, stop_.get_token()});
          } catch (...) {
            error = std::current_exception();
          }
          const std::lock_guard lock(mutex_);
          error_ = error;
          ended_ = true;
          changed_.notify_one();
        }) {}
  ~Arrivals() { stop_.request_stop(); }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  /// The next one. Throws what the wait threw, when all that came before has been given.
  [[nodiscard]] Arrival next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !arrivals_.empty(); });
    if (arrivals_.empty()) {
      check(error_ != nullptr, "a wait ends with all messages or with an error");
      std::rethrow_exception(error_);
    }
    auto arrival = std::move(arrivals_.front());
    arrivals_.pop_front();
    return arrival;
  }

 private:
  std::mutex mutex_;  // guards the next four
  std::condition_variable changed_;
  std::deque<Arrival> arrivals_;
  std::exception_ptr error_;
  bool ended_ = false;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> over_;
  std::jthread thread_;  // last: ends before what it uses
};

EmulatedService::Clock::time_point EmulatedService::pass(Line& line, Clock::time_point from, std::size_t bytes) const {
  const std::chrono::duration<double> time(static_cast<double>(bytes) / profile_.bytes_per_second);
  const std::lock_guard lock(line.mutex);
  return line.free = std::max(from, line.free) + std::chrono::duration_cast<Clock::duration>(time);
}

std::uint64_t EmulatedService::looks(Clock::time_point asked, Clock::time_point came) const {
  if (!profile_.polled || came <= asked) return 1;
  const auto in_vain = (came - asked + profile_.latency - 1ns) / profile_.latency;
  return static_cast<std::uint64_t>(in_vain) + 1;
}

EmulatedService::Clock::time_point EmulatedService::received(Clock::time_point came, std::size_t bytes,
                                                             std::size_t span) {
  const std::chrono::duration<double> before(static_cast<double>(span) / profile_.bytes_per_second);
  return std::max(came, pass(down_, came - std::chrono::duration_cast<Clock::duration>(before), bytes));
}

EmulatedService::Clock::time_point EmulatedService::known_at(Clock::time_point asked, Clock::time_point came) const {
  return (profile_.polled ? asked : std::max(asked, came)) + looks(asked, came) * profile_.latency;
}

void EmulatedService::rest_until(Clock::time_point at, const Wait& wait) const {
  // A sleep ends late by up to a tenth of a millisecond. Where that counts, the clock is looked at for as long instead.
  const Clock::duration awake = profile_.latency < 2ms ? 100us : 0us;
  at = std::min(at, wait.deadline.at());
  if (const auto left = at - Clock::now(); left > awake) pause(left - awake, wait);
  while (Clock::now() < at && !wait.stop.stop_requested()) __builtin_ia32_pause();
}

void EmulatedService::sleep_until(Clock::time_point at, const std::string& uri, const char* what,
                                  const Wait& wait) const {
  const auto now = Clock::now();
  const bool in_time = at <= now || at <= wait.deadline.at();
  rest_until(at, wait);
  throw_if_stopped(uri, wait);
  if (in_time) return;
  throw Error(ErrorKind::kDeadlineExceeded,
              fmt::format("{}: as slow as {}, a {} takes longer than it may", uri, profile_.name, what));
}

/// Each leaves when the line has passed it on.
void EmulatedChannel::send(std::span<const Outgoing> messages, const Wait& wait) {
  std::vector<const Outgoing*> order;
  for (const auto& message : messages) order.push_back(&message);
  // Were all to begin with the same member, they would share its line.
  std::stable_partition(order.begin(), order.end(),
                        [](const Outgoing* message) { return message->key.destination > message->key.source; });
  std::vector<Clock::time_point> left;
  for (const auto* message : order) left.push_back(service_.up(message->bytes() * copies(message->key)));
  for (std::size_t i = 0; i < order.size(); ++i) {
    service_.sleep_until(left[i], uri(), "message", wait);
    inner_.put({order[i], 1}, wait);
  }
}

/// What is there within a latency had come before anybody asked for it, and passed the line meanwhile.
void EmulatedChannel::exchange(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                               const OnMessage& on_message, const Wait& wait) {
  const auto asked = Clock::now();
  Arrivals arrivals(inner_, keys, wait);
  send(messages, wait);
  std::vector<MessageKey> missing(keys.begin(), keys.end());
  while (!missing.empty()) {
    const auto arrival = arrivals.next();
    const auto bytes = arrival.bytes.size();
    const bool was_there = arrival.at < asked + service_.profile().latency;
    const auto at = was_there ? arrival.at : service_.received(arrival.at, bytes, bytes * copies(arrival.key));
    const bool in_time = at <= wait.deadline.at();
    service_.rest_until(at, wait);
    throw_if_stopped(uri(), wait);
    if (!in_time) throw_missing(*this, missing);
    std::erase(missing, arrival.key);
    on_message(arrival.key, arrival.bytes);
  }
}

void EmulatedChannel::put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                                  const OnMessage& on_message, const Wait& wait) {
  if (!service_.profile().straight || keys.empty()) return Channel::put_and_get(messages, keys, on_message, wait);
  exchange(messages, keys, on_message, wait);
}

void EmulatedChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  if (service_.profile().straight) return send(messages, wait);
  std::size_t bytes = 0;
  for (const auto& message : messages) bytes += message.bytes();
  service_.sleep_until(service_.up(bytes), uri(), "put", wait);
  writes_ += messages.size();
  inner_.put(messages, wait);
}

void EmulatedChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  if (keys.empty()) return;
  if (service_.profile().straight) return exchange({}, keys, on_message, wait);
  const auto asked = Clock::now();
  std::vector<MessageKey> missing(keys.begin(), keys.end());
  // Of what is there, a service that is asked tells at once; the thread that waits would see it a moment later, after
  // which the next request begins.
  std::deque<Arrivals::Arrival> there;
  std::vector<MessageKey> later;
  for (const auto& key : keys) {
    auto bytes = service_.profile().polled ? inner_.try_get(key, wait) : std::nullopt;
    bytes ? there.push_back({asked, key, *std::move(bytes)}) : later.push_back(key);
  }
  std::optional<Arrivals> arrivals;
  if (!later.empty()) arrivals.emplace(inner_, later, wait);
  while (!missing.empty()) {
    Arrivals::Arrival arrival;
    if (there.empty()) {
      arrival = arrivals->next();
    } else {
      arrival = std::move(there.front());
      there.pop_front();
    }
    const auto at = service_.down(service_.known_at(asked, arrival.at), arrival.bytes.size());
    const bool in_time = at <= wait.deadline.at();
    service_.rest_until(at, wait);
    throw_if_stopped(uri(), wait);
    if (!in_time) throw_missing(*this, missing);
    reads_ += service_.looks(asked, arrival.at);
    std::erase(missing, arrival.key);
    on_message(arrival.key, arrival.bytes);
  }
}

std::optional<SharedBytes> EmulatedChannel::try_get(const MessageKey& key, const Wait& wait) {
  const auto asked = Clock::now();
  auto bytes = inner_.try_get(key, wait);
  if (service_.profile().straight) return bytes;  // it is here, or it is not
  ++reads_;
  service_.sleep_until(service_.down(service_.known_at(asked, asked), bytes ? bytes->size() : 0), uri(), "look", wait);
  return bytes;
}

void EmulatedChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                             const Wait& wait) {
  // Nobody waits for such a word that goes straight to the others.
  if (!service_.profile().straight) {
    service_.sleep_until(Clock::now() + service_.profile().latency, uri(), "retirement", wait);
  }
  inner_.retire(view, group, source, round, wait);
}

void EmulatedChannel::sweep(std::uint32_t view, const Wait& wait) {
  if (!service_.profile().straight)
    service_.sleep_until(Clock::now() + service_.profile().latency, uri(), "sweep", wait);
  inner_.sweep(view, wait);
}

}  // namespace virga
