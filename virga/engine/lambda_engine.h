#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virga/engine/engine.h"
#include "virga/engine/lambda_client.h"

namespace virga {

/// Invokes a function of AWS Lambda, or of a local engine that speaks its protocol. The function is created for this
/// engine and deleted with it. For one thread, as each Engine; answers come in on the client's.
class LambdaEngine final : public Engine {
 public:
  struct Options {
    std::string function_name;
    std::string zip;                                     ///< the deployment package, with a program `bootstrap`
    std::uint32_t memory_mb = lambda::kDefaultMemoryMb;  ///< 1024 * 1024 bytes each
    std::chrono::seconds timeout = lambda::kMostTimeout;
    std::uint32_t tmp_mb = lambda::kDefaultTmpMb;
    std::map<std::string, std::string> environment = {};  ///< the run's token among it
    std::map<std::string, std::string> tags = {};
    std::string runtime = "provided.al2023";
    std::string handler = "bootstrap";
    std::string role = "arn:aws:iam::000000000000:role/virga";
    std::string architecture = "x86_64";
    std::optional<std::uint32_t> reserved_concurrency = std::nullopt;

    std::chrono::milliseconds create_time{60'000};        ///< for the function to be there and active
    std::chrono::milliseconds delete_time{10'000};        ///< to delete it
    std::chrono::milliseconds throttle_patience{30'000};  ///< how long a start that is refused is tried again
    /// How long after the function's timeout and the time for its start-up an answer is awaited.
    std::chrono::milliseconds grace{15'000};
  };

  /// Creates the function; asynchronous invocations of it are never repeated by the platform, where it lets itself be
  /// told so. Throws Error as LambdaClient does; what was created is deleted then.
  LambdaEngine(std::shared_ptr<LambdaClient> client, Options options);
  /// Forgets what runs and deletes the function, unless kill_all() has.
  ~LambdaEngine() override;

  /// Returns at once; what the platform says against it comes from wait(). Throws Error: kTooLarge for the payload,
  /// kNotFound after kill_all(). `name` goes with it as the client context {"custom": {"virga-name": NAME}}.
  ///
  /// A payload that leaves its answer at the run's URI is invoked as an Event, for which the platform keeps no
  /// connection: wait() looks for that answer each time it is called, and takes it away. Of an Event that dies nothing
  /// is heard before its time is over; who invokes looks for its signs of life himself.
  Invocation invoke(const Payload& payload, const std::string& name) override;
  [[nodiscard]] std::vector<Ended> wait(std::chrono::milliseconds time) override;
  /// Lambda kills nothing before its time: the invocation is forgotten, and wait() says that it was given up.
  void kill(Invocation invocation) noexcept override;
  /// Deletes the function as well: nothing can be invoked from then on.
  void kill_all() noexcept override;

  [[nodiscard]] const std::string& function_name() const noexcept { return options_.function_name; }
  /// Of the function that was created.
  [[nodiscard]] const lambda::FunctionConfiguration& configuration() const noexcept { return configuration_; }

 private:
  class Arrivals;  // what the client's thread hands over

  /// An Event that the platform has taken, or will.
  struct Event {
    std::string run;
    std::string answer;  // the object
    Deadline answer_by;
  };
  void configure(Deadline deadline);
  void look_for_answers(std::vector<Ended>& all);
  void delete_function() noexcept;

  const std::shared_ptr<LambdaClient> client_;
  const Options options_;
  const std::shared_ptr<Arrivals> arrivals_;
  lambda::FunctionConfiguration configuration_;
  std::map<Invocation, std::uint64_t> running_;  // the client's numbers
  std::map<Invocation, Event> events_;           // of these
  std::vector<Invocation> given_up_;             // since the last wait()
  Invocation next_ = 1;
  bool is_deleted_ = false;
};

/// How an invocation ended, from what the client says of it; the number is left zero. For people and tests apart.
[[nodiscard]] Engine::Ended ended_of(const LambdaClient::Invoked& invoked);

}  // namespace virga
