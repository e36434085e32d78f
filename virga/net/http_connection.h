#pragma once

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "virga/net/descriptor.h"
#include "virga/net/http_exchange.h"
#include "virga/net/http_reader.h"
#include "virga/net/http_server.h"

namespace virga {

class HttpConnection;

/// What all connections of a server share; on its thread.
struct HttpService {
  HttpServer::Options options;
  HttpServer::Handler handler;
  std::shared_ptr<HttpLoop> loop;
  std::function<void(HttpConnection&)> left;  ///< a connection is closed; it may be destroyed by this
  std::array<char, 64 << 10> scratch{};       ///< received into, so that a connection that waits holds no buffer
};

/// One connection of a server. Requests are served one after the other; while one waits for its answer, the socket is
/// watched for the client's end, and some of what follows is read ahead.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::io_context& context, std::shared_ptr<HttpService> service, Descriptor socket,
                 int address_family);
  void start();
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  enum class State : std::uint8_t { kReading, kWaiting, kSending, kLingering, kClosed };

  /// What goes wrong with one client (no memory is left) ends its connection, and no other.
  template <typename Work>
  void guarded(const Work& work) noexcept {
    if (state_ == State::kClosed) return;
    try {
      work();
    } catch (const std::exception&) {
      close();
    }
  }
  void watch();
  void receive();
  void hung_up(bool is_reset);
  void take(std::string_view bytes);
  void read(std::string_view bytes);
  void handle();
  void refuse(int status, const std::string& why);
  void send(HttpResponse response);
  void sent();
  void linger();
  void next();

  void due_in(std::chrono::milliseconds time);
  void arm();
  void expired();

  const std::shared_ptr<HttpService> service_;
  boost::asio::generic::stream_protocol::socket socket_;
  boost::asio::steady_timer timer_;
  State state_ = State::kReading;
  bool is_watching_ = false;
  bool has_ended_ = false;  // the client sends no more
  bool is_deaf_ = false;    // what the client sends is thrown away
  bool has_continued_ = false;
  bool keeps_alive_ = true;
  bool to_head_ = false;
  bool to_http_1_0_ = false;
  bool is_armed_ = false;
  std::optional<Clock::time_point> due_;
  Clock::time_point armed_for_;
  std::unique_ptr<HttpRequestReader> reader_;  // of a request that is arriving
  std::string ahead_;                          // received behind the request that is served
  std::shared_ptr<HttpExchange> exchange_;     // of the request that waits
  std::string head_;                           // being sent
  std::string body_;
};

}  // namespace virga
