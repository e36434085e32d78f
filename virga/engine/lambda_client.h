#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/engine/lambda_api.h"
#include "virga/net/address.h"
#include "virga/net/sigv4.h"

namespace virga {

/// Where a Lambda service is: "https://lambda.us-east-1.amazonaws.com", "http://127.0.0.1:9001", or an address as
/// parse_address() reads it. `authorities`: TlsPeer::authorities, for https. Throws Error(kUsage).
[[nodiscard]] Address parse_lambda_endpoint(std::string_view text, const std::string& authorities = {});

/// A client of AWS Lambda's REST API, at AWS or at a local engine. Signs each request. What fails in passing (refused
/// for the present, 5xx, no connection) is tried again after a pause that doubles, with jitter, until the deadline,
/// where it is certain that repeating does no harm. It works on a thread of its own; any thread may call any member,
/// but callbacks must not call those that wait.
///
/// Errors name the operation and the function: kUnauthorized, kNotFound, kConflict, kThrottled, kTooLarge,
/// kUnavailable, kDeadlineExceeded, kUsage (the request is wrong), kBadData (the answer is).
class LambdaClient {
 public:
  struct Options {
    Address endpoint;
    Credentials credentials;
    std::string region = "us-east-1";
    std::chrono::milliseconds attempt_time{30'000};  ///< for the answer to an attempt, but of an invocation
    std::chrono::milliseconds first_pause{50};       ///< from half of it to the whole
    std::chrono::milliseconds longest_pause{5'000};
    std::uint64_t seed = 0;                                                                       ///< of the jitter
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;  ///< to sign
  };
  /// Of all calls so far.
  struct Counts {
    std::uint64_t requests = 0;   ///< sent
    std::uint64_t retries = 0;    ///< of these, after a failure
    std::uint64_t throttled = 0;  ///< answers that said so
    bool operator==(const Counts&) const = default;
  };
  /// How an invocation ended, as far as the service is concerned: with a response, which may tell of a function's
  /// error, or with an error.
  struct Invoked {
    std::optional<lambda::InvokeResponse> response;
    std::optional<Error> error;
    std::string throttle_reason;  ///< of kThrottled: "ReservedFunctionConcurrentInvocationLimitExceeded"
    unsigned attempts = 0;
    bool may_have_run = false;  ///< with an error: did the service perhaps start the function?
  };
  using OnInvoked = std::function<void(Invoked)>;

  explicit LambdaClient(Options options);
  /// Invocations under way end with kInterrupted.
  ~LambdaClient();
  LambdaClient(const LambdaClient&) = delete;
  LambdaClient& operator=(const LambdaClient&) = delete;

  /// Waits until it is active; if it does not become so, it is deleted again. Checks the request against AWS's limits
  /// before it is sent (kUsage).
  lambda::FunctionConfiguration create_function(const lambda::CreateFunctionRequest& request, Deadline deadline);
  [[nodiscard]] lambda::FunctionDescription get_function(const std::string& name, Deadline deadline);
  [[nodiscard]] lambda::FunctionConfiguration get_function_configuration(const std::string& name, Deadline deadline);
  /// All of them, page by page.
  [[nodiscard]] std::vector<lambda::FunctionConfiguration> list_functions(Deadline deadline);
  /// These two wait until the update is done.
  lambda::FunctionConfiguration update_function_configuration(const std::string& name,
                                                              const lambda::UpdateFunctionConfigurationRequest& request,
                                                              Deadline deadline);
  lambda::FunctionConfiguration update_function_code(const std::string& name,
                                                     const lambda::UpdateFunctionCodeRequest& request,
                                                     Deadline deadline);
  void delete_function(const std::string& name, Deadline deadline);
  void put_function_concurrency(const std::string& name, std::uint32_t reserved, Deadline deadline);
  void put_function_event_invoke_config(const std::string& name, const lambda::EventInvokeConfig& config,
                                        Deadline deadline);

  /// Invokes a function; `done` is called once, on the client's thread, and must not throw. Attempts that certainly
  /// started nothing are made again until `start_by`; an answer is awaited until `answer_by`. Returns a number for
  /// forget(). Never throws for what the service does.
  std::uint64_t invoke(const lambda::InvokeRequest& request, Deadline start_by, Deadline answer_by, OnInvoked done);
  /// No further attempt is made to start that invocation; one that waits for its turn ends with kInterrupted. The
  /// answer to an attempt that is under way is still handed over.
  void forget(std::uint64_t invocation);

  [[nodiscard]] Counts counts() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
