#include "virga/net/http_server.h"

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <unordered_map>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "virga/base/error.h"
#include "virga/net/http_connection.h"

namespace virga {
namespace {

using boost::system::error_code;
using namespace std::chrono_literals;

/// Connections that are accepted before those that are open have their turn.
constexpr int kTurn = 64;
/// No file descriptors or no memory is left: a pause before the next try.
constexpr auto kAcceptPause = 200ms;

int address_family_of(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    throw system_error("an HTTP server needs a socket that listens", errno);
  }
  return name.ss_family;
}

void set_option(int socket, int level, int option, int value) noexcept {
  static_cast<void>(::setsockopt(socket, level, option, &value, sizeof(value)));
}

/// Answers go out at once, and a client whose machine is gone is found out while it waits.
void tune_tcp(int socket) noexcept {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace

class HttpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& context, Descriptor listening, Options options, Handler handler)
      : context_(context),
        address_family_(address_family_of(listening.get())),
        listening_(context),
        pause_(context),
        service_(std::make_shared<HttpService>()) {
    service_->options = options;
    service_->handler = std::move(handler);
    service_->loop = std::make_shared<HttpLoop>();
    service_->loop->context = &context;
    if (const int flags = ::fcntl(listening.get(), F_GETFL);
        flags < 0 || ::fcntl(listening.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
      throw system_error("cannot use the socket of an HTTP server", errno);
    }
    listening_.assign(listening.get());
    static_cast<void>(listening.release());
  }

  void start() {
    service_->left = [this](HttpConnection& connection) { left(connection); };  // stop() ends all of them
    wait();
  }

  void stop() {
    is_stopped_ = true;
    error_code ignored;  // it was ours alone
    listening_.close(ignored);
    pause_.cancel();
    for (const auto& [_, connection] : std::exchange(connections_, {})) connection->close();
    count_ = 0;
    const std::scoped_lock lock(service_->loop->mutex);
    service_->loop->context = nullptr;
  }

  [[nodiscard]] std::size_t connections() const noexcept { return count_; }

 private:
  void wait() {
    if (is_waiting_ || is_pausing_ || is_stopped_ || connections_.size() >= service_->options.most_connections) return;
    is_waiting_ = true;
    listening_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this()](error_code error) {
                            self->is_waiting_ = false;
                            if (!error && !self->is_stopped_) self->accept();
                          });
  }

  void accept() {
    for (int turn = 0; turn < kTurn && connections_.size() < service_->options.most_connections; ++turn) {
      Descriptor socket(::accept4(listening_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        add(std::move(socket));
      } else if (errno == EAGAIN) {
        break;
      } else if (errno != ECONNABORTED && errno != EINTR) {
        return pause();
      }
    }
    wait();
  }

  void add(Descriptor socket) {
    if (address_family_ != AF_UNIX) tune_tcp(socket.get());
    std::shared_ptr<HttpConnection> connection;
    try {
      connection = std::make_shared<HttpConnection>(context_, service_, std::move(socket), address_family_);
      connections_.emplace(connection.get(), connection);
      count_ = connections_.size();
      connection->start();
    } catch (const std::exception&) {
      if (connection) connection->close();  // no memory is left for one more; the others are served
    }
  }

  void pause() {
    is_pausing_ = true;
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([self = shared_from_this()](error_code) {
      self->is_pausing_ = false;
      self->wait();
    });
  }

  void left(HttpConnection& connection) {
    if (is_stopped_) return;
    connections_.erase(&connection);
    count_ = connections_.size();
    wait();
  }

  boost::asio::io_context& context_;
  const int address_family_;
  boost::asio::posix::stream_descriptor listening_;
  boost::asio::steady_timer pause_;
  const std::shared_ptr<HttpService> service_;
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections_;
  std::atomic<std::size_t> count_ = 0;
  bool is_waiting_ = false;
  bool is_pausing_ = false;
  bool is_stopped_ = false;
};

HttpServer::HttpServer(boost::asio::io_context& context, Descriptor listening, Options options, Handler handler)
    : impl_(std::make_shared<Impl>(context, std::move(listening), options, std::move(handler))) {
  impl_->start();
}

HttpServer::~HttpServer() { impl_->stop(); }

std::size_t HttpServer::connections() const noexcept { return impl_->connections(); }

}  // namespace virga
