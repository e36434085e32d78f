#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "virga/net/http_server.h"

namespace virga {

/// What a server and the replies that others hold have in common: replies may outlive the server and its context.
struct HttpLoop {
  std::mutex mutex;
  boost::asio::io_context* context = nullptr;  // null once the server has ended; guarded by `mutex`
};

/// One request that waits for its answer, between its connection (on the server's thread) and its reply (on any).
class HttpExchange : public std::enable_shared_from_this<HttpExchange> {
 public:
  using Deliver = std::function<void(HttpResponse)>;

  /// `deliver` is called on the server's thread, at most once, and not after detach().
  HttpExchange(std::shared_ptr<HttpLoop> loop, Deliver deliver)
      : loop_(std::move(loop)), deliver_(std::move(deliver)) {}

  // Any thread.
  void answer(HttpResponse response);
  [[nodiscard]] bool gone() const noexcept;
  void on_gone(std::function<void()> then);

  // The server's thread.
  void client_left();
  /// The connection is over, for whatever reason.
  void detach();

 private:
  using Functions = std::vector<std::function<void()>>;

  const std::shared_ptr<HttpLoop> loop_;
  Deliver deliver_;           // of the server's thread
  bool is_answered_ = false;  // these are guarded by the loop's mutex
  bool is_gone_ = false;
  Functions on_gone_;
};

/// What the copies of a reply share. When the last is dropped without an answer, the client is told so.
class HttpReply::Sink {
 public:
  explicit Sink(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}
  ~Sink();
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  [[nodiscard]] HttpExchange& exchange() const noexcept { return *exchange_; }

 private:
  const std::shared_ptr<HttpExchange> exchange_;
};

/// An answer in plain text.
[[nodiscard]] HttpResponse plain_text(int status, const std::string& text);

}  // namespace virga
