#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/engine/lambda_api.h"
#include "virga/engine/lambda_client.h"

namespace virga::lambda {

/// What came of an attempt that failed.
struct Failure {
  std::optional<ServiceError> refusal;  ///< the service's answer
  std::optional<Error> error;           ///< else: there was none
  bool sent = true;                     ///< of `error`: may the service have got the request?
};
/// May the same request be sent again after `failure`, without harm and perhaps with success?
[[nodiscard]] bool may_repeat(Operation operation, const Failure& failure) noexcept;
/// May the service have done what it was asked for, in spite of `failure`?
[[nodiscard]] bool may_have_worked(const Failure& failure) noexcept;
/// The pause before attempt number `attempts` + 1 of call number `call`: from half of it to the whole, at least what
/// the service asked for.
[[nodiscard]] std::chrono::nanoseconds pause_after(const Failure& failure, unsigned attempts, std::uint64_t call,
                                                   const LambdaClient::Options& options);
/// For the caller. `what`: "CreateFunction of virga-7 at tcp:127.0.0.1:9001".
[[nodiscard]] Error error_of(const Failure& failure, const std::string& what, unsigned attempts);

/// How a call ended: with a response below 300, or a failure.
struct Outcome {
  std::optional<HttpResponse> response;
  std::optional<Failure> failure;
  unsigned attempts = 0;
  bool worked_before = false;  ///< may an attempt that failed have worked?
};

/// Signs and sends requests and repeats them, on a thread of its own. Any thread may call any member.
class Calls {
 public:
  using Done = std::function<void(Outcome)>;

  explicit Calls(LambdaClient::Options options);
  /// Calls under way end with kInterrupted.
  ~Calls();
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  /// `request`: neither signed nor with its host. Attempts until `start_by`, each with an answer until `answer_by`.
  /// `done` is called once, on the calls' thread, and must not throw. Returns a number for forget().
  std::uint64_t start(Operation operation, HttpRequest request, Deadline start_by, Deadline answer_by, Done done);
  /// No further attempt: if it waits for one, it ends with kInterrupted.
  void forget(std::uint64_t call);
  [[nodiscard]] Outcome wait_for(Operation operation, HttpRequest request, Deadline deadline);

  [[nodiscard]] const LambdaClient::Options& options() const noexcept;
  [[nodiscard]] LambdaClient::Counts counts() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga::lambda
