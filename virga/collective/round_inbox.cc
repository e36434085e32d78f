#include "virga/collective/round_inbox.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/collective/outbox.h"

namespace virga {
namespace {

// How long one call waits. When it runs out, the next one begins: whether a message is late is for the one to say who
// wants it.
constexpr auto kOneWait = std::chrono::seconds(30);

}  // namespace

RoundInbox::RoundInbox(Channel& channel, const Options& options)
    : channel_(channel), options_(options), over_(options.stop, [this] { stop_.request_stop(); }) {
  check(options_.window > 0, "RoundInbox: a window has a round");
  if (options_.group.size == 1) return;
  try {
    for (std::uint32_t i = 0; i < options_.window; ++i) {
      threads_.emplace_back([this, round = options_.first + i] { receive(round); });
    }
  } catch (...) {
    stop_.request_stop();
    throw;
  }
}

RoundInbox::~RoundInbox() { stop_.request_stop(); }

void RoundInbox::receive(std::uint64_t round) {
  const auto& group = options_.group;
  try {
    for (; !stop_.stop_requested(); round += options_.window) {
      std::vector<MessageKey> missing;
      for (std::uint32_t member = 0; member < group.size; ++member) {
        if (member != group.rank) {
          missing.push_back(message_key(group, round, options_.phase, member, kEverybody));
        }
      }
      while (!missing.empty() && !stop_.stop_requested()) get(missing);
    }
  } catch (...) {
    if (stop_.stop_requested()) return;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
    came_.notify_one();
  }
}

/// Waits for what is `missing`, and takes out what has come.
void RoundInbox::get(std::vector<MessageKey>& missing) {
  std::vector<MessageKey> came;
  const auto take = [&](const MessageKey& key, const SharedBytes& message) {
    came.push_back(key);
    const std::lock_guard lock(mutex_);
    arrivals_.push_back({key, message});
    came_.notify_one();
  };
  try {
    channel_.get(missing, take, {Deadline::in(kOneWait), stop_.get_token()});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
  }
  std::erase_if(missing, [&](const MessageKey& key) { return std::ranges::find(came, key) != came.end(); });
}

std::vector<RoundInbox::Arrival> RoundInbox::take_locked() {
  if (error_) std::rethrow_exception(error_);
  return std::exchange(arrivals_, {});
}

std::vector<RoundInbox::Arrival> RoundInbox::take() {
  const std::lock_guard lock(mutex_);
  return take_locked();
}

std::vector<RoundInbox::Arrival> RoundInbox::wait(const Wait& wait) {
  std::unique_lock lock(mutex_);
  came_.wait_until(lock, wait.stop, wait.deadline.at(), [&] { return !arrivals_.empty() || error_; });
  auto arrivals = take_locked();
  if (arrivals.empty() && wait.stop.stop_requested()) {
    throw Error(ErrorKind::kInterrupted, fmt::format("{}: nobody waits for messages any more", channel_.uri()));
  }
  return arrivals;
}

}  // namespace virga
