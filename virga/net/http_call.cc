#include "virga/net/http_call.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <fmt/format.h>

#include "virga/net/endpoint.h"
#include "virga/net/http_writer.h"

namespace virga {
namespace {

using boost::system::error_code;
using namespace std::chrono_literals;

/// What one answer may bring before the others have their turn, in fills of the scratch buffer.
constexpr int kTurn = 8;
/// The queue of a Unix socket is full, and nothing tells when it no longer is.
constexpr auto kConnectPause = 5ms;

std::string text_of(int error_number) { return std::generic_category().message(error_number); }

/// Does an answer begin as a record of TLS does: an alert or a handshake, version 3?
bool is_tls(std::string_view bytes) { return bytes.starts_with("\x15\x03") || bytes.starts_with("\x16\x03"); }

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

boost::asio::generic::stream_protocol::endpoint unix_endpoint(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  check(path.size() < sizeof(name.sun_path), "a socket's path is too long");
  std::memcpy(name.sun_path, path.data(), path.size());
  return {&name, sizeof(name)};
}

}  // namespace

void HttpLink::await_readable(std::function<void()> then) {
  readable_ = std::move(then);
  wait();
}

void HttpLink::await_nothing(std::function<void()> then) {
  if (!tls_) return await_readable(std::move(then));
  await_readable([self = shared_from_this(), then = std::move(then)]() mutable {
    // What TLS says to itself, as of sessions, is nothing.
    if (self->is_quiet()) return self->await_nothing(std::move(then));
    then();
  });
}

void HttpLink::await_writable(std::function<void()> then) {
  socket_.async_wait(boost::asio::socket_base::wait_write,
                     [self = shared_from_this(), then = std::move(then)](error_code error) {
                       if (!error) then();
                     });
}

void HttpLink::wait() {
  if (is_waiting_) return;
  is_waiting_ = true;
  socket_.async_wait(boost::asio::socket_base::wait_read, [self = shared_from_this()](error_code error) {
    self->is_waiting_ = false;
    if (error || !self->readable_) return;
    std::exchange(self->readable_, nullptr)();
  });
}

bool HttpLink::is_quiet() {
  if (tls_) return socket_.is_open() && tls_->is_quiet();
  char byte = 0;
  return socket_.is_open() && ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EINTR);
}

void HttpLink::close() {
  readable_ = nullptr;
  if (tls_ && socket_.is_open()) tls_->close();
  error_code ignored;  // the server may have gone before
  socket_.shutdown(boost::asio::socket_base::shutdown_both, ignored);
  socket_.close(ignored);
}

HttpClient::Pending::Pending(std::shared_ptr<HttpCallOwner> owner, HttpRequest request, Extras extras,
                             Deadline deadline, bool may_repeat, Done done)
    : owner_(std::move(owner)),
      request_(std::move(request)),
      extras_(std::move(extras)),
      deadline_(deadline),
      may_repeat_(may_repeat),
      done_(std::move(done)),
      timer_(owner_->context),
      pause_(owner_->context) {}

void HttpClient::Pending::start() {
  try {
    std::size_t bytes = request_.body.size();
    for (const auto part : extras_.body) bytes += part.size();
    head_ = request_head(request_, host_header(owner_->server), bytes);
  } catch (const Error& error) {
    return fail(Error(error.kind(), error.what(), error.remedy()));
  }
  if (deadline_.passed()) return fail(too_late());
  set_timer(deadline_.at());
  if (auto link = owner_->take_idle()) {
    is_kept_ = true;
    return use(std::move(link));
  }
  resolve();
}

void HttpClient::Pending::set_timer(Clock::time_point at) {
  timer_.expires_at(at);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->done_) self->expired();
  });
}

void HttpClient::Pending::expired() {
  if (Clock::now() < timer_.expiry()) return;  // it was set anew
  if (deadline_.passed()) {
    return fail(too_late());
  }
  if (is_connecting_) {
    const auto* const what = is_shaking_hands_ ? "TLS: no end of the handshake" : "cannot connect";
    fail(Error(ErrorKind::kUnavailable,
               fmt::format("{}: {} within {:.3f} s", name(), what, seconds(owner_->options.connect_time)),
               is_shaking_hands_ ? "check that the server speaks TLS at this port"
                                 : "check the address, and that a server runs there"));
  }
}

void HttpClient::Pending::resolve() {
  is_connecting_ = true;
  endpoint_ = 0;
  set_timer(std::min(deadline_.at(), Clock::now() + owner_->options.connect_time));
  const auto& server = owner_->server;
  if (server.kind == Address::Kind::kUnix) {
    endpoints_ = {unix_endpoint(server.path)};
    return connect();
  }
  namespace ip = boost::asio::ip;
  error_code no_number;
  const auto address = ip::make_address(server.host, no_number);
  if (!no_number) {
    endpoints_ = {Endpoint(ip::tcp::endpoint(address, server.port))};
    return connect();
  }
  owner_->resolver.async_resolve(
      server.host, std::to_string(server.port),
      [self = shared_from_this()](error_code error, const ip::tcp::resolver::results_type& found) {
        if (!self->done_) return;
        if (error || found.empty()) {
          return self->fail(Error(
              ErrorKind::kUnavailable,
              fmt::format("{}: host {} is not known: {}", self->name(), self->owner_->server.host, error.message()),
              "check the name of the host"));
        }
        for (const auto& entry : found) self->endpoints_.emplace_back(entry.endpoint());
        self->connect();
      });
}

void HttpClient::Pending::connect() {
  // By hand: Asio takes the full queue of a Unix socket (EAGAIN) for a connection that is being made.
  const auto& endpoint = endpoints_.at(endpoint_);
  link_ = std::make_shared<HttpLink>(owner_->context);
  auto& socket = link_->socket();
  error_code error;
  socket.open(endpoint.protocol(), error);
  if (!error) socket.non_blocking(true, error);
  if (error) return next_endpoint(error.value());
  if (owner_->server.kind == Address::Kind::kTcp) {
    const int one = 1;
    static_cast<void>(::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
    static_cast<void>(::setsockopt(socket.native_handle(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)));
  }
  const auto* name = static_cast<const sockaddr*>(endpoint.data());
  if (::connect(socket.native_handle(), name, static_cast<socklen_t>(endpoint.size())) == 0) return connected();
  if (errno == EINPROGRESS || errno == EINTR) {
    link_->await_writable([self = shared_from_this(), link = link_] {
      if (self->done_ && self->link_ == link) self->finish_connect();
    });
  } else if (errno == EAGAIN) {
    pause_.expires_after(kConnectPause);
    pause_.async_wait([self = shared_from_this()](error_code aborted) {
      if (!aborted && self->done_) self->connect();
    });
  } else {
    next_endpoint(errno);
  }
}

void HttpClient::Pending::finish_connect() {
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(link_->socket().native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return next_endpoint(error);
  connected();
}

void HttpClient::Pending::next_endpoint(int error_number) {
  link_->close();
  if (++endpoint_ < endpoints_.size()) return connect();
  const bool is_full = error_number == EMFILE || error_number == ENFILE;
  fail(Error(ErrorKind::kUnavailable, fmt::format("{}: cannot connect: {}", name(), text_of(error_number)),
             is_full ? "raise the limit of open files (ulimit -n), or keep fewer requests under way"
                     : "check the address, and that a server runs there"));
}

void HttpClient::Pending::connected() {
  if (owner_->tls && link_->tls() == nullptr) {
    is_shaking_hands_ = true;
    return shake_hands();
  }
  is_connecting_ = false;
  set_timer(deadline_.at());
  use(std::move(link_));
}

void HttpClient::Pending::shake_hands() {
  const auto again = [self = shared_from_this(), link = link_] {
    if (self->done_ && self->link_ == link) self->shake_hands();
  };
  try {
    if (link_->tls() == nullptr) link_->begin_tls(owner_->tls);
    switch (link_->tls()->shake_hands()) {
      case TlsStream::Next::kAwaitReadable:
        return link_->await_readable(again);
      case TlsStream::Next::kAwaitWritable:
        return link_->await_writable(again);
      case TlsStream::Next::kDone:
        is_shaking_hands_ = false;
        return connected();
    }
  } catch (const Error& error) {
    fail(Error(error.kind(), name() + ": " + error.what(), error.remedy()));
  }
}

void HttpClient::Pending::use(std::shared_ptr<HttpLink> link) {
  link_ = std::move(link);
  reader_.emplace(owner_->options.limits, request_.method == "HEAD", extras_.on_body);
  link_->await_readable([self = shared_from_this()] { self->receive(); });
  write();
}

void HttpClient::Pending::write() {
  is_writing_ = true;
  const bool was_sent = std::exchange(is_sent_, true);
  buffers_ = {boost::asio::buffer(std::as_const(head_)), boost::asio::buffer(std::as_const(request_.body))};
  for (const auto part : extras_.body) buffers_.emplace_back(part.data(), part.size());
  if (link_->tls() != nullptr) {
    is_sent_ = was_sent;  // until a record has gone
    unsent_.clear();
    for (const auto& part : buffers_) unsent_.emplace_back(static_cast<const std::byte*>(part.data()), part.size());
    return write_tls();
  }
  boost::asio::async_write(link_->socket(), buffers_,
                           [self = shared_from_this(), link = link_, was_sent](error_code error, std::size_t count) {
                             if (!self->done_ || self->link_ != link) return;
                             self->is_writing_ = false;
                             if (!error) return;
                             // The server may have answered before it closed the connection: reading tells.
                             if (count == 0) self->is_sent_ = was_sent;
                             self->receive();
                           });
}

void HttpClient::Pending::write_tls() {
  const auto link = link_;
  const auto again = [self = shared_from_this(), link] {
    if (self->done_ && self->link_ == link) self->write_tls();
  };
  std::span<ByteView> left = unsent_;
  for (int turn = 0; !left.empty(); ++turn) {
    TlsStream::Moved moved;
    try {
      moved = link->tls()->write(left);
    } catch (const Error&) {
      is_writing_ = false;
      return receive();  // the server may have answered before it closed the connection, or say why
    }
    if (moved.next != TlsStream::Next::kDone) break;
    is_sent_ = true;
    for (; !left.empty() && moved.count >= left[0].size(); left = left.subspan(1)) moved.count -= left[0].size();
    if (moved.count > 0) left[0] = left[0].subspan(moved.count);
    if (turn == kTurn) break;
  }
  unsent_.erase(unsent_.begin(), unsent_.end() - static_cast<std::ptrdiff_t>(left.size()));
  if (unsent_.empty()) {
    is_writing_ = false;
  } else {
    link->await_writable(again);
  }
}

void HttpClient::Pending::receive() {
  if (link_->tls() != nullptr) return receive_tls();
  const auto link = link_;
  for (int turn = 0; turn < kTurn; ++turn) {
    auto& scratch = owner_->scratch;
    const auto count = ::recv(link->socket().native_handle(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (count < 0) return ended(text_of(errno));
    if (count == 0) {
      reader_->end();
      return reader_->is_done() ? complete() : ended("the server closed the connection");
    }
    take(std::string_view(scratch.data(), static_cast<std::size_t>(count)));
    if (!done_ || link_ != link) return;
  }
  await_more();
}

void HttpClient::Pending::await_more() {
  link_->await_readable([self = shared_from_this()] { self->receive(); });
}

void HttpClient::Pending::receive_tls() {
  const auto link = link_;
  for (int turn = 0; turn < kTurn; ++turn) {
    TlsStream::Moved moved;
    try {
      moved = link->tls()->read(std::as_writable_bytes(std::span(owner_->scratch)));
    } catch (const Error& error) {
      return broken(error);
    }
    if (moved.next == TlsStream::Next::kAwaitReadable) return await_more();
    if (moved.next == TlsStream::Next::kAwaitWritable) {
      return link->await_writable([self = shared_from_this(), link] {
        if (self->done_ && self->link_ == link) self->receive();
      });
    }
    if (moved.count == 0) {
      reader_->end();
      return reader_->is_done() ? complete() : ended("the server closed the connection");
    }
    take(std::string_view(owner_->scratch.data(), moved.count));
    if (!done_ || link_ != link) return;
  }
  // The others have their turn; what is decrypted already makes no socket readable.
  boost::asio::post(owner_->context, [self = shared_from_this(), link] {
    if (self->done_ && self->link_ == link) self->receive();
  });
}

void HttpClient::Pending::broken(const Error& error) {
  if (error.kind() == ErrorKind::kUnavailable) return ended(error.what());
  fail(Error(error.kind(), name() + ": " + error.what(), error.remedy()));
}

void HttpClient::Pending::take(std::string_view bytes) {
  if (!has_answer_ && link_->tls() == nullptr && is_tls(bytes)) {
    return fail(Error(ErrorKind::kBadData, name() + ": the server speaks TLS, not plain HTTP", "write https://"));
  }
  has_answer_ = true;
  try {
    const auto used = reader_->take(bytes);
    if (!reader_->is_done()) return;
    if (used < bytes.size() || is_writing_ || !reader_->keep_alive()) link_->close();
  } catch (const Error& error) {
    return fail(Error(error.kind(), name() + ": " + error.what(), error.remedy()));
  }
  complete();
}

void HttpClient::Pending::ended(const std::string& why) {
  link_->close();
  if (is_kept_ && !has_answer_ && !is_repeat_ && (may_repeat_ || !is_sent_)) {
    is_repeat_ = true;
    is_kept_ = false;
    is_writing_ = false;
    return resolve();
  }
  fail(Error(
      ErrorKind::kUnavailable,
      fmt::format("{}: {} before the answer was complete, after {:.3f} s", name(), why, seconds(Clock::now() - begun_)),
      "check that the server is well, and try again"));
}

void HttpClient::Pending::complete() {
  auto response = reader_->release();
  if (link_->socket().is_open() && reader_->keep_alive()) owner_->keep(std::exchange(link_, nullptr));
  finish({.response = std::move(response), .error = {}, .sent = true});
}

void HttpClient::Pending::fail(Error error) { finish({.response = {}, .error = std::move(error), .sent = is_sent_}); }

void HttpClient::Pending::finish(Outcome outcome) {
  if (!done_) return;
  const auto self = shared_from_this();
  const auto done = std::exchange(done_, nullptr);
  timer_.cancel();
  pause_.cancel();
  if (link_) link_->close();
  link_.reset();
  owner_->over(*this);
  done(std::move(outcome));
}

Error HttpClient::Pending::too_late() const {
  return {ErrorKind::kDeadlineExceeded,
          fmt::format("{}: {} within {:.3f} s", name(),
                      is_shaking_hands_ ? "TLS: no end of the handshake"
                      : is_connecting_  ? "no connection"
                                        : "no answer",
                      seconds(deadline_.at() - begun_)),
          is_shaking_hands_ ? "check that the server speaks TLS at this port, or allow more time"
                            : "check that the server is well, or allow more time"};
}

std::string HttpClient::Pending::name() const {
  return fmt::format("{}: {} {}", to_string(owner_->server), request_.method, path_of(request_.target));
}

}  // namespace virga
