#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "virga/channel/channel.h"
#include "virga/channel/service_profile.h"

namespace virga {

/// The time that requests to a service take: a latency each, and for their bytes a line in each direction, which they
/// pass one after the other. Several threads may call any member at once.
class EmulatedService {
 public:
  using Clock = Deadline::Clock;
  explicit EmulatedService(const ServiceProfile& profile) : profile_(profile) {}

  /// When a request that sends `bytes` now has arrived with all of them.
  [[nodiscard]] Clock::time_point up(std::size_t bytes) { return pass(up_, Clock::now() + profile_.latency, bytes); }
  /// When `bytes` that could set off at `from` have come back.
  [[nodiscard]] Clock::time_point down(Clock::time_point from, std::size_t bytes) { return pass(down_, from, bytes); }
  /// When `bytes` that came at `came`, having been under way for at least the last `span` seconds of their line's time,
  /// have passed this end's line, on which others may come as well.
  [[nodiscard]] Clock::time_point received(Clock::time_point came, std::size_t bytes, std::size_t span);
  /// How often whoever asks from `asked` on has asked when he is told of what came at `came`.
  [[nodiscard]] std::uint64_t looks(Clock::time_point asked, Clock::time_point came) const;
  /// When that is.
  [[nodiscard]] Clock::time_point known_at(Clock::time_point asked, Clock::time_point came) const;
  /// Returns then, or when the wait is over.
  void rest_until(Clock::time_point at, const Wait& wait) const;
  /// Throws Error(kInterrupted); and kDeadlineExceeded, naming `uri` and the request, if that comes first.
  void sleep_until(Clock::time_point at, const std::string& uri, const char* what, const Wait& wait) const;
  [[nodiscard]] const ServiceProfile& profile() const noexcept { return profile_; }

 private:
  /// A direction.
  struct Line {
    std::mutex mutex;
    Clock::time_point free;
  };
  [[nodiscard]] Clock::time_point pass(Line& line, Clock::time_point from, std::size_t bytes) const;

  const ServiceProfile profile_;
  Line up_, down_;
};

/// Makes another channel, which must outlive it, as slow as a service would be; what it takes itself comes on top, so
/// it should be a fast one. Requests of one call are under way at once: a call takes the latency once, and its bytes
/// share the line of their direction with those of all other calls.
///
/// put() and the like: the latency and the bytes' time, then it takes place. get(): a message that was there is handed
/// over after the latency and its bytes' time; one that comes later, after a latency from when it came, if the service
/// tells; if it is polled, at the end of the first request that began when it was there, requests for it following each
/// other without a pause. A call of get() has a thread of its own.
///
/// Through a network (ServiceProfile::straight) there is no store between: a message takes one latency and the time of
/// its bytes, which pass the writer's line and the reader's at once. Messages of a call leave one after the other,
/// those for the next members first, and one for everybody passes the writer's line as often as there are others. What
/// several send to one at once shares his line.
class EmulatedChannel final : public Channel {
 public:
  /// `others`: how many there are besides this end; of a network.
  EmulatedChannel(Channel& inner, const ServiceProfile& profile, std::size_t others = 1)
      : inner_(inner), service_(profile), others_(others) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                   const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override { return inner_.contents(wait); }
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return inner_.max_message_bytes(); }
  /// As of S3, the one that is asked again and again: a write for each message that is put, a read for each look.
  [[nodiscard]] PaidRequests paid() const override { return {.writes = writes_, .reads = reads_}; }
  [[nodiscard]] const std::string& uri() const noexcept override { return inner_.uri(); }

 private:
  using Clock = EmulatedService::Clock;
  class Arrivals;
  void send(std::span<const Outgoing> messages, const Wait& wait);
  void exchange(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                const Wait& wait);
  /// As often as it passes the writer's line.
  [[nodiscard]] std::size_t copies(const MessageKey& key) const {
    return key.destination == kEverybody ? std::max<std::size_t>(others_, 1) : 1;
  }

  Channel& inner_;
  EmulatedService service_;
  std::atomic<std::uint64_t> writes_ = 0, reads_ = 0;
  const std::size_t others_;
};

}  // namespace virga
