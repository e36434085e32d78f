#include "virga/net/client_socket.h"

#include <atomic>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

class ClientSocketTest : public testing::Test {
 protected:
  ClientSocketTest() {
    ClientSocket::Turn turn(socket_, {Deadline::in(20s)});
    socket_.connect(listener_.address());
  }
  /// How a wait for what never comes ends, whose time is over.
  ErrorKind wait_in_vain() {
    const std::stop_source nobody;
    ClientSocket::Turn turn(socket_, {Deadline::in(-1s), nobody.get_token()});
    std::byte byte{};
    try {
      (void)socket_.receive({&byte, 1}, {});
    } catch (const Error& error) {
      return error.kind();
    }
    ADD_FAILURE() << "something came";
    return {};
  }

  Listener listener_{parse_address("tcp:127.0.0.1:0")};
  ClientSocket socket_{"the server", ""};
};

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
    std::optional<ClientSocket::Turn> turn(std::in_place, socket_, Wait{Deadline::in(20s), stop.get_token()});
    begun = &stop;
    // The turn ends before, while and after it is given up.
    for (std::atomic<int> spin = 0; spin < time % 200; ++spin) {
    }
    turn.reset();
    while (begun.load() != nullptr) std::this_thread::yield();
    if (wait_in_vain() != ErrorKind::kDeadlineExceeded) ++failed;
  }
  EXPECT_EQ(failed, 0);
}

}  // namespace
}  // namespace virga
