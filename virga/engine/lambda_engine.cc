#include "virga/engine/lambda_engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/control/run_folder.h"
#include "virga/engine/lambda_report.h"
#include "virga/storage/object_store.h"

namespace virga {
namespace {

using Cause = Engine::Ended::Cause;

constexpr std::uint64_t kMostLeftBytes = std::uint64_t{1} << 20;
constexpr std::chrono::seconds kEventTaken{30};  // for the platform to queue an Event

/// How an invocation that the platform did not answer is told to people.
void fail(Engine::Ended& ended, const LambdaClient::Invoked& invoked) {
  const auto& error = *invoked.error;
  ended.cause = error.kind() == ErrorKind::kThrottled ? Cause::kThrottled : Cause::kUnreachable;
  ended.death = error.what();
  if (!error.remedy().empty()) ended.death += "; " + error.remedy();
}

void read_answer(std::string_view text, Engine::Ended& ended) {
  try {
    ended.answer = decode_answer(text);
    ended.cause = Cause::kAnswered;
  } catch (const Error& error) {
    ended.cause = Cause::kCrashed;
    ended.death = error.what();
  }
}

}  // namespace

Engine::Ended ended_of(const LambdaClient::Invoked& invoked) {
  Engine::Ended ended;
  if (!invoked.response) {
    fail(ended, invoked);
    return ended;
  }
  const auto& response = *invoked.response;
  const auto report = lambda::parse_report(response.log_tail);
  ended.log_tail = lambda::own_lines(response.log_tail);
  if (report) ended.bill = report->bill;
  if (!response.function_error.empty()) {
    auto death = lambda::death_of(lambda::decode_function_error(response.payload), report);
    ended.cause = death.cause;
    ended.death = std::move(death.text);
    return ended;
  }
  read_answer(response.payload, ended);
  return ended;
}

/// Shared with the callbacks, which may come when the engine is gone.
class LambdaEngine::Arrivals {
 public:
  void add(Invocation invocation, LambdaClient::Invoked invoked) {
    const std::lock_guard lock(mutex_);
    arrived_.emplace_back(invocation, std::move(invoked));
    came_.notify_one();
  }

  /// All that has come; waits for something up to `time`.
  std::vector<std::pair<Invocation, LambdaClient::Invoked>> take(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, time, [&] { return !arrived_.empty(); });
    return std::exchange(arrived_, {});
  }

 private:
  std::mutex mutex_;  // guards arrived_
  std::condition_variable came_;
  std::vector<std::pair<Invocation, LambdaClient::Invoked>> arrived_;
};

LambdaEngine::LambdaEngine(std::shared_ptr<LambdaClient> client, Options options)
    : client_(std::move(client)), options_(std::move(options)), arrivals_(std::make_shared<Arrivals>()) {
  const auto deadline = Deadline::in(options_.create_time);
  configuration_ = client_->create_function({.function_name = options_.function_name,
                                             .runtime = options_.runtime,
                                             .role = options_.role,
                                             .handler = options_.handler,
                                             .zip = options_.zip,
                                             .description = {},
                                             .timeout = options_.timeout,
                                             .memory_mb = options_.memory_mb,
                                             .tmp_mb = options_.tmp_mb,
                                             .environment = options_.environment,
                                             .architectures = {options_.architecture},
                                             .tags = options_.tags},
                                            deadline);
  try {
    configure(deadline);
  } catch (...) {
    delete_function();
    throw;
  }
}

LambdaEngine::~LambdaEngine() { kill_all(); }

void LambdaEngine::configure(Deadline deadline) {
  if (options_.reserved_concurrency) {
    client_->put_function_concurrency(options_.function_name, *options_.reserved_concurrency, deadline);
  }
  try {
    client_->put_function_event_invoke_config(options_.function_name, {.maximum_retry_attempts = 0}, deadline);
  } catch (const Error& error) {
    // A repeated worker finds that its generation is taken: a platform that has no such thing serves as well.
    if (error.kind() != ErrorKind::kNotFound && error.kind() != ErrorKind::kUsage) throw;
  }
}

LambdaEngine::Invocation LambdaEngine::invoke(const Payload& payload, const std::string& name) {
  if (is_deleted_) {
    throw Error(ErrorKind::kNotFound, fmt::format("the function {} has been deleted", options_.function_name));
  }
  lambda::InvokeRequest request{
      .function = options_.function_name, .log_tail = true, .payload = encode_payload(payload)};
  if (request.payload.size() > kMostPayloadBytes) {
    throw Error(ErrorKind::kTooLarge, fmt::format("the payload for {} has {} bytes, but {} is the most", name,
                                                  request.payload.size(), kMostPayloadBytes));
  }
  const nlohmann::json context = {{"custom", {{"virga-name", name}}}};
  request.client_context = context.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  const auto invocation = next_++;
  const auto start_by = Deadline::in(options_.throttle_patience);
  auto answer_by = Deadline::in(options_.throttle_patience + lambda::kInitTimeout + options_.timeout + options_.grace);
  if (payload.leaves_answer) {
    request.type = lambda::InvocationType::kEvent;
    request.log_tail = false;
    events_.insert({invocation, {payload.run, answer_object(payload.member), answer_by}});
    answer_by = Deadline::in(options_.throttle_patience + kEventTaken);  // of the platform
  }
  running_[invocation] =
      client_->invoke(request, start_by, answer_by, [arrivals = arrivals_, invocation](LambdaClient::Invoked invoked) {
        arrivals->add(invocation, std::move(invoked));
      });
  return invocation;
}

std::vector<LambdaEngine::Ended> LambdaEngine::wait(std::chrono::milliseconds time) {
  const auto deadline = Deadline::in(time);
  std::vector<Ended> all;
  for (const auto invocation : std::exchange(given_up_, {})) {
    all.push_back({.invocation = invocation, .cause = Ended::Cause::kCrashed, .death = "given up"});
  }
  if (!all.empty()) return all;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.remaining());
    for (auto& [invocation, invoked] : arrivals_->take(left)) {
      if (invoked.response && events_.contains(invocation)) continue;  // the platform has taken it
      // Nobody hears twice of one that was given up.
      if (running_.erase(invocation) == 0) continue;
      events_.erase(invocation);
      all.push_back(ended_of(invoked));
      all.back().invocation = invocation;
    }
    look_for_answers(all);
  } while (all.empty() && !deadline.passed());
  return all;
}

void LambdaEngine::look_for_answers(std::vector<Ended>& all) {
  for (auto at = events_.begin(); at != events_.end();) {
    const auto& [invocation, event] = *at;
    const auto run = open_object_store(event.run);
    Ended ended{.invocation = invocation, .cause = Ended::Cause::kCrashed};
    if (run->exists(event.answer)) {
      read_answer(as_text(run->get(event.answer, kMostLeftBytes)), ended);
      run->remove(event.answer);
    } else if (event.answer_by.passed()) {
      ended.cause = Ended::Cause::kTimedOut;
      ended.death = "left no answer in its time";
    } else {
      ++at;
      continue;
    }
    all.push_back(std::move(ended));
    running_.erase(invocation);
    at = events_.erase(at);
  }
}

void LambdaEngine::kill(Invocation invocation) noexcept {
  const auto at = running_.find(invocation);
  if (at == running_.end()) return;
  client_->forget(at->second);
  given_up_.push_back(invocation);
  events_.erase(invocation);
  running_.erase(at);
}

void LambdaEngine::kill_all() noexcept {
  for (const auto& [invocation, number] : running_) client_->forget(number);
  running_.clear();
  events_.clear();
  given_up_.clear();
  delete_function();
}

void LambdaEngine::delete_function() noexcept {
  if (std::exchange(is_deleted_, true)) return;
  try {
    client_->delete_function(options_.function_name, Deadline::in(options_.delete_time));
  } catch (const Error&) {
    // It costs nothing while nobody invokes it, and its environment's token opens nothing once the run is over.
  }
}

}  // namespace virga
