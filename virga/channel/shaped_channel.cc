#include "virga/channel/shaped_channel.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

// Draws of random numbers, by what they are for.
constexpr std::uint32_t kFateDraw = 0;
constexpr std::uint32_t kVanishDraw = 1;
constexpr std::uint32_t kGetDraw = 2;
constexpr std::uint32_t kKeyDraw = 3;
constexpr std::uint32_t kJitterDraw = 4;

SharedBytes joined(const Outgoing& message) {
  return SharedBytes::make(message.bytes(), [&](std::span<std::byte> to) {
    for (const auto& part : message.parts) {
      std::ranges::copy(part, to.begin());
      to = to.subspan(part.size());
    }
  });
}

/// Forgets the keys that retire() forgets.
void erase_rounds(std::map<MessageKey, std::uint32_t>& counts, const MessageKey& first, std::uint64_t round) {
  const auto begin = counts.lower_bound(first);
  auto end = begin;
  const auto is_one = [&](const MessageKey& key) {
    return key.view == first.view && key.group == first.group && key.source == first.source && key.round <= round;
  };
  while (end != counts.end() && is_one(end->first)) ++end;
  counts.erase(begin, end);
}

}  // namespace

ShapedChannel::ShapedChannel(Channel& inner, const Shape& shape)
    : inner_(inner), shape_(shape), random_(shape.seed, Purpose::kTest) {
  if (shape_.faults.late > 0) {
    late_putter_ = std::jthread([this](const std::stop_token& stop) { put_late_messages(stop); });
  }
}

ShapedChannel::~ShapedChannel() = default;

double ShapedChannel::uniform(const MessageKey& key, std::uint32_t time, std::uint32_t draw) const noexcept {
  auto item = random_.bits(key.view, key.round, kKeyDraw);
  item = random_.bits(key.group, item ^ key.source, kKeyDraw);
  item = random_.bits(key.destination, item ^ (std::uint64_t{key.phase} << 32) ^ key.part, kKeyDraw);
  return random_.uniform(time, item, draw);
}

Fate ShapedChannel::fate_of(const MessageKey& key, std::uint32_t time) const noexcept {
  const auto& faults = shape_.faults;
  if (uniform(key, 0, kVanishDraw) < faults.vanished) return Fate::kVanished;
  // Those that do not vanish share the rest among them.
  auto left = uniform(key, time, kFateDraw) * (1 - faults.vanished);
  for (const auto& [probability, fate] :
       {std::pair(faults.throttled, Fate::kThrottled), std::pair(faults.cut_off, Fate::kCutOff),
        std::pair(faults.lost, Fate::kLost), std::pair(faults.late, Fate::kLate),
        std::pair(faults.doubled, Fate::kDoubled)}) {
    if (left < probability) return fate;
    left -= probability;
  }
  return Fate::kStored;
}

Fate ShapedChannel::next_fate(const MessageKey& key) {
  const std::lock_guard lock(mutex_);
  return fate_of(key, puts_[key]++);
}

bool ShapedChannel::next_get_is_cut_off(const MessageKey& key) {
  if (shape_.faults.get_cut_off == 0) return false;
  const std::lock_guard lock(mutex_);
  return uniform(key, gets_[key]++, kGetDraw) < shape_.faults.get_cut_off;
}

ShapedChannel::Clock::time_point ShapedChannel::after_latency() {
  const auto jitter = random_.uniform(0, requests_++, kJitterDraw) * shape_.jitter;
  return Clock::now() + shape_.latency + std::chrono::duration_cast<std::chrono::nanoseconds>(jitter);
}

/// When `bytes` have passed, after those of calls that came before: they share the line.
ShapedChannel::Clock::time_point ShapedChannel::after_transfer(std::size_t bytes) {
  const auto now = Clock::now();
  if (shape_.bytes_per_second == 0) return now;
  const std::chrono::duration<double> time(static_cast<double>(bytes) / static_cast<double>(shape_.bytes_per_second));
  const std::lock_guard lock(mutex_);
  line_is_free_ = std::max(now, line_is_free_) + std::chrono::duration_cast<std::chrono::nanoseconds>(time);
  return line_is_free_;
}

/// False if the deadline is before `at`; then it sleeps until the deadline. Throws kInterrupted.
bool ShapedChannel::sleep_until(Clock::time_point at, const Wait& wait) const {
  const auto now = Clock::now();
  const bool in_time = at <= now || at <= wait.deadline.at();
  if (at > now) pause(at - now, wait);
  throw_if_stopped(uri(), wait);
  return in_time;
}

/// The time that a request with `bytes` takes.
void ShapedChannel::request(std::size_t bytes, const Wait& wait) {
  if (sleep_until(after_latency(), wait) && sleep_until(after_transfer(bytes), wait)) return;
  throw Error(ErrorKind::kDeadlineExceeded,
              fmt::format("{}: a request of {} bytes takes longer than it may", uri(), bytes));
}

void ShapedChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  std::size_t bytes = 0;
  for (const auto& message : messages) bytes += message.bytes();
  request(bytes, wait);

  std::vector<Outgoing> stored;
  std::vector<Outgoing> doubled;
  std::optional<Error> refusal;
  for (const auto& message : messages) {
    const auto fate = next_fate(message.key);
    if (fate == Fate::kStored || fate == Fate::kDoubled || fate == Fate::kCutOff) stored.push_back(message);
    if (fate == Fate::kDoubled) doubled.push_back(message);
    if (fate == Fate::kLate) put_later(message);
    if (fate == Fate::kThrottled)
      refusal.emplace(ErrorKind::kThrottled, uri() + ": too many requests (injected fault)");
    if (fate == Fate::kCutOff) refusal.emplace(ErrorKind::kUnavailable, uri() + ": connection lost (injected fault)");
  }
  if (!stored.empty()) inner_.put(stored, wait);
  if (!doubled.empty()) inner_.put(doubled, wait);
  if (refusal) throw Error(*refusal);
}

void ShapedChannel::put_later(const Outgoing& message) {
  auto bytes = joined(message);
  const std::lock_guard lock(mutex_);
  late_.push_back({Clock::now() + shape_.faults.late_by, message.key, std::move(bytes)});
  late_changed_.notify_one();
}

void ShapedChannel::put_late_messages(const std::stop_token& stop) {
  constexpr auto kLongest = std::chrono::seconds(10);
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!late_changed_.wait(lock, stop, [&] { return !late_.empty(); })) return;
    const auto at = late_.front().at;
    (void)late_changed_.wait_until(lock, stop, at, [] { return false; });
    if (stop.stop_requested()) return;
    const auto message = std::move(late_.front());
    late_.pop_front();
    lock.unlock();
    try {
      const auto view = message.bytes.view();
      inner_.put(std::vector<Outgoing>{{message.key, {&view, 1}}}, {Deadline::in(kLongest), stop});
    } catch (const Error&) {
      // Nobody waits for this put: the message is lost, which is what the fault is about.
    }
  }
}

void ShapedChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  std::size_t answered = keys.size();
  for (std::size_t i = keys.size(); i-- > 0;) {
    if (next_get_is_cut_off(keys[i])) answered = i;
  }
  if (!sleep_until(after_latency(), wait)) throw_missing(*this, keys);
  std::set<MessageKey> missing(keys.begin(), keys.end());
  const auto after_its_transfer = [&](const MessageKey& key, const SharedBytes& bytes) {
    if (!sleep_until(after_transfer(bytes.size()), wait)) {
      throw_missing(*this, std::vector(missing.begin(), missing.end()));
    }
    missing.erase(key);
    on_message(key, bytes);
  };
  inner_.get(keys.first(answered), after_its_transfer, wait);
  if (answered < keys.size()) throw Error(ErrorKind::kUnavailable, uri() + ": connection lost (injected fault)");
}

std::optional<SharedBytes> ShapedChannel::try_get(const MessageKey& key, const Wait& wait) {
  const bool cut_off = next_get_is_cut_off(key);
  request(0, wait);
  if (cut_off) throw Error(ErrorKind::kUnavailable, uri() + ": connection lost (injected fault)");
  auto bytes = inner_.try_get(key, wait);
  if (bytes && !sleep_until(after_transfer(bytes->size()), wait)) throw_missing(*this, {&key, 1});
  return bytes;
}

void ShapedChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                           const Wait& wait) {
  request(0, wait);
  inner_.retire(view, group, source, round, wait);
  const std::lock_guard lock(mutex_);
  for (auto* counts : {&puts_, &gets_}) {
    erase_rounds(*counts, {.view = view, .group = group, .source = source}, round);
  }
}

void ShapedChannel::sweep(std::uint32_t view, const Wait& wait) {
  request(0, wait);
  inner_.sweep(view, wait);
  const std::lock_guard lock(mutex_);
  for (auto* counts : {&puts_, &gets_}) counts->erase(counts->begin(), counts->lower_bound({.view = view}));
}

ChannelContents ShapedChannel::contents(const Wait& wait) { return inner_.contents(wait); }

}  // namespace virga
