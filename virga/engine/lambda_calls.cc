#include "virga/engine/lambda_calls.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <map>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "virga/base/random.h"
#include "virga/net/endpoint.h"
#include "virga/net/http_client.h"

namespace virga::lambda {
namespace {

constexpr HttpLimits kResponseLimits{.header_bytes = std::size_t{32} << 10, .body_bytes = std::size_t{8} << 20};

/// Does doing it twice leave what doing it once does? A function that is invoked twice costs twice.
bool is_idempotent(Operation operation) noexcept { return operation != Operation::kInvoke; }

/// Was the request refused before anything was done?
bool is_refused_at_once(const ServiceError& refusal) noexcept {
  return kind_of(refusal) == ErrorKind::kThrottled || refusal.status == 503 ||
         refusal.code == "ResourceNotReadyException";
}

std::string remedy_for(ErrorKind kind, const std::string& reason) {
  switch (kind) {
    case ErrorKind::kUnauthorized:
      return "check the access key, its secret, the region and this machine's clock";
    case ErrorKind::kThrottled:
      if (reason.starts_with("Reserved")) return "raise the function's reserved concurrency, or use fewer functions";
      return "use fewer functions, or have the account's concurrency limit raised";
    case ErrorKind::kUnavailable:
      return "see whether the service runs at this address, and try again";
    case ErrorKind::kNotFound:
      return "it was deleted or never created: start the run again";
    default:
      return "";
  }
}

Failure interrupted(const char* why) {
  return {.refusal = {}, .error = Error(ErrorKind::kInterrupted, why), .sent = false};
}

}  // namespace

bool may_repeat(Operation operation, const Failure& failure) noexcept {
  if (failure.refusal) {
    const auto& refusal = *failure.refusal;
    if (is_refused_at_once(refusal)) return true;
    // The function is being created, updated or deleted; or it is there already, which stays so.
    if (refusal.code == "ResourceConflictException") return operation != Operation::kCreateFunction;
    return refusal.status >= 500 && is_idempotent(operation);
  }
  const auto kind = failure.error->kind();
  if (kind != ErrorKind::kUnavailable && kind != ErrorKind::kDeadlineExceeded) return false;
  return !failure.sent || is_idempotent(operation);
}

bool may_have_worked(const Failure& failure) noexcept {
  if (failure.refusal) return failure.refusal->status >= 500 && !is_refused_at_once(*failure.refusal);
  return failure.sent;
}

std::chrono::nanoseconds pause_after(const Failure& failure, unsigned attempts, std::uint64_t call,
                                     const LambdaClient::Options& options) {
  std::chrono::nanoseconds pause = options.first_pause;
  for (unsigned i = 1; i < attempts && pause < options.longest_pause; ++i) pause *= 2;
  pause = std::min<std::chrono::nanoseconds>(pause, options.longest_pause);
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const auto word = philox4x32({low(call), high(call), attempts, 0}, {low(options.seed), high(options.seed)})[0];
  const auto part = static_cast<double>(word) * 0x1p-32;
  pause = pause / 2 + std::chrono::duration_cast<std::chrono::nanoseconds>(part * (pause / 2));
  if (!failure.refusal || !failure.refusal->retry_after) return pause;
  return std::max(pause, std::chrono::nanoseconds(*failure.refusal->retry_after));
}

Error error_of(const Failure& failure, const std::string& what, unsigned attempts) {
  const auto tried = attempts > 1 ? fmt::format(" ({} attempts)", attempts) : "";
  if (failure.error) {
    const auto& error = *failure.error;
    return {error.kind(), fmt::format("{}{}: {}", what, tried, error.what()), error.remedy()};
  }
  const auto& refusal = *failure.refusal;
  const auto kind = kind_of(refusal);
  auto text = fmt::format("{}{}: {} {}", what, tried, refusal.status, refusal.code.empty() ? "" : refusal.code + ": ");
  text += refusal.message.empty() ? "no reason was given" : refusal.message;
  if (!refusal.reason.empty()) text += fmt::format(" ({})", refusal.reason);
  return {kind, text, remedy_for(kind, refusal.reason)};
}

/// What is under way lives on the thread that runs the context.
class Calls::Impl {
 public:
  struct Task {
    std::uint64_t number;
    Operation operation;
    HttpRequest request;
    Deadline start_by, answer_by;
    Done done;
    boost::asio::steady_timer timer;
    unsigned attempts = 0;
    bool is_forgotten = false;
    bool worked_before = false;
    std::optional<Failure> failed_before;
  };
  using TaskPointer = std::shared_ptr<Task>;

  explicit Impl(LambdaClient::Options given)
      : options(std::move(given)),
        http_(std::make_unique<HttpClient>(context, options.endpoint, HttpClient::Options{.limits = kResponseLimits})),
        work_(boost::asio::make_work_guard(context)),
        thread_([this] { context.run(); }) {}

  ~Impl() {
    boost::asio::post(context, [this] {
      is_closing_ = true;
      for (auto& [number, task] : tasks_) task->timer.cancel();
      http_.reset();
    });
    work_.reset();
    thread_.join();
  }

  void begin(TaskPointer task) {
    tasks_.emplace(task->number, task);
    attempt(task);
  }

  void forget(std::uint64_t number) {
    const auto at = tasks_.find(number);
    if (at == tasks_.end()) return;
    at->second->is_forgotten = true;
    at->second->timer.cancel();
  }

  const LambdaClient::Options options;
  std::atomic<std::uint64_t> next = 1, requests = 0, retries = 0, throttled = 0;
  boost::asio::io_context context{1};

 private:
  void attempt(const TaskPointer& task) {
    if (is_closing_) return end(task, interrupted("the client is closed"));
    auto request = task->request;
    request.headers.push_back({.name = "Host", .value = host_header(options.endpoint)});
    sign(request, options.credentials, {.region = options.region, .service = "lambda"}, options.now());
    ++requests;
    if (++task->attempts > 1) ++retries;
    const bool is_invoke = task->operation == Operation::kInvoke;
    const auto deadline = is_invoke ? task->answer_by : std::min(task->answer_by, Deadline::in(options.attempt_time));
    http_->send(std::move(request), deadline, is_idempotent(task->operation),
                [this, task](HttpClient::Outcome outcome) { answered(task, std::move(outcome)); });
  }

  void answered(const TaskPointer& task, HttpClient::Outcome outcome) {
    if (outcome.response && outcome.response->status < 300) return end(task, {}, std::move(outcome.response));
    Failure failure{.refusal = {}, .error = std::move(outcome.error), .sent = outcome.sent};
    if (outcome.response) failure.refusal = error_of(*outcome.response);
    if (failure.refusal && kind_of(*failure.refusal) == ErrorKind::kThrottled) ++throttled;
    task->worked_before = task->worked_before || may_have_worked(failure);
    if (is_closing_) return end(task, interrupted("the client is closed"));
    const auto pause = pause_after(failure, task->attempts, task->number, options);
    const bool is_last = pause >= task->start_by.remaining() || !may_repeat(task->operation, failure);
    if (is_last && is_cut_off(*task, failure)) failure = std::move(*task->failed_before);
    if (is_last || task->is_forgotten) return end(task, std::move(failure));
    task->failed_before = failure;
    task->timer.expires_after(pause);
    task->timer.async_wait([this, task](const boost::system::error_code& cancelled) {
      if (is_closing_ || cancelled || task->is_forgotten) return end(task, interrupted("it is no longer wanted"));
      attempt(task);
    });
  }

  /// Did time run out on an attempt that did no harm, so that why those before it failed says more?
  static bool is_cut_off(const Task& task, const Failure& failure) {
    return task.failed_before && failure.error && failure.error->kind() == ErrorKind::kDeadlineExceeded &&
           (!failure.sent || is_idempotent(task.operation));
  }

  void end(const TaskPointer& task, std::optional<Failure> failure, std::optional<HttpResponse> response = {}) {
    tasks_.erase(task->number);
    task->done({.response = std::move(response),
                .failure = std::move(failure),
                .attempts = task->attempts,
                .worked_before = task->worked_before});
  }

  // Of the context's thread.
  bool is_closing_ = false;
  std::map<std::uint64_t, TaskPointer> tasks_;
  std::unique_ptr<HttpClient> http_;

  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

Calls::Calls(LambdaClient::Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Calls::~Calls() = default;

std::uint64_t Calls::start(Operation operation, HttpRequest request, Deadline start_by, Deadline answer_by, Done done) {
  const auto number = impl_->next++;
  auto task = std::make_shared<Impl::Task>(Impl::Task{.number = number,
                                                      .operation = operation,
                                                      .request = std::move(request),
                                                      .start_by = start_by,
                                                      .answer_by = answer_by,
                                                      .done = std::move(done),
                                                      .timer = boost::asio::steady_timer(impl_->context)});
  boost::asio::post(impl_->context, [impl = impl_.get(), task = std::move(task)] { impl->begin(task); });
  return number;
}

void Calls::forget(std::uint64_t call) {
  boost::asio::post(impl_->context, [impl = impl_.get(), call] { impl->forget(call); });
}

Outcome Calls::wait_for(Operation operation, HttpRequest request, Deadline deadline) {
  std::promise<Outcome> promise;
  start(operation, std::move(request), deadline, deadline,
        [&promise](Outcome outcome) { promise.set_value(std::move(outcome)); });
  return promise.get_future().get();
}

const LambdaClient::Options& Calls::options() const noexcept { return impl_->options; }

LambdaClient::Counts Calls::counts() const {
  return {.requests = impl_->requests.load(), .retries = impl_->retries.load(), .throttled = impl_->throttled.load()};
}

}  // namespace virga::lambda
