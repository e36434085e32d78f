#include "virga/ps/server.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include "virga/net/socket.h"
#include "virga/ps/session.h"

namespace virga {
namespace {

using Clock = Deadline::Clock;
using namespace std::chrono_literals;

/// Received in one go beside the body of a message; of a large message so much is copied.
constexpr std::size_t kScratchBytes = 16 << 10;
/// What one client may move before the others have their turn.
constexpr std::size_t kTurnBytes = 4 << 20;
constexpr std::size_t kMaxVectors = 64;
/// Connections beyond the limit are taken so far that they can be told.
constexpr unsigned kRefusedConnections = 16;
/// No file descriptors are left: a pause before the next try.
constexpr auto kAcceptPause = 200ms;

std::vector<std::unique_ptr<Listener>> listen_on_all(const PsServerOptions& options) {
  if (options.listen.empty()) throw Error(ErrorKind::kUsage, "a data store needs an address to listen on");
  if (options.token.size() > kPsMaxTokenBytes) {
    throw Error(ErrorKind::kUsage, fmt::format("a token has at most {} bytes", kPsMaxTokenBytes));
  }
  std::vector<std::unique_ptr<Listener>> listeners;
  for (const auto& text : options.listen) {
    listeners.push_back(std::make_unique<Listener>(parse_address(text)));
    if (!listeners.back()->is_local() && options.token.empty()) {
      throw Error(ErrorKind::kUsage, text + " can be reached from other machines, and there is no token",
                  "give a token, or listen on 127.0.0.1 or a Unix socket");
    }
  }
  return listeners;
}

struct Connection;
/// When which connection is to be looked after.
using Timers = std::multimap<Clock::time_point, Connection*>;

struct Connection {
  Connection(Descriptor descriptor, PsService& service, std::function<void()> wake, std::optional<Error> refusal)
      : socket(std::move(descriptor)), session(service, std::move(wake), std::move(refusal)) {}
  /// The client is to see the end also when a child of this process still has the socket open.
  ~Connection() { ::shutdown(socket.get(), SHUT_RDWR); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Descriptor socket;
  PsSession session;
  Clock::time_point last_progress = Clock::now();
  std::optional<Timers::iterator> timer;
  bool is_dead = false;
  bool is_woken = false;
  bool waits_for_room = false;  // to send
};

}  // namespace

/// One thread that waits with epoll for all sockets.
class PsServer::Loop {
 public:
  explicit Loop(const PsServerOptions& options)
      : options_(options),
        listeners_(listen_on_all(options)),
        service_(options.token, options.memory_bytes),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) throw system_error("cannot create an event queue", errno);
    watch(EPOLL_CTL_ADD, stop_.descriptor(), EPOLLIN, &stop_);
    for (const auto& listener : listeners_) watch(EPOLL_CTL_ADD, listener->descriptor(), EPOLLIN, listener.get());
    thread_ = std::thread([this] { run(); });
  }
  ~Loop() {
    stop_.notify();
    thread_.join();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] const std::vector<std::unique_ptr<Listener>>& listeners() const noexcept { return listeners_; }

 private:
  void run() {
    std::array<epoll_event, 64> events{};
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms());
      for (int i = 0; i < count; ++i) {
        const auto& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == &stop_) return;
        handle(event);
        serve_woken();
      }
      serve_timers();
      serve_woken();
      bury();
    }
  }

  void handle(const epoll_event& event) {
    const auto at = std::ranges::find_if(listeners_, [&](const auto& one) { return one.get() == event.data.ptr; });
    if (at != listeners_.end()) return accept(**at);
    auto& connection = *static_cast<Connection*>(event.data.ptr);
    if (connection.is_dead) return;
    if ((event.events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0 && (event.events & EPOLLIN) == 0) {
      connection.is_dead = true;
      return;
    }
    if ((event.events & EPOLLIN) != 0) guarded(connection, [&] { receive(connection); });
    guarded(connection, [&] { send(connection); });
    schedule(connection);
  }

  /// What goes wrong with one client ends its connection, and no other.
  template <typename Work>
  void guarded(Connection& connection, const Work& work) noexcept {
    if (connection.is_dead) return;
    try {
      work();
    } catch (const std::exception&) {
      connection.is_dead = true;  // no memory is left: everything else is answered
    }
  }

  void accept(Listener& listener) {
    for (;;) {
      if (connections_.size() >= options_.max_connections + kRefusedConnections) return pause_accepting(std::nullopt);
      auto socket = listener.accept();
      if (!socket) {
        if (errno != EAGAIN) pause_accepting(Clock::now() + kAcceptPause);
        return;
      }
      std::optional<Error> refusal;
      if (connections_.size() >= options_.max_connections) {
        refusal = Error(ErrorKind::kThrottled,
                        fmt::format("the store serves {} connections, which is its limit", options_.max_connections),
                        "start it with a larger --max-connections, or use fewer workers");
      }
      add(std::move(socket), std::move(refusal));
    }
  }

  void add(Descriptor socket, std::optional<Error> refusal) {
    const int number = socket.get();
    auto& owner = connections_[number];
    owner = std::make_unique<Connection>(
        std::move(socket), service_, [this, number] { wake(number); }, std::move(refusal));
    watch(EPOLL_CTL_ADD, number, EPOLLIN | EPOLLRDHUP, owner.get());
    schedule(*owner);
  }

  /// Until a connection ends, or `until`.
  void pause_accepting(std::optional<Clock::time_point> until) {
    if (!accepting_) return;
    accepting_ = false;
    accept_again_ = until;
    for (const auto& listener : listeners_) watch(EPOLL_CTL_DEL, listener->descriptor(), 0, nullptr);
  }

  void resume_accepting() {
    if (accepting_) return;
    accepting_ = true;
    accept_again_.reset();
    for (const auto& listener : listeners_) watch(EPOLL_CTL_ADD, listener->descriptor(), EPOLLIN, listener.get());
  }

  void receive(Connection& connection) {
    auto& session = connection.session;
    for (std::size_t moved = 0; moved < kTurnBytes && !session.is_over();) {
      const auto direct = session.unfilled();
      std::array<iovec, 2> vectors = {{{direct.data(), direct.size()}, {scratch_.data(), scratch_.size()}}};
      const auto asked = direct.size() + scratch_.size();
      const auto received = ::readv(connection.socket.get(), vectors.data(), 2);
      if (received < 0 && errno == EAGAIN) return;
      if (received <= 0) {
        connection.is_dead = true;
        return;
      }
      const auto count = static_cast<std::size_t>(received);
      const auto straight = std::min(count, direct.size());
      session.filled(straight);
      session.take(ByteView(scratch_).first(count - straight));
      connection.last_progress = Clock::now();
      moved += count;
      if (count < asked) return;
    }
  }

  void send(Connection& connection) {
    auto& session = connection.session;
    if (session.may_hold_out()) return;
    for (std::size_t moved = 0; !session.out().empty() && moved < kTurnBytes;) {
      std::array<iovec, kMaxVectors> vectors{};
      msghdr message{};
      message.msg_iov = vectors.data();
      message.msg_iovlen = session.out().gather(vectors);
      const auto sent = ::sendmsg(connection.socket.get(), &message, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) break;
      if (sent < 0) {
        connection.is_dead = true;
        return;
      }
      session.sent(static_cast<std::size_t>(sent));
      connection.last_progress = Clock::now();
      moved += static_cast<std::size_t>(sent);
    }
    if (session.is_over()) connection.is_dead = true;  // what fits into the socket has been said
    if (const bool waits = !session.out().empty(); waits != connection.waits_for_room) {
      connection.waits_for_room = waits;
      watch(EPOLL_CTL_MOD, connection.socket.get(), EPOLLIN | EPOLLRDHUP | (waits ? EPOLLOUT : 0U), &connection);
    }
  }

  void wake(int number) {
    const auto at = connections_.find(number);
    if (at == connections_.end() || std::exchange(at->second->is_woken, true)) return;
    woken_.push_back(at->second.get());
  }

  void serve_woken() {
    for (auto* connection : woken_) {
      connection->is_woken = false;
      guarded(*connection, [&] { send(*connection); });
      schedule(*connection);
    }
    woken_.clear();
  }

  /// When `connection` is to be looked after next. A timer that is too early is left: when it is due, this is asked
  /// again, and most requests end before theirs is.
  void schedule(Connection& connection) {
    auto due = connection.is_dead ? Clock::time_point::max() : due_of(connection);
    if (due == Clock::time_point::max() || (connection.timer && (*connection.timer)->first <= due)) return;
    if (connection.timer) timers_.erase(*connection.timer);
    connection.timer = timers_.emplace(due, &connection);
  }

  [[nodiscard]] Clock::time_point due_of(const Connection& connection) const {
    auto due = connection.session.due().value_or(Clock::time_point::max());
    if (is_stalling(connection)) due = std::min(due, connection.last_progress + options_.stall_timeout);
    return due;
  }

  [[nodiscard]] static bool is_stalling(const Connection& connection) {
    const auto& session = connection.session;
    return session.is_awaited() || (!session.out().empty() && !session.may_hold_out());
  }

  void serve_timers() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first <= now) {
      auto& connection = *timers_.begin()->second;
      timers_.erase(timers_.begin());
      connection.timer.reset();
      if (connection.is_dead) continue;
      if (is_stalling(connection) && now >= connection.last_progress + options_.stall_timeout) {
        connection.is_dead = true;
        continue;
      }
      guarded(connection, [&] {
        connection.session.expired(now);
        send(connection);
      });
      schedule(connection);
    }
    if (accept_again_ && now >= *accept_again_) resume_accepting();
  }

  [[nodiscard]] int wait_ms() const {
    auto next = timers_.empty() ? Clock::time_point::max() : timers_.begin()->first;
    if (accept_again_) next = std::min(next, *accept_again_);
    if (next == Clock::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
  }

  void bury() {
    const auto count = connections_.size();
    std::erase_if(connections_, [&](const auto& entry) {
      auto& connection = *entry.second;
      if (!connection.is_dead) return false;
      if (connection.timer) timers_.erase(*connection.timer);
      watch(EPOLL_CTL_DEL, connection.socket.get(), 0, nullptr);  // a child that has it open would keep it watched
      return true;
    });
    if (connections_.size() < count) resume_accepting();
  }

  void watch(int operation, int descriptor, unsigned events, void* what) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = what;
    if (::epoll_ctl(epoll_.get(), operation, descriptor, &event) != 0) {
      throw system_error("cannot watch a socket", errno);
    }
  }

  const PsServerOptions options_;
  const std::vector<std::unique_ptr<Listener>> listeners_;
  PsService service_;
  Descriptor epoll_;
  WakeEvent stop_;
  Timers timers_;
  std::map<int, std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> woken_;
  std::array<std::byte, kScratchBytes> scratch_{};
  bool accepting_ = true;
  std::optional<Clock::time_point> accept_again_;
  std::thread thread_;
};

PsServer::PsServer(const PsServerOptions& options) : loop_(std::make_unique<Loop>(options)) {
  for (const auto& listener : loop_->listeners()) addresses_.push_back(to_string(listener->address()));
}

PsServer::~PsServer() = default;

}  // namespace virga
