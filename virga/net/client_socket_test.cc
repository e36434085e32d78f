#include "virga/net/client_socket.h"

#include <atomic>
#include <optional>
#include <thread>

#include <sys/socket.h>

#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

class ClientSocketTest : public testing::Test {
 protected:
  ClientSocketTest() { connect(); }

  void connect() {
    socket_.emplace("the server", "");
    ClientSocket::Turn turn(*socket_, {Deadline::in(20s)});
    socket_->connect(listener_.address());
    server_ = listener_.accept();
  }
  /// How a wait for what never comes ends.
  ErrorKind wait_in_vain(const Wait& wait) {
    ClientSocket::Turn turn(*socket_, wait);
    std::byte byte{};
    try {
      while (socket_->receive({&byte, 1}, {}) == 0) {
      }
    } catch (const Error& error) {
      return error.kind();
    }
    ADD_FAILURE() << "something came";
    return {};
  }

  Listener listener_{parse_address("tcp:127.0.0.1:0")};
  std::optional<ClientSocket> socket_;
  Descriptor server_;
};

TEST_F(ClientSocketTest, WaitsForWhatComesLate) {
  ClientSocket::Turn turn(*socket_, {Deadline::in(20s)});
  const std::jthread late([&] {
    std::this_thread::sleep_for(1500ms);  // longer than a receiver blocks at a time
    EXPECT_EQ(::send(server_.get(), "x", 1, MSG_NOSIGNAL), 1);
  });
  std::byte byte{};
  std::size_t count = 0;
  while (count == 0) count = socket_->receive({&byte, 1}, {});
  EXPECT_EQ(count, 1);
  EXPECT_EQ(byte, std::byte{'x'});
}

TEST_F(ClientSocketTest, EndsAWaitAtItsDeadline) {
  for (const auto allowed : {10ms, 1300ms}) {  // of which a receiver blocks for the second only
    const auto deadline = Deadline::in(allowed);
    EXPECT_EQ(wait_in_vain({deadline}), ErrorKind::kDeadlineExceeded);
    EXPECT_TRUE(deadline.passed());
    EXPECT_FALSE(socket_->is_stale());
  }
}

TEST_F(ClientSocketTest, EndsAWaitThatIsGivenUp) {
  for (const auto when : {0ms, 100ms}) {
    for (const auto deadline : {Deadline::in(20s), Deadline::in(900ms)}) {
      connect();
      std::stop_source stop;
      const std::jthread other([&] {
        std::this_thread::sleep_for(when);
        stop.request_stop();
      });
      EXPECT_EQ(wait_in_vain({deadline, stop.get_token()}), ErrorKind::kInterrupted);
      EXPECT_FALSE(deadline.passed());
      EXPECT_TRUE(socket_->is_stale());
    }
  }
}

TEST_F(ClientSocketTest, NoticesThatTheServerIsGone) {
  server_ = {};
  EXPECT_EQ(wait_in_vain({Deadline::in(20s)}), ErrorKind::kUnavailable);
}

TEST_F(ClientSocketTest, IsNotStoppedByWhoGaveUpTheTurnBefore) {
  constexpr int kTurns = 20'000;
  std::atomic<std::stop_source*> begun = nullptr;
  std::jthread other([&] {
    for (int time = 0; time < kTurns; ++time) {
      std::stop_source* stop = nullptr;
      while ((stop = begun.load()) == nullptr) std::this_thread::yield();
      stop->request_stop();
      begun = nullptr;
    }
  });
  int failed = 0;
  for (int time = 0; time < kTurns; ++time) {
    std::stop_source stop;
    std::optional<ClientSocket::Turn> turn(std::in_place, *socket_, Wait{Deadline::in(20s), stop.get_token()});
    begun = &stop;
    // The turn ends before, while and after it is given up.
    for (std::atomic<int> spin = 0; spin < time % 200; ++spin) {
    }
    turn.reset();
    while (begun.load() != nullptr) std::this_thread::yield();
    if (socket_->is_stale()) connect();
    const std::stop_source nobody;
    if (wait_in_vain({Deadline::in(-1s), nobody.get_token()}) != ErrorKind::kDeadlineExceeded) ++failed;
  }
  EXPECT_EQ(failed, 0);
}

}  // namespace
}  // namespace virga
