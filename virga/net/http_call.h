#pragma once

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virga/net/http_client.h"
#include "virga/net/http_reader.h"
#include "virga/net/tls.h"

namespace virga {

/// A client's connection. At most one wait for something to read is under way, whoever uses it.
class HttpLink : public std::enable_shared_from_this<HttpLink> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  explicit HttpLink(boost::asio::io_context& context) : socket_(context) {}

  [[nodiscard]] Socket& socket() noexcept { return socket_; }
  /// Null: plain text.
  [[nodiscard]] TlsStream* tls() noexcept { return tls_.get(); }
  /// Once it is connected.
  void begin_tls(std::shared_ptr<TlsClient> client) {
    tls_ = std::make_unique<TlsStream>(std::move(client), socket_.native_handle());
  }
  /// Calls `then` once when there is something to read, an end or an error; a later call takes the place of an earlier.
  void await_readable(std::function<void()> then);
  /// For a connection that is not in use: calls `then` once when the server has closed it, or said something.
  void await_nothing(std::function<void()> then);
  /// Calls `then` once when something may be sent, unless the connection is closed before.
  void await_writable(std::function<void()> then);
  /// Is it open, with nothing to read?
  [[nodiscard]] bool is_quiet();
  void close();

 private:
  void wait();

  Socket socket_;
  std::unique_ptr<TlsStream> tls_;
  std::function<void()> readable_;
  bool is_waiting_ = false;
};

/// What the calls of a client share.
class HttpCallOwner {
 public:
  HttpCallOwner(boost::asio::io_context& shared_context, Address address, HttpClient::Options client_options)
      : context(shared_context),
        server(std::move(address)),
        options(client_options),
        tls(make_tls_client(server)),
        resolver(shared_context) {}
  virtual ~HttpCallOwner() = default;
  HttpCallOwner(const HttpCallOwner&) = delete;
  HttpCallOwner& operator=(const HttpCallOwner&) = delete;

  /// An open connection that was kept; null if there is none.
  virtual std::shared_ptr<HttpLink> take_idle() = 0;
  virtual void keep(std::shared_ptr<HttpLink> link) = 0;
  virtual void over(HttpClient::Pending& call) = 0;

  boost::asio::io_context& context;
  const Address server;
  const HttpClient::Options options;
  const std::shared_ptr<TlsClient> tls;  ///< null: plain text
  boost::asio::ip::tcp::resolver resolver;
  std::array<char, 64 << 10> scratch{};  ///< received into, so that a call that waits holds no buffer
};

/// One request: finds a connection, sends, waits for the answer. Constructed on any thread, used on the context's.
class HttpClient::Pending : public std::enable_shared_from_this<Pending> {
 public:
  Pending(std::shared_ptr<HttpCallOwner> owner, HttpRequest request, Extras extras, Deadline deadline, bool may_repeat,
          Done done);
  void start();
  void fail(Error error);
  [[nodiscard]] bool is_over() const noexcept { return !done_; }

 private:
  using Endpoint = boost::asio::generic::stream_protocol::endpoint;
  using Clock = Deadline::Clock;

  void set_timer(Clock::time_point at);
  void expired();

  void resolve();
  /// To the first of `endpoints_` that accepts.
  void connect();
  void finish_connect();
  void next_endpoint(int error_number);
  void connected();
  void shake_hands();

  void use(std::shared_ptr<HttpLink> link);
  void write();
  void write_tls();
  void receive();
  void receive_tls();
  void await_more();
  /// What was under way on the stream of TLS failed.
  void broken(const Error& error);
  void take(std::string_view bytes);
  void ended(const std::string& why);
  void complete();
  void finish(Outcome outcome);

  [[nodiscard]] Error too_late() const;
  [[nodiscard]] std::string name() const;

  const std::shared_ptr<HttpCallOwner> owner_;
  HttpRequest request_;
  Extras extras_;
  const Deadline deadline_;
  const Clock::time_point begun_ = Clock::now();
  const bool may_repeat_;
  Done done_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer pause_;
  std::vector<Endpoint> endpoints_;
  std::size_t endpoint_ = 0;
  std::string head_;
  std::vector<boost::asio::const_buffer> buffers_;  // of what is sent
  std::shared_ptr<HttpLink> link_;
  std::optional<HttpResponseReader> reader_;
  std::vector<ByteView> unsent_;  // of `buffers_`, over TLS
  bool is_connecting_ = false;
  bool is_shaking_hands_ = false;  // and connecting
  bool is_kept_ = false;           // `link_` has served another request
  bool is_repeat_ = false;
  bool is_writing_ = false;
  bool has_answer_ = false;  // its first byte
  bool is_sent_ = false;
};

}  // namespace virga
