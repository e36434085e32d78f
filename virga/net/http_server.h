#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "virga/net/descriptor.h"
#include "virga/net/http.h"

namespace virga {

/// Answers one request, at once or much later; copies answer the same one. Any thread may call any member, also after
/// the server and its context have ended. When the last copy is dropped without an answer, the client gets a 500.
class HttpReply {
 public:
  class Sink;
  explicit HttpReply(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}

  /// The first call counts; others, and one after the client has gone, do nothing. Content-Length, Date and Connection
  /// are the server's; a header "Connection: close" closes the connection after the answer.
  void send(HttpResponse response) const;
  /// Has the client closed its connection while it waited, or the server ended?
  [[nodiscard]] bool gone() const noexcept;
  /// `then` is called once, on the server's thread, if the client closes its connection, or its sending half, before it
  /// was answered; soon after this call if it has done so already. Must not throw. Not called when the server ends.
  void on_gone(std::function<void()> then) const;

 private:
  std::shared_ptr<Sink> sink_;
};

/// An HTTP/1.1 server for any number of connections, on the thread that runs `context`. Connections are kept alive; a
/// request that is malformed, too large or too slow is refused, and its connection closed. A client that waits for an
/// answer costs its connection and no thread.
class HttpServer {
 public:
  struct Options {
    HttpLimits limits = {};
    std::size_t most_connections = 10'000;           ///< further ones wait to be accepted
    std::chrono::milliseconds receive_time{30'000};  ///< for a request, from its first byte to its last
    std::chrono::milliseconds send_time{30'000};     ///< for an answer to be taken
    std::chrono::milliseconds idle_time{600'000};    ///< of a connection between requests
  };
  /// Called on the server's thread for each request; must not block. What it throws is answered with 500.
  using Handler = std::function<void(HttpRequest request, HttpReply reply)>;

  /// `listening`: a socket that listens (TCP or Unix, of whatever network namespace), which becomes the server's.
  HttpServer(boost::asio::io_context& context, Descriptor listening, Options options, Handler handler);
  /// Closes all connections. To be called on the thread that runs the context, or when none does.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::size_t connections() const noexcept;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace virga
