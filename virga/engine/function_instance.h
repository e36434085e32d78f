#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virga/base/file.h"
#include "virga/engine/engine.h"
#include "virga/engine/sandbox.h"
#include "virga/net/address.h"
#include "virga/net/http_server.h"
#include "virga/net/tcp_relay.h"

namespace virga {

/// Of what an instance writes, all its life, in its log. The platform's own lines come on top.
constexpr std::uint64_t kMostLogBytes = std::uint64_t{16} << 20;

/// What an instance is started with.
struct InstanceSettings {
  std::string function;
  std::string arn;
  std::filesystem::path code;  ///< the unpacked deployment package, with its `bootstrap`
  std::filesystem::path log;   ///< to which it appends; made. What the function writes is cut after kMostLogBytes.
  std::string handler;
  std::map<std::string, std::string> environment;  ///< the function's own
  std::uint64_t memory_bytes = 0;
  std::chrono::milliseconds timeout{};
  std::uint64_t tmp_bytes = std::uint64_t{512} << 20;
  double cpus = 1;
  std::vector<std::filesystem::path> writable;
  std::vector<std::filesystem::path> readable;  ///< SandboxSpec::readable
  std::string region;
  /// TCP services that it may reach at their addresses (IPv4 numbers), and nothing else, where its network is its own.
  std::vector<Address> services;
};

/// One execution environment of a function: a sandboxed `bootstrap` and the Runtime API (2018-06-01) that it is served.
/// It takes one event at a time. For the thread that runs `context`.
class FunctionInstance {
 public:
  struct Outcome {
    enum class How : std::uint8_t {
      kAnswered,     ///< `body` is the answer
      kError,        ///< `body` is what the function said of its error
      kExited,       ///< the process ended; `body` says how
      kTimedOut,     ///< and was killed
      kOutOfMemory,  ///< and was killed
      kTooLarge,     ///< an answer beyond the limit
    };
    How how = How::kAnswered;
    std::string body;
    std::string log_tail;  ///< at most 4 KB, up to the REPORT line
    InvocationBill bill;
  };
  using Finished = std::function<void(Outcome)>;
  /// Called when it has become idle, or has ended for good; it must not be destroyed inside.
  using Changed = std::function<void()>;

  /// Starts the process. Throws Error as SandboxMaker::start(), kIo.
  FunctionInstance(boost::asio::io_context& context, SandboxMaker& sandboxes, InstanceSettings settings,
                   Changed changed);
  ~FunctionInstance();
  FunctionInstance(const FunctionInstance&) = delete;
  FunctionInstance& operator=(const FunctionInstance&) = delete;

  /// Requires that none is under way and that it has not ended. `finished` is called once, never inside this call.
  void invoke(std::string request_id, std::string payload, Finished finished);
  /// Waits for an event.
  [[nodiscard]] bool idle() const noexcept { return !over_ && !event_; }
  /// Takes no more events.
  [[nodiscard]] bool over() const noexcept { return over_; }
  /// All its processes have ended; until then its destruction waits for them.
  [[nodiscard]] bool gone() const noexcept { return gone_; }
  [[nodiscard]] std::chrono::steady_clock::time_point idle_since() const noexcept { return idle_since_; }
  [[nodiscard]] const InstanceSettings& settings() const noexcept { return settings_; }
  /// Processes of the sandbox, as the machine numbers them.
  [[nodiscard]] std::vector<pid_t> processes() const;
  /// Ends it; whoever waits for an event of it is told.
  void kill() noexcept;
  /// Ends it. Requires that it is idle.
  void retire();

 private:
  using Clock = std::chrono::steady_clock;
  struct Event {
    std::string request_id;
    std::string payload;
    Finished finished;
    Clock::time_point delivered{};
    bool is_delivered = false;
    std::string log;  // since it came, the end of it
  };

  void serve(HttpRequest request, const HttpReply& reply);
  void serve_next(const HttpReply& reply);
  void serve_result(const std::string& request_id, bool is_error, HttpRequest request, const HttpReply& reply);
  void deliver();
  void finish(Outcome::How how, std::string body);
  void end(Outcome::How how, std::string body);
  void watch_output();
  void watch_end();
  void watch_memory();
  void start_timer(std::chrono::nanoseconds time);
  void stop_timer() noexcept;
  void read_output();
  void log(std::string_view text);
  void log_output(std::string_view text);
  void keep_for_tail(std::string_view text);
  void write_log(std::string_view text) noexcept;
  void on_end();

  boost::asio::io_context& context_;
  const InstanceSettings settings_;
  const Changed changed_;
  const Clock::time_point started_ = Clock::now();
  std::unique_ptr<Sandbox> sandbox_;
  std::unique_ptr<HttpServer> server_;
  std::vector<std::unique_ptr<TcpRelay>> relays_;
  boost::asio::posix::stream_descriptor output_;
  boost::asio::posix::stream_descriptor ended_;
  boost::asio::steady_timer timer_;
  std::uint64_t timer_turn_ = 0;  // so that a wait that has ended already, but was not heard of, counts no more
  boost::asio::steady_timer output_timer_;
  boost::asio::steady_timer memory_timer_;
  boost::asio::steady_timer end_timer_;
  bool memory_is_watched_ = false;
  int log_file_ = -1;
  std::uint64_t logged_ = 0;       // of what it wrote
  std::optional<HttpReply> next_;  // waits for an event
  std::optional<Event> event_;
  std::chrono::nanoseconds init_{};
  bool initialised_ = false;
  bool first_ = true;  // the next event is its first: its bill has the start
  bool over_ = false;
  bool gone_ = false;
  Clock::time_point idle_since_ = Clock::now();
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for handlers that come late
};

}  // namespace virga
