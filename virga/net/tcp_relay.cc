#include "virga/net/tcp_relay.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <list>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // when descriptors have run out

/// One connection and its counterpart. Each direction holds it alive until it is over; a direction that ends is passed
/// on as an end, an error closes both.
class Pair : public std::enable_shared_from_this<Pair> {
 public:
  Pair(boost::asio::io_context& context, tcp::socket client) : client_(std::move(client)), server_(context) {}

  void start(const tcp::endpoint& target) {
    server_.async_connect(target, [self = shared_from_this()](const error_code& error) {
      if (error) return self->close();
      error_code ignored;
      self->client_.set_option(tcp::no_delay(true), ignored);
      self->server_.set_option(tcp::no_delay(true), ignored);
      self->pass(self->client_, self->server_, self->up_);
      self->pass(self->server_, self->client_, self->down_);
    });
  }
  void close() {
    error_code ignored;
    client_.close(ignored);
    server_.close(ignored);
  }

 private:
  void pass(tcp::socket& from, tcp::socket& to, std::vector<char>& buffer) {
    if (buffer.empty()) buffer.resize(kBufferBytes);
    from.async_read_some(boost::asio::buffer(buffer),
                         [self = shared_from_this(), &from, &to, &buffer](const error_code& error, std::size_t count) {
                           if (error == boost::asio::error::eof) {
                             error_code ignored;
                             to.shutdown(tcp::socket::shutdown_send, ignored);
                             return;
                           }
                           if (error) return self->close();
                           boost::asio::async_write(to, boost::asio::buffer(buffer.data(), count),
                                                    [self, &from, &to, &buffer](const error_code& failed, std::size_t) {
                                                      if (failed) return self->close();
                                                      self->pass(from, to, buffer);
                                                    });
                         });
  }

  tcp::socket client_;
  tcp::socket server_;
  std::vector<char> up_;
  std::vector<char> down_;
};

tcp::endpoint endpoint_of(const Address& target) {
  error_code error;
  const auto host = boost::asio::ip::make_address(target.host == "localhost" ? "127.0.0.1" : target.host, error);
  if (target.kind != Address::Kind::kTcp || error) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: no TCP address with a numeric host", to_string(target)));
  }
  return {host, target.port};
}

}  // namespace

class TcpRelay::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& context, tcp::endpoint target)
      : context_(context), target_(std::move(target)), acceptor_(context), pause_(context) {}

  void start(Descriptor listening) {
    acceptor_.assign(tcp::v4(), listening.release());
    accept();
  }
  void stop() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    for (const auto& pair : pairs_) {
      if (const auto alive = pair.lock()) alive->close();
    }
  }

 private:
  void accept() {
    acceptor_.async_accept([self = shared_from_this()](const error_code& error, tcp::socket client) {
      if (!self->acceptor_.is_open()) return;
      if (error) return self->rest();
      std::erase_if(self->pairs_, [](const auto& pair) { return pair.expired(); });
      const auto pair = std::make_shared<Pair>(self->context_, std::move(client));
      self->pairs_.push_back(pair);
      pair->start(self->target_);
      self->accept();
    });
  }
  void rest() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error && self->acceptor_.is_open()) self->accept();
    });
  }

  boost::asio::io_context& context_;
  const tcp::endpoint target_;
  tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::list<std::weak_ptr<Pair>> pairs_;
};

TcpRelay::TcpRelay(boost::asio::io_context& context, Descriptor listening, const Address& target)
    : impl_(std::make_shared<Impl>(context, endpoint_of(target))) {
  impl_->start(std::move(listening));
}
TcpRelay::~TcpRelay() { impl_->stop(); }

}  // namespace virga
