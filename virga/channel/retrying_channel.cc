#include "virga/channel/retrying_channel.h"

#include <algorithm>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

/// The pause before attempt number `attempt` + 1: from half of it to the whole.
std::chrono::nanoseconds pause_after(unsigned attempt, const RetryOptions& options, std::uint64_t call) {
  auto longest = options.first_pause;
  for (unsigned i = 1; i < attempt && longest < options.longest_pause; ++i) longest *= 2;
  longest = std::min(longest, options.longest_pause);
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const auto word = philox4x32({low(call), high(call), attempt, 0}, {low(options.seed), high(options.seed)})[0];
  const auto part = static_cast<double>(word) * 0x1p-32;
  return longest / 2 + std::chrono::duration_cast<std::chrono::nanoseconds>(part * (longest / 2));
}

}  // namespace

/// The attempts of one call.
class RetryingChannel::Attempts {
 public:
  /// `missing`: what a get() still wants, to name it.
  Attempts(RetryingChannel& channel, const Wait& wait, const std::set<MessageKey>* missing = nullptr)
      : channel_(channel), wait_(wait), missing_(missing), call_(channel.calls_++) {}

  /// Returns what `call` returns; makes it again as long as it may help.
  template <typename Call>
  auto make(const Call& call) {
    for (;;) {
      try {
        return call();
      } catch (const Error& error) {
        if (is_final_ || !is_retryable(error.kind()) || error.kind() == ErrorKind::kDeadlineExceeded) throw;
        pause_after_failure(error);
      }
    }
  }
  /// What happens now is not the channel's, and a failure is final; or not any more.
  void set_final(bool is_final) noexcept { is_final_ = is_final; }
  [[nodiscard]] bool is_final() const noexcept { return is_final_; }
  /// Something has come.
  void progress() noexcept { failed_ = 0; }

 private:
  void pause_after_failure(const Error& error) {
    ++failed_;
    if (failed_ >= channel_.options_.attempts) {
      throw Error(error.kind(), fmt::format("{} (attempt {} of {})", error.what(), failed_, channel_.options_.attempts),
                  error.remedy());
    }
    const auto time = pause_after(failed_, channel_.options_, call_);
    if (time >= wait_.deadline.remaining()) {
      auto text = fmt::format("{} (attempt {}, and no time for another)", error.what(), failed_);
      if (missing_ != nullptr) {
        text += fmt::format("; messages that did not come: {}, the first {}", missing_->size(),
                            to_string(*missing_->begin()));
      }
      throw Error(ErrorKind::kDeadlineExceeded, text, error.remedy());
    }
    pause(time, wait_);
    throw_if_stopped(channel_.uri(), wait_);
    ++channel_.retries_;
  }

  RetryingChannel& channel_;
  const Wait& wait_;
  const std::set<MessageKey>* missing_;
  const std::uint64_t call_;
  unsigned failed_ = 0;
  bool is_final_ = false;
};

RetryingChannel::RetryingChannel(Channel& inner, const RetryOptions& options) : inner_(inner), options_(options) {
  check(options.attempts >= 1, "a call is attempted at least once");
}

void RetryingChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  Attempts(*this, wait).make([&] { inner_.put(messages, wait); });
}

void RetryingChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  std::set<MessageKey> missing(keys.begin(), keys.end());
  Attempts attempts(*this, wait, &missing);
  const auto hand_on = [&](const MessageKey& key, const SharedBytes& bytes) {
    missing.erase(key);
    attempts.progress();
    attempts.set_final(true);
    on_message(key, bytes);
    attempts.set_final(false);
  };
  attempts.make([&] {
    try {
      inner_.get(std::vector(missing.begin(), missing.end()), hand_on, wait);
    } catch (const Error&) {
      if (attempts.is_final() || !missing.empty()) throw;  // else it failed after the last message
    }
  });
}

std::optional<SharedBytes> RetryingChannel::try_get(const MessageKey& key, const Wait& wait) {
  return Attempts(*this, wait).make([&] { return inner_.try_get(key, wait); });
}

void RetryingChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                             const Wait& wait) {
  Attempts(*this, wait).make([&] { inner_.retire(view, group, source, round, wait); });
}

void RetryingChannel::sweep(std::uint32_t view, const Wait& wait) {
  Attempts(*this, wait).make([&] { inner_.sweep(view, wait); });
}

ChannelContents RetryingChannel::contents(const Wait& wait) {
  return Attempts(*this, wait).make([&] { return inner_.contents(wait); });
}

}  // namespace virga
