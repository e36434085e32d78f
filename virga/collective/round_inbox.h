#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/collective/group.h"

namespace virga {

/// Receives what the other members of a group put for everybody in one phase of each round, as it arrives, while this
/// member does something else. At any time it waits for `window` rounds: once all messages of one are there, for the
/// round that is `window` later. So members may be as far apart as that, and nobody looks for messages in vain where
/// the channel can tell. One thread, and with it one wait of the channel, for each round of the window.
///
/// The members are for one thread.
class RoundInbox {
 public:
  struct Options {
    Group group;
    Phase phase = 0;
    std::uint64_t first = 0;   ///< round
    std::uint32_t window = 1;  ///< rounds
    std::stop_token stop;      ///< ends all waits
  };
  /// `channel` is borrowed. Begins to wait.
  RoundInbox(Channel& channel, const Options& options);
  /// Ends all waits.
  ~RoundInbox();
  RoundInbox(const RoundInbox&) = delete;
  RoundInbox& operator=(const RoundInbox&) = delete;

  struct Arrival {
    MessageKey key;
    SharedBytes message;
  };
  /// What has come since the last call, each message once, in any order. Throws what the channel threw.
  [[nodiscard]] std::vector<Arrival> take();
  /// The same, once there is something; nothing if nothing has come by the deadline. Throws Error(kInterrupted), too.
  [[nodiscard]] std::vector<Arrival> wait(const Wait& wait);

 private:
  void receive(std::uint64_t round);
  void get(std::vector<MessageKey>& missing);
  [[nodiscard]] std::vector<Arrival> take_locked();

  Channel& channel_;
  const Options options_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> over_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any came_;
  std::vector<Arrival> arrivals_;
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

}  // namespace virga
