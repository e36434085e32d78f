#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "virga/engine/lambda_api.h"
#include "virga/engine/lambda_client.h"
#include "virga/net/http_testing.h"
#include "virga/net/sigv4.h"

namespace virga {

/// A Lambda service whose answers a test writes beforehand. It checks signatures.
class ScriptedLambda {
 public:
  using Answer = std::function<void(const HttpRequest&, const HttpReply&)>;
  struct Seen {
    lambda::Call call;
    std::string body;
    std::string invocation_type = {};  ///< the header
  };

  ScriptedLambda()
      : server_([this](const HttpRequest& request, const HttpReply& reply) { answer(request, reply); },
                {.limits = {.body_bytes = lambda::kMostApiRequestBytes}}) {}

  [[nodiscard]] const Address& address() const noexcept { return server_.address(); }
  [[nodiscard]] static Credentials credentials() {
    return {.access_key_id = "AKIDEXAMPLE", .secret_access_key = "wJalrXUtnFEMI", .session_token = ""};
  }
  /// Of a client that does not wait long.
  [[nodiscard]] LambdaClient::Options options() const {
    return {.endpoint = address(),
            .credentials = credentials(),
            .attempt_time = std::chrono::seconds(20),
            .first_pause = std::chrono::milliseconds(2),
            .longest_pause = std::chrono::milliseconds(10)};
  }

  /// The next answers to an operation, in turn; the last is given again and again.
  void script(lambda::Operation operation, std::vector<Answer> answers) {
    const std::lock_guard lock(mutex_);
    answers_[operation].assign(answers.begin(), answers.end());
  }
  static Answer respond(HttpResponse response) {
    return [response = std::move(response)](const HttpRequest&, const HttpReply& reply) { reply.send(response); };
  }
  static Answer json(std::string body, int status = 200) {
    return respond({.status = status, .headers = {}, .body = std::move(body)});
  }
  static Answer refuse(int status, std::string code, std::string message = "as scripted") {
    return respond(lambda::response_of({.status = status, .code = std::move(code), .message = std::move(message)}));
  }
  static Answer throttle(std::optional<std::chrono::seconds> retry_after = {}) {
    return respond(lambda::response_of({.status = 429,
                                        .code = "TooManyRequestsException",
                                        .message = "Rate Exceeded.",
                                        .reason = "ReservedFunctionConcurrentInvocationLimitExceeded",
                                        .retry_after = retry_after}));
  }
  static Answer invoked(const lambda::InvokeResponse& response) { return respond(encode(response)); }
  /// Answers when the test says so, with release().
  Answer hold() {
    return [this](const HttpRequest&, const HttpReply& reply) {
      const std::lock_guard lock(mutex_);
      held_.push_back(reply);
    };
  }
  [[nodiscard]] std::size_t held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  void release(const HttpResponse& response) {
    std::vector<HttpReply> all;
    {
      const std::lock_guard lock(mutex_);
      all.swap(held_);
    }
    for (const auto& reply : all) reply.send(response);
  }

  /// Requests with a good signature.
  [[nodiscard]] std::vector<Seen> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  [[nodiscard]] std::size_t count(lambda::Operation operation) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::ranges::count_if(seen_, [&](const Seen& seen) { return seen.call.operation == operation; }));
  }

 private:
  void answer(const HttpRequest& request, const HttpReply& reply) {
    const auto find = [](std::string_view id) -> std::optional<Credentials> {
      if (id != credentials().access_key_id) return std::nullopt;
      return credentials();
    };
    if (const auto refusal =
            verify(request, find, {.region = "us-east-1", .service = "lambda"}, std::chrono::system_clock::now())) {
      return reply.send(
          lambda::response_of({.status = refusal->status, .code = refusal->code, .message = refusal->message}));
    }
    next_answer(request)(request, reply);
  }

  Answer next_answer(const HttpRequest& request) {
    const auto call = lambda::call_of(request.method, request.target);
    const std::lock_guard lock(mutex_);
    if (!call) return refuse(404, "UnknownOperationException");
    const auto* type = find_header(request.headers, "X-Amz-Invocation-Type");
    seen_.push_back({.call = *call, .body = request.body, .invocation_type = type == nullptr ? "" : *type});
    auto& answers = answers_[call->operation];
    if (answers.empty()) return refuse(404, "ResourceNotFoundException", "Function not found: " + call->function);
    auto next = answers.front();
    if (answers.size() > 1) answers.pop_front();
    return next;
  }

  std::mutex mutex_;  // guards what follows
  std::map<lambda::Operation, std::deque<Answer>> answers_;
  std::vector<HttpReply> held_;
  std::vector<Seen> seen_;
  ServerThread server_;
};

/// A server that takes connections and answers each with the same bytes, whatever is asked, and closes it.
class RawServer {
 public:
  explicit RawServer(std::string bytes)
      : bytes_(std::move(bytes)),
        listener_({.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1"}),
        thread_([this] { run(); }) {}
  ~RawServer() {
    stop_.notify();
    thread_.join();
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

  [[nodiscard]] const Address& address() const noexcept { return listener_.address(); }
  [[nodiscard]] int connections() const noexcept { return connections_; }

 private:
  void run() {
    while (wait_ready(listener_.descriptor(), POLLIN, &stop_, Deadline::in(std::chrono::seconds(60))) ==
           Woken::kReady) {
      auto socket = listener_.accept();
      if (!socket) continue;
      ++connections_;
      RawClient connection(std::move(socket));
      connection.hear("\r\n\r\n");
      connection.say(bytes_);
    }
  }

  const std::string bytes_;
  Listener listener_;
  WakeEvent stop_;
  std::atomic<int> connections_ = 0;
  std::thread thread_;
};

}  // namespace virga
