#include "virga/channel/metered_channel.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

CallUse& CallUse::operator+=(const CallUse& other) noexcept {
  calls += other.calls;
  failed += other.failed;
  requests += other.requests;
  messages += other.messages;
  bytes += other.bytes;
  waiting += other.waiting;
  return *this;
}

CallUse& CallUse::operator-=(const CallUse& other) noexcept {
  calls -= other.calls;
  failed -= other.failed;
  requests -= other.requests;
  messages -= other.messages;
  bytes -= other.bytes;
  waiting -= other.waiting;
  return *this;
}

CallUse ChannelUse::total() const noexcept {
  CallUse sum;
  for (const auto* use : {&put, &get, &try_get, &retire, &sweep, &contents}) sum += *use;
  return sum;
}

ChannelUse& ChannelUse::operator-=(const ChannelUse& other) noexcept {
  put -= other.put;
  get -= other.get;
  try_get -= other.try_get;
  retire -= other.retire;
  sweep -= other.sweep;
  contents -= other.contents;
  return *this;
}

/// One call, which is counted when it ends: as failed, unless it has said that it returned.
class MeteredChannel::Call {
 public:
  Call(MeteredChannel& channel, CallUse ChannelUse::*kind, std::uint64_t requests) : channel_(channel), kind_(kind) {
    use_.calls = use_.failed = 1;
    use_.requests = requests;
  }
  ~Call() {
    use_.waiting += Clock::now() - start_;
    const std::lock_guard lock(channel_.mutex_);
    channel_.use_.*kind_ += use_;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void add_message(std::size_t bytes) noexcept {
    ++use_.messages;
    use_.bytes += bytes;
  }
  /// Time that is not the channel's.
  void leave_out(Clock::duration time) noexcept { use_.waiting -= time; }
  void returned() noexcept { use_.failed = 0; }

 private:
  MeteredChannel& channel_;
  CallUse ChannelUse::*kind_;
  CallUse use_;
  const Clock::time_point start_ = Clock::now();
};

void MeteredChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  Call call(*this, &ChannelUse::put, messages.size());
  inner_.put(messages, wait);
  for (const auto& message : messages) call.add_message(message.bytes());
  call.returned();
}

void MeteredChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  Call call(*this, &ChannelUse::get, keys.size());
  const auto count_and_hand_on = [&](const MessageKey& key, const SharedBytes& bytes) {
    call.add_message(bytes.size());
    const auto start = Clock::now();
    on_message(key, bytes);
    call.leave_out(Clock::now() - start);
  };
  inner_.get(keys, count_and_hand_on, wait);
  call.returned();
}

std::optional<SharedBytes> MeteredChannel::try_get(const MessageKey& key, const Wait& wait) {
  Call call(*this, &ChannelUse::try_get, 1);
  auto bytes = inner_.try_get(key, wait);
  if (bytes) call.add_message(bytes->size());
  call.returned();
  return bytes;
}

void MeteredChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                            const Wait& wait) {
  Call call(*this, &ChannelUse::retire, 1);
  inner_.retire(view, group, source, round, wait);
  call.returned();
}

void MeteredChannel::sweep(std::uint32_t view, const Wait& wait) {
  Call call(*this, &ChannelUse::sweep, 1);
  inner_.sweep(view, wait);
  call.returned();
}

ChannelContents MeteredChannel::contents(const Wait& wait) {
  Call call(*this, &ChannelUse::contents, 1);
  const auto contents = inner_.contents(wait);
  call.returned();
  return contents;
}

ChannelUse MeteredChannel::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

}  // namespace virga
