#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "virga/base/random.h"
#include "virga/channel/channel.h"

namespace virga {

/// What becomes of a message that is put.
enum class Fate : std::uint8_t {
  kStored,     ///< as it should be
  kThrottled,  ///< it is not stored, and put() throws kThrottled
  kCutOff,     ///< it is stored, and put() throws kUnavailable
  kLost,       ///< it is not stored, and put() returns; putting it again is another chance
  kVanished,   ///< as kLost, however often it is put
  kLate,       ///< put() returns, and it is stored some time later (see Faults::late_by)
  kDoubled,    ///< it is stored twice: harmless, if the channel keeps its promise
};

/// Probabilities of fates, their sum at most 1. kStored has the rest.
struct Faults {
  double throttled = 0;
  double cut_off = 0;
  double lost = 0;
  double vanished = 0;
  double late = 0;
  double doubled = 0;
  std::chrono::nanoseconds late_by = std::chrono::milliseconds(10);
  double get_cut_off = 0;  ///< of a key in get() or try_get(): kUnavailable, when the keys before it have been got
};

struct Shape {
  std::chrono::nanoseconds latency{0};  ///< of a call, before it takes place
  std::chrono::nanoseconds jitter{0};   ///< uniform, 0 to this, on top of the latency
  std::uint64_t bytes_per_second = 0;   ///< of all calls together, in both directions; 0: no limit
  Faults faults;
  std::uint64_t seed = 0;
};

/// Makes another channel, which must outlive it, slow or faulty, for experiments and tests. The fate of a message is a
/// pure function of (seed, key, how often this object was asked to put it since it was retired): neither time nor
/// threads matter. When one message of a put() is refused, the others meet their fates nevertheless, and then it
/// throws. contents(), and the late arrival of messages, take no time. What is late when this object is destroyed, or
/// cannot be stored when its time has come, is lost. A late message may come after retire() and stay, as in life.
class ShapedChannel final : public Channel {
 public:
  ShapedChannel(Channel& inner, const Shape& shape);
  ~ShapedChannel() override;

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return inner_.max_message_bytes(); }
  [[nodiscard]] PaidRequests paid() const override { return inner_.paid(); }
  [[nodiscard]] const std::string& uri() const noexcept override { return inner_.uri(); }

  /// The fate of the message when it is put for the time number `time`, from 0.
  [[nodiscard]] Fate fate_of(const MessageKey& key, std::uint32_t time) const noexcept;

 private:
  using Clock = Deadline::Clock;
  struct Late {
    Clock::time_point at;
    MessageKey key;
    SharedBytes bytes;
  };

  [[nodiscard]] double uniform(const MessageKey& key, std::uint32_t time, std::uint32_t draw) const noexcept;
  [[nodiscard]] Fate next_fate(const MessageKey& key);
  [[nodiscard]] bool next_get_is_cut_off(const MessageKey& key);
  [[nodiscard]] Clock::time_point after_latency();
  [[nodiscard]] Clock::time_point after_transfer(std::size_t bytes);
  [[nodiscard]] bool sleep_until(Clock::time_point at, const Wait& wait) const;
  void request(std::size_t bytes, const Wait& wait);
  void put_later(const Outgoing& message);
  void put_late_messages(const std::stop_token& stop);

  Channel& inner_;
  const Shape shape_;
  const Random random_;
  std::atomic<std::uint64_t> requests_ = 0;

  std::mutex mutex_;  // guards the next four
  Clock::time_point line_is_free_;
  std::map<MessageKey, std::uint32_t> puts_;
  std::map<MessageKey, std::uint32_t> gets_;
  std::deque<Late> late_;  // by time
  std::condition_variable_any late_changed_;
  std::jthread late_putter_;  // the last member: it uses the others
};

}  // namespace virga
