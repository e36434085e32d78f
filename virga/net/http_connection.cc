#include "virga/net/http_connection.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <ctime>
#include <exception>
#include <utility>

#include <sys/socket.h>

#include <fmt/format.h>

#include "virga/net/http_writer.h"

namespace virga {
namespace {

using boost::system::error_code;
using namespace std::chrono_literals;

/// How much of later requests is received while one is served. A client that sends more is not watched for its end
/// until that one is answered.
constexpr std::size_t kMostAhead = 64 << 10;
/// What one client may send before the others have their turn, in fills of the scratch buffer.
constexpr int kTurn = 8;
/// How long a refused client may go on sending before the connection is cut. Closed at once, it would be reset, and the
/// client might never see why.
constexpr auto kLingerTime = 2s;

}  // namespace

HttpConnection::HttpConnection(boost::asio::io_context& context, std::shared_ptr<HttpService> service,
                               Descriptor socket, int address_family)
    : service_(std::move(service)), socket_(context), timer_(context) {
  socket_.assign(boost::asio::generic::stream_protocol(address_family, 0), socket.get());
  static_cast<void>(socket.release());
}

void HttpConnection::start() {
  due_in(service_->options.idle_time);
  watch();
}

void HttpConnection::close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  timer_.cancel();
  error_code ignored;  // the client may have gone before
  // The client is to see the end also when a child of this process still has the socket open.
  socket_.shutdown(boost::asio::socket_base::shutdown_both, ignored);
  socket_.close(ignored);
  if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->detach();
  service_->left(*this);
}

void HttpConnection::watch() {
  if (is_watching_ || has_ended_ || state_ == State::kClosed || ahead_.size() >= kMostAhead) return;
  is_watching_ = true;
  socket_.async_wait(boost::asio::socket_base::wait_read, [self = shared_from_this()](error_code error) {
    self->is_watching_ = false;
    if (!error) self->guarded([&] { self->receive(); });
  });
}

void HttpConnection::receive() {
  for (int turn = 0; turn < kTurn && state_ != State::kClosed && ahead_.size() < kMostAhead; ++turn) {
    auto& scratch = service_->scratch;
    const auto count = ::recv(socket_.native_handle(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (count <= 0) return hung_up(/*is_reset=*/count < 0);
    take(std::string_view(scratch.data(), static_cast<std::size_t>(count)));
    if (static_cast<std::size_t>(count) < scratch.size()) break;
  }
  watch();
}

void HttpConnection::hung_up(bool is_reset) {
  has_ended_ = true;
  if (state_ == State::kSending && !is_reset) return;  // it may still read
  if (const auto exchange = exchange_) exchange->client_left();
  close();
}

void HttpConnection::take(std::string_view bytes) {
  if (is_deaf_) return;
  if (state_ == State::kReading) {
    read(bytes);
  } else {
    ahead_.append(bytes);
  }
}

void HttpConnection::read(std::string_view bytes) {
  if (!reader_) {
    reader_ = std::make_unique<HttpRequestReader>(service_->options.limits);
    has_continued_ = false;
    due_in(service_->options.receive_time);
  }
  const auto used = reader_->take(bytes);
  if (reader_->refusal()) {
    const auto refusal = *reader_->refusal();  // a copy: refusing ends the reader
    return refuse(refusal.status, refusal.why);
  }
  if (reader_->is_done()) {
    ahead_.assign(bytes.substr(used));
    return handle();
  }
  if (reader_->expects_continue() && !std::exchange(has_continued_, true)) {
    // Fits into an empty socket; where it does not, the client goes on by itself.
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto count = ::send(socket_.native_handle(), kContinue.data(), kContinue.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0 && static_cast<std::size_t>(count) < kContinue.size()) close();
  }
}

void HttpConnection::handle() {
  keeps_alive_ = reader_->keep_alive();
  to_http_1_0_ = reader_->is_http_1_0();
  auto request = reader_->release();
  to_head_ = request.method == "HEAD";
  reader_.reset();
  due_.reset();
  state_ = State::kWaiting;
  exchange_ = std::make_shared<HttpExchange>(
      service_->loop,  // detached before this connection ends
      [this](HttpResponse response) { guarded([&, self = shared_from_this()] { send(std::move(response)); }); });
  const HttpReply reply(std::make_shared<HttpReply::Sink>(exchange_));
  try {
    service_->handler(std::move(request), reply);
  } catch (const std::exception& error) {
    reply.send(plain_text(500, error.what()));
  }
}

void HttpConnection::refuse(int status, const std::string& why) {
  reader_.reset();
  ahead_ = {};
  is_deaf_ = true;
  keeps_alive_ = false;
  to_head_ = false;
  to_http_1_0_ = false;
  send(plain_text(status, why));
}

void HttpConnection::send(HttpResponse response) {
  exchange_.reset();
  state_ = State::kSending;
  for (const auto& header : response.headers) {
    if (is_same_header(header.name, "Connection") && is_same_header(header.value, "close")) keeps_alive_ = false;
  }
  head_ =
      response_head(response, {.keep_alive = keeps_alive_, .to_http_1_0 = to_http_1_0_, .date = std::time(nullptr)});
  if (!to_head_ && may_have_body(response.status)) body_ = std::move(response.body);
  due_in(service_->options.send_time);
  const std::array buffers = {boost::asio::buffer(std::as_const(head_)), boost::asio::buffer(std::as_const(body_))};
  boost::asio::async_write(socket_, buffers, [self = shared_from_this()](error_code error, std::size_t) {
    self->guarded([&] { error ? self->close() : self->sent(); });
  });
  watch();
}

void HttpConnection::sent() {
  head_ = {};
  body_ = {};
  if (has_ended_) return close();
  if (!keeps_alive_) return linger();
  next();
}

void HttpConnection::linger() {
  state_ = State::kLingering;
  is_deaf_ = true;
  ahead_ = {};
  error_code error;
  socket_.shutdown(boost::asio::socket_base::shutdown_send, error);
  if (error) return close();
  due_in(kLingerTime);
  watch();
}

void HttpConnection::next() {
  state_ = State::kReading;
  due_in(service_->options.idle_time);
  if (!ahead_.empty()) read(std::exchange(ahead_, {}));
  watch();
}

void HttpConnection::due_in(std::chrono::milliseconds time) {
  due_ = Clock::now() + time;
  // A timer that is too early is left: when it ends, it is set anew. Most requests are over before.
  if (!is_armed_ || *due_ < armed_for_) arm();
}

void HttpConnection::arm() {
  is_armed_ = true;
  armed_for_ = *due_;
  timer_.expires_at(armed_for_);
  timer_.async_wait([self = shared_from_this(), at = armed_for_](error_code error) {
    if (error || at != self->armed_for_) return;
    self->is_armed_ = false;
    if (!self->due_) return;
    self->guarded([&] { Clock::now() < *self->due_ ? self->arm() : self->expired(); });
  });
}

void HttpConnection::expired() {
  if (state_ == State::kReading && reader_) {
    return refuse(408, fmt::format("the request did not arrive within {} s",
                                   std::chrono::duration<double>(service_->options.receive_time).count()));
  }
  if (state_ != State::kWaiting) close();
}

}  // namespace virga
