#include "virga/collective/channel_probe.h"

#include <algorithm>
#include <barrier>
#include <cmath>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <utility>
#include <vector>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/base/threads.h"
#include "virga/channel/message_key.h"
#include "virga/collective/table_sum.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kView = 0;
constexpr std::size_t kSmallBytes = 64;
constexpr std::uint32_t kVolley = 8;
constexpr std::size_t kFirstBytes = std::size_t{256} << 10;
constexpr std::size_t kMostBytes = std::size_t{4} << 20;
constexpr double kMostTimesLarger = 16;     // than the one before
constexpr double kOutweighsSeconds = 0.05;  // that bytes take beyond two latencies: then they are measured well enough
constexpr double kJourneysSeconds = 0.3;    // for small messages again and again
constexpr std::size_t kMostJourneys = 9;
constexpr int kMostAtOnce = 3;  // times, of which the least is taken

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

double median(std::vector<double> numbers) {
  std::ranges::sort(numbers);
  return numbers[numbers.size() / 2];
}

class Probe {
 public:
  Probe(std::span<Channel* const> members, const Wait& wait)
      : members_(members), wait_{wait.deadline, over_.get_token()}, on_stop_(wait.stop, [this] {
          over_.request_stop();
        }) {}
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  /// What cannot be deleted now is swept with the first view.
  ~Probe() {
    for (std::uint32_t m = 0; m < members_.size(); ++m) {
      try {
        members_[m]->retire(kView, 0, m, round_, {Deadline::in(std::chrono::seconds(1))});
      } catch (const Error&) {
      }
    }
  }

  [[nodiscard]] ChannelProbe run() {
    auto& figures = result_.figures;
    figures.journey_seconds = journey();
    try {
      measure_bytes(figures);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDeadlineExceeded) throw;  // else what has been measured must do
    }
    if (!measured_bytes_) {
      throw Error(ErrorKind::kDeadlineExceeded,
                  members_[0]->uri() + ": it is too slow to be measured in so short a time");
    }
    figures.sum_seconds_per_byte = sum_seconds_per_byte();
    return result_;
  }

 private:
  /// Seconds that a small message takes from member 0 to member 1, who waits: the median of some, of two the larger, as
  /// with a store that is asked again and again it matters when.
  [[nodiscard]] double journey() {
    std::vector<double> times;
    const auto begun = Clock::now();
    do {
      times.push_back(one_way());
    } while (times.size() < kMostJourneys && seconds_since(begun) + times.back() < kJourneysSeconds);
    return median(times);
  }

  [[nodiscard]] double one_way() {
    const auto round = ++round_;
    const auto bytes = payload(kSmallBytes);
    Clock::time_point begun, came;
    std::barrier ready(2);
    together(2, [&](unsigned me) {
      ready.arrive_and_wait();
      if (me == 0) {
        begun = Clock::now();
        put(0, 1, round, 1, bytes);
      } else {
        get(0, 1, round, 1);
        came = Clock::now();
      }
    });
    return std::chrono::duration<double>(came - begun).count();
  }

  /// One member alone, with larger and larger messages, until their bytes outweigh the latency or time is short; then
  /// all at once.
  void measure_bytes(ChannelFigures& figures) {
    const auto small = alone(kSmallBytes);
    const auto [put_all, got_all] = alone(kSmallBytes, kVolley);
    const auto most = std::min(kMostBytes, members_[0]->max_message_bytes());
    auto size = std::min(kFirstBytes, most);
    const auto latency = small.put + small.got;
    figures.put_seconds = small.put;
    figures.message_seconds = std::max(0.0, put_all + got_all - latency) / (kVolley - 1);
    auto together = 2 * latency;
    while (has_time(2 * together)) {
      const auto [put, got] = alone(size);
      const auto bytes = static_cast<double>(size - kSmallBytes);
      figures.put_seconds_per_byte = std::max(0.0, put - small.put) / bytes;
      figures.get_seconds_per_byte = std::max(0.0, got - small.got) / bytes;
      measured_bytes_ = true;
      together = put + got;
      // Half of the time that is left may go to a larger one.
      const auto of_bytes = std::max(together - latency, 1e-9);
      const auto times = std::min(kMostTimesLarger, (time_left() / 2 - latency) / of_bytes);
      if (size == most || together > 2 * latency + kOutweighsSeconds || times < 2) break;
      const auto larger = std::min(static_cast<double>(size) * times, static_cast<double>(most));
      together = latency + of_bytes * larger / static_cast<double>(size);
      size = static_cast<std::size_t>(larger);
    }
    if (!has_time(2 * together)) return;
    auto all = at_once(size);
    for (int time = 1; time < kMostAtOnce && has_time(2 * all); ++time) all = std::min(all, at_once(size));
    // As long as for one, if it serves each as if it were alone; so many times as long as there are, if it is the
    // bottleneck. In between lies what a busy machine adds.
    const auto of_one = std::max(together - latency, 0.1 * latency);
    if (all - latency > std::sqrt(static_cast<double>(members_.size())) * of_one) {
      figures.store_seconds_per_byte = (all - latency) / (2 * static_cast<double>(members_.size() * size));
    }
  }

  struct Times {
    double put, got;
  };
  [[nodiscard]] Times alone(std::size_t size, std::uint32_t messages = 1) {
    const auto round = ++round_;
    const auto bytes = payload(size);
    const auto begun = Clock::now();
    put(0, 1, round, messages, bytes);
    const auto put_seconds = seconds_since(begun);
    get(0, 1, round, messages);
    return {put_seconds, seconds_since(begun) - put_seconds};
  }
  /// All put; then each gets what the one before it has put. Nobody waits for a message: of how a store tells of one,
  /// the journeys say enough.
  [[nodiscard]] double at_once(std::size_t size) {
    const auto round = ++round_;
    const auto bytes = payload(size);
    const auto count = static_cast<std::uint32_t>(members_.size());
    const auto begun = Clock::now();
    together(count, [&](unsigned me) { put(me, (me + 1) % count, round, 1, bytes); });
    together(count, [&](unsigned me) { get((me + count - 1) % count, me, round, 1); });
    return seconds_since(begun);
  }

  /// Each member on a thread of its own. When one fails, the others wait no longer.
  void together(unsigned count, const std::function<void(unsigned)>& member) {
    std::exception_ptr error;
    run_threads(count, [&](unsigned me) {
      try {
        member(me);
      } catch (...) {
        {
          const std::lock_guard lock(mutex_);
          if (!error) error = std::current_exception();
        }
        over_.request_stop();
      }
    });
    if (error) std::rethrow_exception(error);
  }

  /// As AllReduce does to what comes: its checksum is looked at, and it is added up.
  [[nodiscard]] static double sum_seconds_per_byte() {
    constexpr std::size_t kElements = std::size_t{64} << 10;
    const std::vector<float> left(kElements, 1.5F), right(kElements, 0.5F);
    TableSum table_sum;
    std::vector<double> times;
    for (int time = 0; time < 5; ++time) {
      const auto begun = Clock::now();
      const auto of_left = crc32c(std::as_bytes(std::span(left))), of_right = crc32c(std::as_bytes(std::span(right)));
      std::vector<std::span<const float>> both{left, right};
      const auto sum = table_sum.whole(both);
      times.push_back(seconds_since(begun));
      check(of_left != of_right && sum[0] == 2, "a sum is a sum");
    }
    return median(times) / (2 * kElements * sizeof(float));
  }

  // Messages.

  static Bytes payload(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
    return bytes;
  }
  static MessageKey key(std::uint32_t from, std::uint32_t to, std::uint64_t round, std::uint32_t number) {
    return {.view = kView, .source = from, .round = round, .destination = to, .part = number};
  }
  void put(std::uint32_t from, std::uint32_t to, std::uint64_t round, std::uint32_t messages, ByteView bytes) {
    std::vector<Outgoing> outgoing;
    for (std::uint32_t i = 0; i < messages; ++i) outgoing.push_back({key(from, to, round, i), {&bytes, 1}});
    members_[from]->put(outgoing, wait_);
    count({.messages_put = messages, .bytes_put = messages * bytes.size()});
  }
  void get(std::uint32_t from, std::uint32_t to, std::uint64_t round, std::uint32_t messages) {
    std::vector<MessageKey> keys;
    for (std::uint32_t i = 0; i < messages; ++i) keys.push_back(key(from, to, round, i));
    std::uint64_t bytes = 0;
    members_[to]->get(
        keys, [&](const MessageKey&, const SharedBytes& message) { bytes += message.size(); }, wait_);
    count({.messages_got = messages, .bytes_got = bytes});
  }
  void count(const Traffic& traffic) {
    const std::lock_guard lock(mutex_);
    result_.traffic += traffic;
  }

  [[nodiscard]] double time_left() const { return std::chrono::duration<double>(wait_.deadline.remaining()).count(); }
  [[nodiscard]] bool has_time(double seconds) const { return time_left() > seconds; }

  const std::span<Channel* const> members_;
  std::stop_source over_;
  const Wait wait_;
  const std::stop_callback<std::function<void()>> on_stop_;
  std::uint64_t round_ = 0;
  bool measured_bytes_ = false;
  std::mutex mutex_;  // guards result_.traffic, and the first error of those who are at it together
  ChannelProbe result_;
};

}  // namespace

ChannelProbe probe_channel(std::span<Channel* const> members, const Wait& wait) {
  check(members.size() >= 2, "a probe has two ends");
  return Probe(members, wait).run();
}

}  // namespace virga
