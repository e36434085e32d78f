#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "virga/engine/function_instance.h"

namespace virga {

/// A random (version 4) UUID, as requests and revisions have one.
[[nodiscard]] std::string new_request_id();

/// A request that is refused, as AWS words it.
struct LambdaRefusal {
  int status = 400;
  std::string type;  ///< "ResourceNotFoundException"
  std::string message;
  std::string reason = {};  ///< of TooManyRequestsException
};

/// What is known of a function besides its name.
struct HostedFunction {
  std::string handler = "bootstrap";
  std::map<std::string, std::string> environment;
  std::uint64_t memory_bytes = std::uint64_t{128} << 20;
  std::chrono::seconds timeout{3};
  std::uint64_t tmp_bytes = std::uint64_t{512} << 20;
};

/// The functions of this machine, their instances and what waits for them: a small FaaS without its protocols. Warm
/// instances are used again; one that is not used for a while, or whose memory another needs, is ended. For the thread
/// that runs `context`.
class FunctionHost {
 public:
  struct Options {
    std::filesystem::path folder;  ///< for code and logs
    std::string region;
    std::vector<std::filesystem::path> writable;  ///< what functions may write to
    std::vector<std::filesystem::path> readable;  ///< what they may see though it lies below /tmp
    std::vector<Address> services;                ///< InstanceSettings::services
    double cpus = 1;                              ///< of the machine: a function gets at most that
    std::uint64_t memory_bytes = 0;               ///< of the machine, for all instances together; 0: no limit
    unsigned most_concurrent = 1000;              ///< invocations at once
    std::chrono::milliseconds idle_time{300'000};
    /// Before an Event that failed is tried again: once for each entry.
    std::vector<std::chrono::milliseconds> retry_pauses{std::chrono::minutes(1), std::chrono::minutes(2)};
    std::size_t most_queued = 10'000;  ///< Events that wait or are under way
    std::uint64_t most_queued_bytes = std::uint64_t{256} << 20;
    std::uint64_t most_log_bytes = std::uint64_t{256} << 20;  ///< of instances that have ended; the oldest go first
    bool doubles_events = false;                              ///< each is delivered twice, as it may happen
    std::string sandbox_name;
    SandboxMaker::Want sandbox = SandboxMaker::Want::kAll;
  };
  using Outcome = FunctionInstance::Outcome;
  using Finished = FunctionInstance::Finished;

  /// Throws Error(kIo).
  FunctionHost(boost::asio::io_context& context, Options options);
  ~FunctionHost();
  FunctionHost(const FunctionHost&) = delete;
  FunctionHost& operator=(const FunctionHost&) = delete;

  /// `code`: the folder of its unpacked package, which becomes the function's.
  void put(const std::string& name, const std::string& arn, HostedFunction settings, std::filesystem::path code);
  void configure(const std::string& name, HostedFunction settings);
  /// Ends its instances; what is under way is told that the function is gone.
  void remove(const std::string& name);
  /// Refused where it would leave too little for functions without a reservation.
  [[nodiscard]] std::optional<LambdaRefusal> reserve(const std::string& name, std::optional<unsigned> concurrency);
  void limit_retries(const std::string& name, unsigned retries);
  [[nodiscard]] std::optional<unsigned> reserved(const std::string& name) const;
  [[nodiscard]] unsigned retries(const std::string& name) const;

  /// Requires that the function is there. `finished` is called once, unless it is refused or this throws: Error(kIo),
  /// the machine is short of something.
  [[nodiscard]] std::optional<LambdaRefusal> invoke(const std::string& name, std::string payload, Finished finished);
  /// Queued, tried again if it fails.
  [[nodiscard]] std::optional<LambdaRefusal> enqueue(const std::string& name, const std::string& payload);
  /// The request id of what was invoked or queued last.
  [[nodiscard]] const std::string& last_request_id() const noexcept { return last_request_id_; }

  [[nodiscard]] const SandboxPowers& powers() const noexcept { return sandboxes_.powers(); }
  [[nodiscard]] std::vector<pid_t> processes() const;
  [[nodiscard]] std::size_t busy() const noexcept { return busy_; }
  [[nodiscard]] std::size_t instances() const noexcept { return instances_count_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Function;
  struct Event;
  [[nodiscard]] std::optional<LambdaRefusal> refusal(const Function& function) const;
  void run(const std::shared_ptr<Function>& function, const std::string& request_id, std::string payload,
           Finished finished);
  FunctionInstance& instance_for(Function& function);
  void make_room(std::uint64_t bytes);
  [[nodiscard]] bool let_go(const FunctionInstance& instance);
  void find_logs();
  void keep_log(const std::filesystem::path& log);
  void changed() noexcept;
  void clean();
  void serve_waiting();
  void try_event(const std::shared_ptr<Event>& event);
  void again(const std::shared_ptr<Event>& event, std::chrono::milliseconds pause);
  void forget(const Event& event);
  void look_for_idle();

  boost::asio::io_context& context_;
  const Options options_;
  SandboxMaker sandboxes_;
  std::map<std::string, std::shared_ptr<Function>> functions_;
  std::vector<std::unique_ptr<FunctionInstance>> leaving_;  // of functions that are gone
  boost::asio::steady_timer idle_timer_;
  std::size_t busy_ = 0;
  std::size_t queued_ = 0;
  std::uint64_t queued_bytes_ = 0;
  std::deque<std::pair<std::filesystem::path, std::uint64_t>> logs_;  // of instances that have ended, and their sizes
  std::uint64_t log_bytes_ = 0;
  std::size_t instances_count_ = 0;
  std::uint64_t log_number_ = 0;
  bool cleaning_ = false;
  std::string last_request_id_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace virga
