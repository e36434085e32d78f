#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/ps/message_store.h"
#include "virga/ps/protocol.h"

namespace virga {

class PsSession;

/// What the clients of one job share: its messages and registers, and who waits for which.
struct PsJob {
  struct Waiter {
    PsSession* session;
    std::uint32_t index;  ///< of the key in the session's get
  };
  MessageStore messages;
  RegisterStore registers;
  std::map<PsKey, std::vector<Waiter>> message_waiters;
  std::map<std::string, std::vector<PsSession*>, std::less<>> register_waiters;
  unsigned sessions = 0;

  [[nodiscard]] std::uint64_t memory() const noexcept { return messages.memory() + registers.memory(); }
};

/// Messages that all clients together may wait for; each takes some 200 bytes.
constexpr std::size_t kPsMaxWaits = 1 << 21;

/// All that a data store holds, within a limit of memory. No I/O; not for several threads.
class PsService {
 public:
  PsService(std::string token, std::uint64_t memory_bytes) : token_(std::move(token)), memory_bytes_(memory_bytes) {}

  /// The job that `hello` names, for one more session. Throws Error(kUnauthorized).
  [[nodiscard]] PsJob& enter(const PsHello& hello);
  /// One session less; a job that holds nothing is forgotten.
  void leave(PsJob& job);

  /// Sets room aside for what is to come. Throws Error(kTooLarge), which names the limit.
  void reserve(std::uint64_t bytes);
  void release(std::uint64_t bytes) noexcept { reserved_ -= bytes; }

  /// Allows `count` more messages to be waited for. Throws Error(kThrottled), which names the limit.
  void begin_waits(std::size_t count);
  void end_waits(std::size_t count) noexcept { waits_ -= count; }

  /// The room was reserved, and is to be released. Throws Error(kConflict).
  void put(PsJob& job, std::vector<MessageStore::Entry> entries);
  void retire(PsJob& job, const PsRetire& retire);
  void sweep(PsJob& job, const PsSweep& sweep);
  [[nodiscard]] std::uint64_t write(PsJob& job, std::string_view name, SharedBytes bytes,
                                    std::optional<std::uint64_t> expected);
  void remove(PsJob& job, std::string_view name);

  /// Stored and reserved.
  [[nodiscard]] std::uint64_t memory() const noexcept { return stored_ + reserved_; }
  [[nodiscard]] std::size_t jobs() const noexcept { return jobs_.size(); }

 private:
  template <typename Change>
  void change(PsJob& job, const Change& what) {
    const auto before = job.memory();
    what();
    stored_ += job.memory() - before;
  }

  const std::string token_;
  const std::uint64_t memory_bytes_;
  std::map<std::string, PsJob, std::less<>> jobs_;
  std::uint64_t stored_ = 0;
  std::uint64_t reserved_ = 0;
  std::size_t waits_ = 0;
};

}  // namespace virga
