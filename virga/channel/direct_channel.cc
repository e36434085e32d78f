#include "virga/channel/direct_channel.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/base/secret.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/channel/direct_link.h"
#include "virga/net/address.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Clock = Deadline::Clock;

constexpr std::string_view kScheme = "direct";
/// Up to this size a put copies the message and returns; larger ones are sent from where they lie.
constexpr std::uint64_t kSmallBytes = 64 << 10;
/// What a message takes beside its bytes, about.
constexpr std::uint64_t kEntryOverhead = 192;
constexpr std::size_t kScratchBytes = 64 << 10;
/// How long a put waits for a large message to be taken before it copies it, and returns.
constexpr auto kPatience = 200ms;
/// What members with equal work differ by: so long a wait looks again and again before it sleeps.
constexpr auto kSpin = 50us;
constexpr int kYieldEvery = 16;  // looks: each is a system call
/// Connections are turned by who waits; when nobody has for so long, by a thread of the channel.
constexpr auto kIdle = 2ms;
constexpr auto kLook = 5ms;  // how often that thread looks whether anybody does
/// Between two looks for where a member listens: at first, and at most.
constexpr std::chrono::nanoseconds kFirstPause = 1ms;
constexpr std::chrono::nanoseconds kLongestPause = 50ms;
constexpr auto kConnectTime = 1s;
/// No file descriptors are left: a pause before the next try.
constexpr auto kAcceptPause = 200ms;
constexpr auto kRegisterTime = 10s;
/// For a hello and its answer, and for who was refused to hear of it.
constexpr auto kHandshakeTime = 10s;
constexpr auto kClosingTime = 2s;
constexpr auto kLeaveTime = 10s;
constexpr auto kComeBackTime = 1s;
/// Bounds of what others can bring about.
constexpr std::size_t kMostPeers = 4096;
constexpr std::size_t kMostStrangers = 64;  // connections without a hello
constexpr std::size_t kMostWants = std::size_t{1} << 20;

constexpr std::uint64_t kWakeId = 0;
constexpr std::uint64_t kListenerId = 1;

std::string register_of(const Member& member) { return fmt::format("direct/{}-{}", member.worker, member.generation); }
std::string name_of(const Member& member) {
  return fmt::format("worker {} (generation {})", member.worker, member.generation);
}
std::uint64_t number_of(const Member& member) { return (std::uint64_t{member.worker} << 32U) | member.generation; }

SharedBytes joined(std::span<const ByteView> parts, std::uint64_t size) {
  return SharedBytes::make(size, [&](std::span<std::byte> to) {
    for (const auto& part : parts) {
      std::ranges::copy(part, to.begin());
      to = to.subspan(part.size());
    }
  });
}

std::uint32_t checksum_of(std::span<const ByteView> parts) {
  std::uint32_t sum = 0;
  for (const auto& part : parts) sum = crc32c(part, sum);
  return sum;
}

bool same(ByteView whole, std::span<const ByteView> parts) {
  for (const auto& part : parts) {
    if (part.size() > whole.size() || !std::ranges::equal(whole.first(part.size()), part)) return false;
    whole = whole.subspan(part.size());
  }
  return whole.empty();
}
bool same(ByteView a, ByteView b) { return same(a, std::span(&b, 1)); }

/// Of a map by MessageKey: what `source` put in `group` of `view`, in `round` and before.
template <typename Map>
auto range_of(Map& map, const MessageKey& last) {
  const auto first = map.lower_bound({.view = last.view, .group = last.group, .source = last.source});
  auto end = first;
  while (end != map.end() && end->first.view == last.view && end->first.group == last.group &&
         end->first.source == last.source && end->first.round <= last.round) {
    ++end;
  }
  return std::pair(first, end);
}

Error conflict(const MessageKey& key) {
  return {ErrorKind::kConflict, "other bytes were put before: " + to_string(key),
          "two functions act as the same rank, or a job's name is used twice"};
}

}  // namespace

bool is_direct_uri(std::string_view uri) noexcept {
  return uri == kScheme || (uri.starts_with(kScheme) && uri.substr(kScheme.size()).starts_with(':'));
}

std::string direct_host(std::string_view uri) {
  if (uri == kScheme) return "127.0.0.1";
  auto host = std::string(uri.substr(kScheme.size() + 1));
  const auto address = parse_address(fmt::format("tcp:{}:0", host));
  if (address.host == "0.0.0.0" || address.host == "::") {
    throw Error(ErrorKind::kUsage, fmt::format("{}: nobody can connect to {}", uri, address.host),
                "name the address of this machine in the network of the workers");
  }
  return host;
}

class DirectChannel::Impl final : public DirectReceiver {
 public:
  Impl(const DirectChannel& channel, Register& registers, Options options)
      : channel_(channel),
        registers_(registers),
        options_(std::move(options)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        scratch_(kScratchBytes) {
    if (!epoll_) throw system_error("cannot create an event queue", errno);
    watch(EPOLL_CTL_ADD, wake_.descriptor(), EPOLLIN, kWakeId);
  }
  ~Impl() override {
    keeper_.request_stop();
    keeper_event_.notify();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void put(std::span<const Outgoing> messages, const Wait& wait) {
    prepare_put(messages, wait);
    std::unique_lock lock(mutex_);
    Posted posted(*this, lock, messages);
    posted.wait(wait);
  }

  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
    for (const auto& key : keys) prepare(key.view, wait);
    std::unique_lock lock(mutex_);
    collect(lock, keys, on_message, wait);
  }

  void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                   const Wait& wait) {
    prepare_put(messages, wait);
    for (const auto& key : keys) prepare(key.view, wait);
    std::unique_lock lock(mutex_);
    Posted posted(*this, lock, messages);
    crash_point("after_put");
    crash_point("before_get");
    collect(lock, keys, on_message, wait);
    posted.wait(wait);
  }

  std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) {
    prepare(key.view, wait);
    std::unique_lock lock(mutex_);
    if (auto bytes = find(key)) return bytes;
    meet_others(lock, wait);
    for (auto& [number, peer] : peers_) {
      if (peer.link != nullptr) peer.link->send(DirectKind::kAsk, key);
    }
    hear_from_others(lock, wait);
    return find(key);
  }

  void retire(const MessageKey& last, const Wait& wait) {
    prepare(last.view, wait);
    const std::lock_guard lock(mutex_);
    forget_rounds(last);
    tell_all(DirectKind::kRetire, last);
  }

  void sweep(std::uint32_t view) {
    open();
    const std::lock_guard lock(mutex_);
    forget_views(view);
    tell_all(DirectKind::kSweep, {.view = view});
  }

  ChannelContents contents(const Wait& wait) {
    open();
    std::unique_lock lock(mutex_);
    meet_others(lock, wait);
    hear_from_others(lock, wait);
    ChannelContents contents{.messages = mail_.size(), .bytes = 0};
    for (const auto& [key, bytes] : mail_) contents.bytes += bytes.size();
    for (const auto& [key, message] : sent_) {
      if (mail_.contains(key)) continue;
      ++contents.messages;
      contents.bytes += message->size;
    }
    return contents;
  }

  void leave(const Wait& wait) {
    std::unique_lock lock(mutex_);
    if (!is_open_) return;
    for (auto& [number, peer] : peers_) {
      if (peer.link != nullptr) peer.link->send(DirectKind::kPing);  // the answer says what was taken
    }
    flush_all();
    const auto until = std::min(wait.deadline.at(), Clock::now() + kLeaveTime);
    while (!has_settled() && !wait.stop.stop_requested() && Clock::now() < until) {
      const auto seen = news_;
      // Now and then also without news: who has lost his connection is not waited for long.
      (void)drive(lock, wait, std::min(until, Clock::now() + 50ms), [&] { return news_ != seen; });
    }
  }

 private:
  struct Peer {
    Member member;
    DirectLink* link = nullptr;  // once both ends have agreed to talk
    bool is_connecting = false;
    std::optional<Error> refusal;  // for good
    std::string trouble;           // what went wrong last, for people
    std::optional<Clock::time_point> lost_at;
    Clock::time_point next_look{};
    std::chrono::nanoseconds pause = kFirstPause;
  };
  enum class Stage : std::uint8_t { kStranger, kGreeting, kUp, kClosing, kDead };
  struct Connection {
    Connection(std::uint64_t id, Descriptor socket, DirectMemory& memory, Stage how, Peer* whom)
        : link(id, std::move(socket), memory), stage(how), peer(whom) {}
    DirectLink link;
    Stage stage;
    Peer* peer;                                               // none: a stranger, or one who no longer counts
    Clock::time_point until = Clock::now() + kHandshakeTime;  // of all stages but kUp
    std::uint64_t pings = 0;                                  // sent and not answered
    bool waits_for_room = false;
  };

  /// What a call puts, from the moment when it is on its way until nothing of it is borrowed any more.
  class Posted {
   public:
    Posted(Impl& impl, std::unique_lock<std::mutex>& lock, std::span<const Outgoing> messages)
        : impl_(impl), lock_(lock) {
      try {
        for (const auto& message : messages) impl_.post(message, large_);
      } catch (...) {
        keep();
        throw;
      }
      impl_.flush_all();
    }
    ~Posted() {
      if (!lock_.owns_lock()) lock_.lock();
      keep();
    }
    Posted(const Posted&) = delete;
    Posted& operator=(const Posted&) = delete;

    /// Until all have taken the large ones; not for long.
    void wait(const Wait& wait) {
      if (large_.empty()) return;
      const auto until = std::min(wait.deadline.at(), Clock::now() + kPatience);
      (void)impl_.drive(lock_, wait, until, [&] {
        return std::ranges::all_of(large_, [](const auto& message) { return message->owed.empty(); });
      });
      for (const auto& message : large_) impl_.throw_refusal(message->owed);
    }

   private:
    void keep() {
      for (const auto& message : large_) impl_.keep(*message);
      large_.clear();
    }

    Impl& impl_;
    std::unique_lock<std::mutex>& lock_;
    std::vector<std::shared_ptr<DirectMessage>> large_;
  };

  // Before a call, without the lock.

  void prepare_put(std::span<const Outgoing> messages, const Wait& wait) {
    if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, name() + ": the put was given up");
    for (const auto& message : messages) {
      if (message.bytes() > channel_.max_message_bytes()) {
        throw Error(ErrorKind::kTooLarge,
                    fmt::format("{}: a message of {} bytes, but {} is the most: {}", name(), message.bytes(),
                                channel_.max_message_bytes(), to_string(message.key)));
      }
      prepare(message.key.view, wait);
    }
  }

  /// Finds out who is in `view`.
  void prepare(std::uint32_t view, const Wait& wait) {
    open();
    {
      const std::lock_guard lock(mutex_);
      if (view < over_before_ || views_.contains(view)) return;
    }
    const auto found = options_.find_view(view, wait);
    if (!found) return;
    const std::lock_guard lock(mutex_);
    adopt(view, *found);
  }

  void open() {
    const std::lock_guard opening(opening_);
    if (is_open_) return;
    const Address address = parse_address(fmt::format("tcp:{}:0", options_.host));
    auto listener = std::make_unique<Listener>(address);
    if (!listener->is_local() && options_.token.empty()) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: other machines reach it, and there is no token", name()),
                  "give the workers a token, or listen on 127.0.0.1");
    }
    registers_.write(register_of(options_.me), as_bytes(to_string(listener->address())), {Deadline::in(kRegisterTime)});
    const std::lock_guard lock(mutex_);
    listener_ = std::move(listener);
    watch(EPOLL_CTL_ADD, listener_->descriptor(), EPOLLIN, kListenerId);
    keeper_ = std::jthread([this](const std::stop_token& stop) { keep_house(stop); });
    is_open_ = true;
  }

  // Messages. With the lock, as all that follows.

  void post(const Outgoing& message, std::vector<std::shared_ptr<DirectMessage>>& large) {
    const auto size = message.bytes();
    if (is_known(message, size)) return;
    const auto to = others_addressed(message.key);
    throw_refusal(to);
    if (to.empty()) {
      reserve(size);
      deliver(message.key, joined(message.parts, size));
      return;
    }
    auto posted = std::make_shared<DirectMessage>();
    posted->key = message.key;
    posted->size = size;
    posted->owed = to;
    posted->borrowed = message.parts;
    const bool is_small = size <= kSmallBytes;
    const bool all_there = std::ranges::all_of(to, [&](const Member& one) { return link_of(one) != nullptr; });
    if (is_small) posted->checksum = checksum_of(message.parts);
    if (is_small || !all_there) {
      reserve(size);
      posted->bytes = joined(message.parts, size);
      posted->is_counted = true;
      posted->borrowed = {};
    } else {
      reserve(0);
      large.push_back(posted);
    }
    sent_[message.key] = posted;
    for (const auto& one : to) {
      if (auto* link = link_of(one)) link->send(posted);
    }
    serve_wants(message.key);
    if (wanted_.contains(message.key)) {  // another thread waits for it at this end
      reserve(size);
      deliver(message.key, joined(message.parts, size));
    }
  }

  /// Was it put before? Throws kConflict if it was another one.
  [[nodiscard]] bool is_known(const Outgoing& message, std::uint64_t size) const {
    if (const auto at = mail_.find(message.key); at != mail_.end()) {
      if (!same(at->second.view(), message.parts)) throw conflict(message.key);
      return true;
    }
    const auto at = sent_.find(message.key);
    if (at == sent_.end()) return false;
    const auto& before = *at->second;
    bool is_same = before.size == size;
    if (is_same && before.bytes) is_same = same(before.bytes->view(), message.parts);
    if (is_same && before.checksum) is_same = before.checksum == checksum_of(message.parts);
    if (!is_same) throw conflict(message.key);
    return true;
  }

  /// Whom a message goes to, but for this end.
  [[nodiscard]] std::vector<Member> others_addressed(const MessageKey& key) const {
    const auto view = views_.find(key.view);
    if (view == views_.end()) return {};
    auto to = view->second;
    if (key.group == 0 && key.destination < to.size()) to = {to[key.destination]};
    std::erase(to, options_.me);
    return to;
  }
  /// Will whoever puts it send it here?
  [[nodiscard]] bool comes_by_itself(const MessageKey& key) const {
    const auto view = views_.find(key.view);
    if (view == views_.end()) return true;
    if (key.group == 0 && key.destination < view->second.size()) return view->second[key.destination] == options_.me;
    return !sent_.contains(key);
  }

  [[nodiscard]] std::optional<SharedBytes> find(const MessageKey& key) const {
    if (const auto at = mail_.find(key); at != mail_.end()) return at->second;
    if (const auto at = sent_.find(key); at != sent_.end()) return at->second->bytes;
    return std::nullopt;
  }

  /// Copies what is borrowed from a put, if it is still to be sent.
  void keep(DirectMessage& message) {
    if (!message.bytes && (!message.owed.empty() || is_queued(message))) {
      message.bytes = joined(message.borrowed, message.size);
      if (!message.owed.empty()) {
        message.is_counted = true;
        memory_ += message.size;
      }
    }
    message.borrowed = {};
  }
  [[nodiscard]] bool is_queued(const DirectMessage& message) const {
    return std::ranges::any_of(connections_, [&](const auto& entry) {
      return std::ranges::any_of(entry.second->link.unacknowledged(),
                                 [&](const auto& one) { return one.get() == &message; });
    });
  }
  void uncount(DirectMessage& message) {
    if (std::exchange(message.is_counted, false)) memory_ -= message.size;
  }

  /// With what is needed to keep it. Throws kTooLarge.
  void reserve(std::uint64_t bytes) {
    bytes += kEntryOverhead;
    if (bytes > options_.memory_bytes - std::min(memory_, options_.memory_bytes)) {
      throw Error(
          ErrorKind::kTooLarge,
          fmt::format("{} has no room for {} more: messages that are not retired take {} of {}", name_of(options_.me),
                      format_bytes(bytes), format_bytes(memory_), format_bytes(options_.memory_bytes)),
          "give functions more memory (--memory), or keep messages elsewhere (--channel ps)");
    }
    memory_ += bytes;
  }
  void release(std::uint64_t bytes) noexcept { memory_ -= bytes + kEntryOverhead; }

  /// The room was reserved.
  void deliver(const MessageKey& key, const SharedBytes& bytes) {
    if (key.view < over_before_) return release(bytes.size());
    const auto [at, is_new] = mail_.try_emplace(key, bytes);
    if (!is_new) {
      release(bytes.size());
      if (!same(at->second.view(), bytes.view())) throw conflict(key);
      return;
    }
    serve_wants(key);
    rouse();
  }

  void serve_wants(const MessageKey& key) {
    const auto node = wants_.extract(key);
    if (node.empty()) return;
    want_count_ -= node.mapped().size();
    for (const auto id : node.mapped()) {
      const auto at = connections_.find(id);
      if (at != connections_.end() && at->second->stage == Stage::kUp) answer(at->second->link, key);
    }
  }
  /// False if it is not there.
  bool answer(DirectLink& link, const MessageKey& key) {
    auto bytes = find(key);
    if (!bytes) return false;
    auto message = std::make_shared<DirectMessage>();
    message->key = key;
    message->size = bytes->size();
    message->bytes = std::move(bytes);
    link.send(message);
    return true;
  }

  using Mail = std::map<MessageKey, SharedBytes>;
  using Sent = std::map<MessageKey, std::shared_ptr<DirectMessage>>;
  using Wants = std::map<MessageKey, std::vector<std::uint64_t>>;  // ids of connections

  void forget_rounds(const MessageKey& last) {
    std::apply([this](auto first, auto end) { forget_mail(first, end); }, range_of(mail_, last));
    std::apply([this](auto first, auto end) { forget_sent(first, end); }, range_of(sent_, last));
    std::apply([this](auto first, auto end) { forget_wants(first, end); }, range_of(wants_, last));
  }
  void forget_views(std::uint32_t view) {
    forget_mail(mail_.begin(), mail_.lower_bound({.view = view}));
    forget_sent(sent_.begin(), sent_.lower_bound({.view = view}));
    forget_wants(wants_.begin(), wants_.lower_bound({.view = view}));
  }
  void forget_mail(Mail::iterator first, Mail::iterator last) {
    for (auto at = first; at != last; ++at) release(at->second.size());
    mail_.erase(first, last);
  }
  /// What is being sent is sent to its end, as frames must be.
  void forget_sent(Sent::iterator first, Sent::iterator last) {
    for (auto at = first; at != last; ++at) {
      at->second->owed.clear();
      uncount(*at->second);
      release(0);
    }
    sent_.erase(first, last);
    rouse();
  }
  void forget_wants(Wants::iterator first, Wants::iterator last) {
    for (auto at = first; at != last; ++at) want_count_ -= at->second.size();
    wants_.erase(first, last);
  }

  // Waiting.

  void collect(std::unique_lock<std::mutex>& lock, std::span<const MessageKey> keys, const OnMessage& on_message,
               const Wait& wait) {
    std::vector<MessageKey> missing(keys.begin(), keys.end());
    std::vector<std::pair<MessageKey, SharedBytes>> found;
    std::optional<std::uint64_t> seen;
    bool is_refused = false;
    const auto look = [&] {
      if (seen == news_) return !found.empty() || is_refused;
      seen = news_;
      std::erase_if(missing, [&](const MessageKey& key) {
        auto bytes = find(key);
        if (bytes) found.emplace_back(key, std::move(*bytes));
        return bytes.has_value();
      });
      is_refused = has_refusal(missing);
      return !found.empty() || is_refused;
    };
    (void)look();
    const Wanting wanting(*this, lock, missing);
    while (!missing.empty() || !found.empty()) {
      if (found.empty() && !drive(lock, wait, wait.deadline.at(), look)) {
        if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, name() + ": the wait was given up");
        throw_missing(channel_, missing, trouble_of(missing));
      }
      if (found.empty()) throw_refusal_of(missing);
      lock.unlock();
      for (const auto& [key, bytes] : found) on_message(key, bytes);
      found.clear();
      lock.lock();
    }
  }

  /// While it lives, `keys` are waited for, and all others are asked for those that nobody sends here by himself.
  class Wanting {
   public:
    Wanting(Impl& impl, std::unique_lock<std::mutex>& lock, std::span<const MessageKey> keys)
        : impl_(impl), lock_(lock) {
      for (const auto& key : keys) {
        mine_.push_back(impl_.wanted_.insert(key));
        if (!impl_.comes_by_itself(key)) impl_.tell_all(DirectKind::kWant, key);
      }
    }
    ~Wanting() {
      if (!lock_.owns_lock()) lock_.lock();
      for (const auto& at : mine_) impl_.wanted_.erase(at);
    }
    Wanting(const Wanting&) = delete;
    Wanting& operator=(const Wanting&) = delete;

   private:
    Impl& impl_;
    std::unique_lock<std::mutex>& lock_;
    std::vector<std::multiset<MessageKey>::iterator> mine_;
  };

  /// Turns the connections until `ready`; false if `until` has passed or a stop was asked for before. One thread does
  /// so at a time, the others wait for it.
  template <typename Ready>
  [[nodiscard]] bool drive(std::unique_lock<std::mutex>& lock, const Wait& wait, Clock::time_point until,
                           const Ready& ready) {
    if (ready()) return true;
    const std::stop_callback on_stop(wait.stop, [this] { wake_.notify(); });
    while (is_driven_) {
      ++followers_;
      (void)changed_.wait_until(lock, wait.stop, until, [&] { return !is_driven_ || ready(); });
      --followers_;
      if (ready()) return true;
      if (wait.stop.stop_requested() || Clock::now() >= until) return false;
    }
    const Driving role(*this);
    auto spin_until = Clock::now() + spin_;
    for (;;) {
      if (ready()) return true;
      const auto now = Clock::now();
      if (wait.stop.stop_requested() || now >= until) return false;
      const bool spins = now < spin_until;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
      const bool moved = turn(lock, spins ? 0 : static_cast<int>(std::clamp<std::int64_t>(left, 1, 3'600'000)));
      if (moved) spin_until = Clock::now() + spin_;
    }
  }

  class Driving {
   public:
    explicit Driving(Impl& impl) : impl_(impl) { impl_.is_driven_ = true; }
    ~Driving() {
      impl_.is_driven_ = false;
      impl_.last_driven_ = Clock::now();
      if (impl_.followers_ > 0) impl_.changed_.notify_all();
    }
    Driving(const Driving&) = delete;
    Driving& operator=(const Driving&) = delete;

   private:
    Impl& impl_;
  };

  /// Waits for something to happen, and deals with it; did anything? For who drives.
  bool turn(std::unique_lock<std::mutex>& lock, int wait_ms) {
    std::array<epoll_event, 64> events;
    is_asleep_ = wait_ms > 0;
    lock.unlock();
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms);
    if (count <= 0 && wait_ms == 0 && ++looks_ % kYieldEvery == 0) std::this_thread::yield();
    lock.lock();
    is_asleep_ = false;
    if (count <= 0) {
      ++quiet_turns_;
      return false;
    }
    for (int i = 0; i < count; ++i) handle(events[static_cast<std::size_t>(i)]);
    flush_all();
    std::erase_if(connections_, [](const auto& entry) { return entry.second->stage == Stage::kDead; });
    return true;
  }

  /// Something has changed that somebody may wait for.
  void rouse() {
    ++news_;
    if (is_asleep_) wake_.notify();
    if (followers_ > 0) changed_.notify_all();
  }

  // Connections.

  void watch(int operation, int descriptor, unsigned events, std::uint64_t id) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = id;
    if (::epoll_ctl(epoll_.get(), operation, descriptor, &event) != 0) {
      throw system_error("cannot watch a socket", errno);
    }
  }

  void handle(const epoll_event& event) {
    if (event.data.u64 == kWakeId) return wake_.clear();
    if (event.data.u64 == kListenerId) return accept();
    const auto at = connections_.find(event.data.u64);
    if (at == connections_.end() || at->second->stage == Stage::kDead) return;
    auto& connection = *at->second;
    try {
      if ((event.events & EPOLLIN) != 0) receive(connection);
      if ((event.events & EPOLLOUT) != 0) flush(connection);
      if ((event.events & (EPOLLERR | EPOLLHUP)) != 0 && (event.events & EPOLLIN) == 0) lose(connection, kHungUp);
    } catch (const Error& error) {
      refuse(connection, error);
    } catch (const std::exception& error) {
      lose(connection, error.what());  // no memory is left
    }
  }

  void accept() {
    for (;;) {
      auto socket = listener_->accept();
      if (!socket) {
        if (errno != EAGAIN) pause_accepting();
        return;
      }
      const auto strangers = std::ranges::count_if(
          connections_, [](const auto& entry) { return entry.second->stage == Stage::kStranger; });
      if (strangers < static_cast<std::ptrdiff_t>(kMostStrangers))
        (void)add(std::move(socket), Stage::kStranger, nullptr);
    }
  }
  /// No descriptors are left: whoever knocks would wake the threads at once, again and again.
  void pause_accepting() {
    watch(EPOLL_CTL_MOD, listener_->descriptor(), 0, kListenerId);
    accepts_again_ = Clock::now() + kAcceptPause;
    keeper_event_.notify();
  }
  void accept_again() {
    watch(EPOLL_CTL_MOD, listener_->descriptor(), EPOLLIN, kListenerId);
    accepts_again_.reset();
  }
  Connection& add(Descriptor socket, Stage stage, Peer* peer) {
    const auto id = next_id_++;
    const int number = socket.get();
    auto& connection =
        *(connections_[id] = std::make_unique<Connection>(id, std::move(socket), memory_pool_, stage, peer));
    watch(EPOLL_CTL_ADD, number, EPOLLIN, id);
    keeper_event_.notify();  // it looks after those who say nothing
    return connection;
  }

  void receive(Connection& connection) {
    const bool goes_on = connection.stage == Stage::kClosing ? connection.link.drain(scratch_)
                                                             : connection.link.receive(*this, scratch_);
    if (!goes_on) lose(connection, kHungUp);
  }
  void flush(Connection& connection) {
    if (connection.stage == Stage::kDead) return;
    auto& link = connection.link;
    if (!link.flush()) return lose(connection, kHungUp);
    if (connection.stage == Stage::kClosing && !link.has_output()) link.end_output();
    if (link.has_output() == connection.waits_for_room) return;
    connection.waits_for_room = link.has_output();
    watch(EPOLL_CTL_MOD, link.socket(), connection.waits_for_room ? EPOLLIN | EPOLLOUT : EPOLLIN, link.id());
  }
  void flush_all() {
    for (auto& [id, connection] : connections_) {
      if (connection->stage == Stage::kDead || connection->waits_for_room || !connection->link.has_output()) continue;
      flush(*connection);
    }
  }
  void tell_all(DirectKind kind, const MessageKey& key) {
    for (auto& [number, peer] : peers_) {
      if (peer.link != nullptr) peer.link->send(kind, key);
    }
    flush_all();
  }

  /// It carries nothing any more.
  void part(Connection& connection, std::string_view why) {
    if (connection.link.incoming_bytes() > 0) release(connection.link.incoming_bytes());
    auto* const peer = std::exchange(connection.peer, nullptr);
    if (peer == nullptr) return;
    peer->is_connecting = false;
    if (!why.empty()) peer->trouble = why;
    peer->next_look = Clock::now() + peer->pause;
    if (peer->link != &connection.link) return;
    peer->link = nullptr;
    peer->lost_at = Clock::now();
    for (const auto& message : connection.link.unacknowledged()) {
      if (std::ranges::find(message->owed, peer->member) != message->owed.end()) keep(*message);
    }
    rouse();
    keeper_event_.notify();
  }
  void lose(Connection& connection, std::string_view why) {
    if (connection.stage == Stage::kDead) return;
    part(connection, why);
    connection.stage = Stage::kDead;
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.link.socket(), nullptr);
  }
  /// Says why, and lets go.
  void refuse(Connection& connection, const Error& error) {
    if (connection.stage == Stage::kDead || connection.stage == Stage::kClosing) return lose(connection, error.what());
    part(connection, error.what());
    connection.stage = Stage::kClosing;
    connection.until = Clock::now() + kClosingTime;
    connection.link.send(DirectKind::kRefused, {}, encode_direct_refusal({error.kind(), error.what(), error.remedy()}));
    flush(connection);
  }

  // What a link says.

  bool admit(DirectLink& link, const DirectHead& head) override {
    const auto stage = connections_.at(link.id())->stage;
    const bool fits = stage == Stage::kStranger ? head.kind == DirectKind::kHello
                      : stage == Stage::kGreeting
                          ? head.kind == DirectKind::kWelcome || head.kind == DirectKind::kRefused
                          : head.kind > DirectKind::kWelcome;
    if (!fits) {
      throw Error(ErrorKind::kCorrupt,
                  fmt::format("a frame of kind {} where there is none", static_cast<int>(head.kind)));
    }
    if (head.kind != DirectKind::kMessage) return true;
    if (head.key.view < over_before_) return false;
    reserve(head.body_bytes);
    return true;
  }

  void taken(DirectLink& link, const std::shared_ptr<DirectMessage>& message) override {
    const auto* const peer = connections_.at(link.id())->peer;
    if (peer == nullptr || std::erase(message->owed, peer->member) == 0 || !message->owed.empty()) return;
    uncount(*message);
    message->bytes.reset();
    rouse();
  }

  void take(DirectLink& link, const DirectHead& head, const std::optional<SharedBytes>& body) override {
    auto& connection = *connections_.at(link.id());
    switch (head.kind) {
      case DirectKind::kHello:
        return greet(connection, parse_direct_hello(body->view()));
      case DirectKind::kWelcome:
        return open_up(connection);
      case DirectKind::kRefused:
        return heed(connection, parse_direct_refusal(body->view()));
      case DirectKind::kMessage:
        if (body) deliver(head.key, *body);
        return;
      case DirectKind::kTaken:
        return;
      case DirectKind::kWant:
        if (answer(link, head.key) || head.key.view < over_before_) return;
        if (++want_count_ > kMostWants) {
          throw Error(ErrorKind::kThrottled, fmt::format("{} messages are waited for, which is the limit", kMostWants),
                      "wait for fewer messages at a time");
        }
        return wants_[head.key].push_back(link.id());
      case DirectKind::kAsk:
        (void)answer(link, head.key);
        return;
      case DirectKind::kRetire:
        return forget_rounds(head.key);
      case DirectKind::kSweep:
        return forget_views(head.key.view);
      case DirectKind::kPing:
        return link.send(DirectKind::kPong);
      case DirectKind::kPong:
        if (connection.pings > 0) --connection.pings;
        return rouse();
    }
  }

  void greet(Connection& connection, const DirectHello& hello) {
    if (!same_secret(options_.token, hello.token)) {
      throw Error(ErrorKind::kUnauthorized,
                  fmt::format("{} does not know the token of {}", name_of(hello.from), name_of(options_.me)),
                  "give all workers the same");
    }
    if (hello.to != options_.me || hello.job != options_.job) {
      throw Error(ErrorKind::kConflict, fmt::format("{} of job {} listens here, not {} of job {}", name_of(options_.me),
                                                    options_.job, name_of(hello.to), hello.job));
    }
    if (hello.from.worker <= options_.me.worker) {
      throw Error(ErrorKind::kCorrupt, "a worker connects to those of lower numbers only");
    }
    auto& peer = peer_of(hello.from);
    for (auto& [id, other] : connections_) {
      if (other->peer == &peer) lose(*other, "it has connected anew");
    }
    connection.peer = &peer;
    connection.link.send(DirectKind::kWelcome);
    open_up(connection);
  }

  /// What was put for the other end before goes to it, and what is waited for here is asked of it.
  void open_up(Connection& connection) {
    auto& peer = *connection.peer;
    connection.stage = Stage::kUp;
    peer.link = &connection.link;
    peer.is_connecting = false;
    peer.lost_at.reset();
    peer.trouble.clear();
    peer.pause = kFirstPause;
    for (const auto& [key, message] : sent_) {
      if (std::ranges::find(message->owed, peer.member) != message->owed.end()) connection.link.send(message);
    }
    for (const auto& key : wanted_) {
      if (!comes_by_itself(key)) connection.link.send(DirectKind::kWant, key);
    }
    rouse();
  }

  void heed(Connection& connection, const DirectRefusal& refusal) {
    auto* const peer = connection.peer;
    // Of another worker, who has the port of one that died: that is nothing for good.
    const bool passes = connection.stage == Stage::kGreeting && refusal.kind == ErrorKind::kConflict;
    if (peer != nullptr && !passes) peer->refusal = Error(refusal.kind, refusal.what, refusal.remedy);
    lose(connection, refusal.what);
    rouse();
  }

  // Others.

  Peer& peer_of(const Member& member) {
    const auto at = peers_.find(number_of(member));
    if (at != peers_.end()) return at->second;
    if (peers_.size() >= kMostPeers) {
      throw Error(ErrorKind::kThrottled, fmt::format("{} workers are connected, which is the limit", kMostPeers));
    }
    auto& peer = peers_[number_of(member)];
    peer.member = member;
    return peer;
  }
  [[nodiscard]] DirectLink* link_of(const Member& member) const {
    const auto at = peers_.find(number_of(member));
    return at == peers_.end() ? nullptr : at->second.link;
  }

  void adopt(std::uint32_t view, const DirectView& found) {
    if (view < over_before_) return;
    if (found.over_before > over_before_) {
      over_before_ = found.over_before;
      forget_views(over_before_);
      views_.erase(views_.begin(), views_.lower_bound(over_before_));
    }
    views_[view] = found.members;
    spin_ = found.members.size() <= cores_ ? Clock::duration(kSpin) : Clock::duration(0);
    for (const auto& member : found.members) {
      if (member == options_.me) continue;
      forget_earlier(member);
      (void)peer_of(member);
    }
    keeper_event_.notify();
  }
  /// Generations before that of `member`, who are dead or as good as that.
  void forget_earlier(const Member& member) {
    const auto first = peers_.lower_bound(number_of({member.worker, 0}));
    const auto last = peers_.lower_bound(number_of(member));
    for (auto at = first; at != last; ++at) {
      for (auto& [id, connection] : connections_) {
        if (connection->peer == &at->second) lose(*connection, "");
      }
    }
    peers_.erase(first, last);
  }

  [[nodiscard]] const Peer* refusing(std::span<const Member> members) const {
    for (const auto& member : members) {
      const auto at = peers_.find(number_of(member));
      if (at != peers_.end() && at->second.refusal) return &at->second;
    }
    return nullptr;
  }
  void throw_refusal(std::span<const Member> members) const {
    if (const auto* peer = refusing(members)) {
      throw Error(peer->refusal->kind(),
                  fmt::format("{}: {} has refused: {}", name(), name_of(peer->member), peer->refusal->what()),
                  peer->refusal->remedy());
    }
  }
  [[nodiscard]] std::span<const Member> members_of(std::uint32_t view) const {
    const auto at = views_.find(view);
    return at == views_.end() ? std::span<const Member>() : std::span<const Member>(at->second);
  }
  [[nodiscard]] bool has_refusal(std::span<const MessageKey> keys) const {
    return std::ranges::any_of(keys, [&](const auto& key) { return refusing(members_of(key.view)) != nullptr; });
  }
  void throw_refusal_of(std::span<const MessageKey> keys) const {
    for (const auto& key : keys) throw_refusal(members_of(key.view));
  }

  /// Why messages under `keys` may not have come, for people.
  [[nodiscard]] std::string trouble_of(std::span<const MessageKey> keys) const {
    for (const auto& key : keys) {
      const auto members = members_of(key.view);
      if (key.source >= members.size() || members[key.source] == options_.me) continue;
      const auto at = peers_.find(number_of(members[key.source]));
      if (at == peers_.end() || at->second.link != nullptr) continue;
      const auto& peer = at->second;
      return fmt::format("{} is not connected{}{}", name_of(peer.member), peer.trouble.empty() ? "" : ": ",
                         peer.trouble);
    }
    return {};
  }

  /// Has everybody who may still take it what this end has put?
  [[nodiscard]] bool has_settled() const {
    const auto now = Clock::now();
    return std::ranges::all_of(sent_, [&](const auto& entry) {
      return std::ranges::all_of(entry.second->owed, [&](const Member& member) {
        const auto at = peers_.find(number_of(member));
        if (at == peers_.end()) return true;
        return at->second.refusal || (at->second.lost_at && now - *at->second.lost_at >= kComeBackTime);
      });
    });
  }

  /// Until whoever is on his way has been met.
  void meet_others(std::unique_lock<std::mutex>& lock, const Wait& wait) {
    for (auto& [number, peer] : peers_) peer.next_look = Clock::now();
    keeper_event_.notify();
    const auto quiet = quiet_turns_;
    const auto passes = passes_;
    const bool has_to_look =
        std::ranges::any_of(peers_, [&](const auto& entry) { return is_to_be_found(entry.second); });
    const auto until = std::min(wait.deadline.at(), Clock::now() + kConnectTime);
    (void)drive(lock, wait, until, [&] {
      const bool looked = !has_to_look || passes_ >= passes + 2;
      return looked && quiet_turns_ > quiet && std::ranges::none_of(connections_, [](const auto& entry) {
               return entry.second->stage == Stage::kStranger || entry.second->stage == Stage::kGreeting;
             });
    });
  }
  /// Until all who are connected have dealt with what this end has said, and this end with what they had.
  void hear_from_others(std::unique_lock<std::mutex>& lock, const Wait& wait) {
    for (auto& [id, connection] : connections_) {
      if (connection->stage != Stage::kUp) continue;
      connection->link.send(DirectKind::kPing);
      ++connection->pings;
    }
    flush_all();
    const bool heard = drive(lock, wait, wait.deadline.at(), [&] {
      return std::ranges::none_of(
          connections_, [](const auto& entry) { return entry.second->stage == Stage::kUp && entry.second->pings > 0; });
    });
    if (heard) return;
    if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, name() + ": the wait was given up");
    throw Error(ErrorKind::kDeadlineExceeded, name() + ": other workers did not answer in time");
  }

  // The thread of the channel: turns the connections while nobody else does, finds others, and ends what lasts too
  // long.

  void keep_house(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::unique_lock lock(mutex_);
      const bool is_idle = !is_driven_ && Clock::now() - last_driven_ >= kIdle;
      auto until = next_duty();
      if (!is_idle) until = std::min(until, Clock::now() + (is_driven_ ? kLook : kIdle));
      lock.unlock();
      (void)wait_ready(is_idle ? epoll_.get() : -1, POLLIN, &keeper_event_, Deadline(until));
      keeper_event_.clear();
      lock.lock();
      if (!is_driven_ && Clock::now() - last_driven_ >= kIdle) {
        is_driven_ = true;
        while (turn(lock, 0)) {
        }
        is_driven_ = false;
        if (followers_ > 0) changed_.notify_all();
      }
      for (auto& [id, connection] : connections_) {
        if (connection->stage != Stage::kUp && Clock::now() >= connection->until) {
          lose(*connection, "it did not answer in time");
        }
      }
      if (accepts_again_ && Clock::now() >= *accepts_again_) accept_again();
      find_others(lock, stop);
    }
  }

  [[nodiscard]] bool is_to_be_found(const Peer& peer) const {
    return peer.member.worker < options_.me.worker && peer.link == nullptr && !peer.is_connecting && !peer.refusal;
  }
  [[nodiscard]] Clock::time_point next_duty() const {
    auto next = accepts_again_.value_or(Clock::now() + 1h);
    for (const auto& [number, peer] : peers_) {
      if (is_to_be_found(peer)) next = std::min(next, peer.next_look);
    }
    for (const auto& [id, connection] : connections_) {
      if (connection->stage != Stage::kUp) next = std::min(next, connection->until);
    }
    return next;
  }

  void find_others(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
    std::vector<Member> due;
    for (const auto& [number, peer] : peers_) {
      if (is_to_be_found(peer) && peer.next_look <= Clock::now()) due.push_back(peer.member);
    }
    for (const auto& member : due) {
      lock.unlock();
      std::string trouble = "it has not said where it listens";
      Descriptor socket;
      try {
        socket = reach(member, stop);
      } catch (const Error& error) {
        trouble = error.what();
      }
      lock.lock();
      const auto at = peers_.find(number_of(member));
      if (at == peers_.end() || !is_to_be_found(at->second)) continue;
      auto& peer = at->second;
      if (!socket) {
        peer.trouble = trouble;
        peer.pause = std::min(peer.pause * 3 / 2, kLongestPause);
        peer.next_look = Clock::now() + peer.pause;
        continue;
      }
      peer.is_connecting = true;
      auto& connection = add(std::move(socket), Stage::kGreeting, &peer);
      connection.link.send(
          DirectKind::kHello, {},
          encode_direct_hello({.from = options_.me, .to = member, .token = options_.token, .job = options_.job}));
      flush(connection);
    }
    ++passes_;
    if (!due.empty()) rouse();
  }

  /// A connection; none if it has not said where it listens.
  [[nodiscard]] Descriptor reach(const Member& member, const std::stop_token& stop) const {
    const auto value = registers_.read(register_of(member), {Deadline::in(kRegisterTime), stop});
    if (!value) return {};
    return connect_to(parse_address(as_text(value->bytes.view())), nullptr, Deadline::in(kConnectTime));
  }

  [[nodiscard]] const std::string& name() const noexcept { return channel_.uri(); }

  static constexpr std::string_view kHungUp = "the connection was lost";

  const DirectChannel& channel_;
  Register& registers_;
  const Options options_;
  const unsigned cores_ = usable_cores();
  const WakeEvent wake_;          // of who drives
  const WakeEvent keeper_event_;  // of the thread of the channel
  const Descriptor epoll_;
  Bytes scratch_;  // of who drives
  int looks_ = 0;  // of who drives

  std::mutex opening_;
  std::atomic<bool> is_open_ = false;

  std::mutex mutex_;  // guards all that follows
  std::condition_variable_any changed_;
  std::unique_ptr<Listener> listener_;
  std::map<std::uint32_t, std::vector<Member>> views_;
  std::uint32_t over_before_ = 0;
  std::map<std::uint64_t, Peer> peers_;  // by number_of()
  DirectMemory memory_pool_;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::uint64_t next_id_ = 16;
  Mail mail_;                         // what was sent here
  Sent sent_;                         // what was put here, and goes elsewhere
  Wants wants_;                       // of others
  std::size_t want_count_ = 0;        // in wants_
  std::multiset<MessageKey> wanted_;  // by calls of this end
  std::uint64_t memory_ = 0;
  std::uint64_t news_ = 0;  // counts what somebody may wait for
  std::optional<Clock::time_point> accepts_again_;
  std::uint64_t quiet_turns_ = 0;
  std::uint64_t passes_ = 0;  // of the search for others
  bool is_driven_ = false;
  bool is_asleep_ = false;  // who drives
  int followers_ = 0;
  Clock::time_point last_driven_{};
  Clock::duration spin_{};

  std::jthread keeper_;  // last: ends before what it uses
};

DirectChannel::DirectChannel(Register& registers, Options options)
    : uri_(fmt::format("direct:{}", options.host)),
      impl_(std::make_unique<Impl>(*this, registers, std::move(options))) {}

DirectChannel::~DirectChannel() = default;

void DirectChannel::put(std::span<const Outgoing> messages, const Wait& wait) { impl_->put(messages, wait); }

void DirectChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  impl_->get(keys, on_message, wait);
}

void DirectChannel::put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                                const OnMessage& on_message, const Wait& wait) {
  impl_->put_and_get(messages, keys, on_message, wait);
}

std::optional<SharedBytes> DirectChannel::try_get(const MessageKey& key, const Wait& wait) {
  return impl_->try_get(key, wait);
}

void DirectChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                           const Wait& wait) {
  impl_->retire({.view = view, .group = group, .source = source, .round = round}, wait);
}

void DirectChannel::sweep(std::uint32_t view, const Wait& /*wait*/) { impl_->sweep(view); }

ChannelContents DirectChannel::contents(const Wait& wait) { return impl_->contents(wait); }

std::size_t DirectChannel::max_message_bytes() const noexcept { return kDirectMaxMessageBytes; }

void DirectChannel::leave(const Wait& wait) { impl_->leave(wait); }

}  // namespace virga
