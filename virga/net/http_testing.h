#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "virga/base/error.h"
#include "virga/net/http_server.h"
#include "virga/net/socket.h"

namespace virga {

/// Generous: what a test waits for comes at once, or never.
inline Deadline test_deadline() { return Deadline::in(std::chrono::seconds(20)); }

/// A context and the thread that runs it.
class ContextThread {
 public:
  ContextThread() : work_(context_.get_executor()), thread_([this] { context_.run(); }) {}
  ~ContextThread() {
    work_.reset();
    context_.stop();
    thread_.join();
  }
  ContextThread(const ContextThread&) = delete;
  ContextThread& operator=(const ContextThread&) = delete;

  [[nodiscard]] boost::asio::io_context& context() noexcept { return context_; }

  /// On the context's thread; returns when it is done.
  template <typename Work>
  void perform(const Work& work) {
    std::promise<void> done;
    boost::asio::post(context_, [&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

 private:
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

inline Descriptor duplicate(int descriptor) {
  Descriptor copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!copy) throw system_error("cannot duplicate a socket", errno);
  return copy;
}

/// A server with a thread of its own.
class ServerThread {
 public:
  explicit ServerThread(HttpServer::Handler handler, HttpServer::Options options = {},
                        const Address& address = {.kind = Address::Kind::kTcp, .host = "127.0.0.1"})
      : listener_(address) {
    loop_.perform([&] {
      server_ =
          std::make_unique<HttpServer>(loop_.context(), duplicate(listener_.descriptor()), options, std::move(handler));
    });
  }
  ~ServerThread() { stop(); }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;

  void stop() {
    loop_.perform([&] { server_.reset(); });
  }
  [[nodiscard]] const Address& address() const noexcept { return listener_.address(); }
  [[nodiscard]] HttpServer& server() noexcept { return *server_; }
  [[nodiscard]] ContextThread& loop() noexcept { return loop_; }

 private:
  Listener listener_;
  ContextThread loop_;
  std::unique_ptr<HttpServer> server_;
};

/// A connection on which a test says what it likes.
class RawClient {
 public:
  explicit RawClient(const Address& address) : socket_(connect_to(address, nullptr, test_deadline())) {}
  explicit RawClient(Descriptor socket) : socket_(std::move(socket)) {}

  /// Returns false if the other side no longer takes it.
  bool say(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0 && errno == EAGAIN) {
        if (wait_ready(socket_.get(), POLLOUT, nullptr, test_deadline()) != Woken::kReady) return false;
      } else if (count < 0) {
        return false;
      } else {
        bytes.remove_prefix(static_cast<std::size_t>(count));
      }
    }
    return true;
  }

  /// What arrives until it contains `end`, or until the other side ends the connection.
  std::string hear(std::string_view end = {}) {
    const auto deadline = test_deadline();
    std::string heard;
    while (end.empty() || heard.find(end) == std::string::npos) {
      char piece[4096];
      const auto count = ::recv(socket_.get(), piece, sizeof(piece), MSG_DONTWAIT);
      if (count > 0) {
        heard.append(piece, static_cast<std::size_t>(count));
      } else if (count == 0 || errno != EAGAIN) {
        return heard;
      } else if (wait_ready(socket_.get(), POLLIN, nullptr, deadline) != Woken::kReady) {
        throw Error(ErrorKind::kDeadlineExceeded, "nothing more was heard after: " + heard);
      }
    }
    return heard;
  }

  void end_sending() { ::shutdown(socket_.get(), SHUT_WR); }
  void close() { socket_ = Descriptor(); }
  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }

 private:
  Descriptor socket_;
};

/// What a shell command prints, errors too.
inline std::string run_shell(const std::string& command) {
  FILE* pipe = ::popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (pipe == nullptr) throw system_error("cannot start a shell", errno);
  std::string output;
  char piece[4096];
  for (std::size_t count = 0; (count = std::fread(piece, 1, sizeof(piece), pipe)) > 0;) output.append(piece, count);
  ::pclose(pipe);
  return output;
}

/// Until `condition` holds; false if it never does.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = test_deadline();
  while (!condition()) {
    if (deadline.passed()) return false;
    static_cast<void>(wait_ready(-1, 0, nullptr, Deadline::in(std::chrono::milliseconds(1))));
  }
  return true;
}

}  // namespace virga
