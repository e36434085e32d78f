#include "virga/engine/lambda_client.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "virga/engine/lambda_calls.h"
#include "virga/net/endpoint.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using lambda::Operation;

constexpr std::size_t kMostPages = 1'000;
constexpr std::chrono::nanoseconds kFirstLook = 10ms, kLongestLook = 1s;  // whether a function is ready

/// What a decoder makes of an answer; its complaints name the call.
template <typename Decode, typename Answer>
auto read_answer(const Decode& decode, const Answer& answer, const std::string& what) {
  try {
    return decode(answer);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: the answer cannot be read: {}", what, error.what()),
                "see whether this is the address of a Lambda service");
  }
}

template <typename Request>
void check_request(const Request& request, const std::string& what) {
  if (const auto objection = lambda::objection(request)) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: {}", what, *objection));
  }
}

bool is_ready(const lambda::FunctionConfiguration& function, const std::string& what) {
  if (function.state == "Failed" || function.last_update_status == "Failed") {
    const auto& reason = function.state == "Failed" ? function.state_reason : function.last_update_status_reason;
    throw Error(ErrorKind::kUnavailable, fmt::format("{}: the function failed to be ready: {}", what, reason));
  }
  return function.state != "Pending" && function.last_update_status != "InProgress";
}

LambdaClient::Invoked invoked(const lambda::Outcome& outcome, const std::string& what) {
  LambdaClient::Invoked result;
  result.attempts = outcome.attempts;
  result.may_have_run = outcome.worked_before;
  if (outcome.failure) {
    result.error = error_of(*outcome.failure, what, outcome.attempts);
    if (outcome.failure->refusal) result.throttle_reason = outcome.failure->refusal->reason;
    return result;
  }
  try {
    result.response = read_answer(lambda::decode_invoke_response, *outcome.response, what);
  } catch (const Error& error) {
    result.error = error;
    result.may_have_run = true;
  }
  return result;
}

}  // namespace

class LambdaClient::Impl {
 public:
  explicit Impl(Options options) : calls(std::move(options)) {}

  [[nodiscard]] std::string what(Operation operation, const std::string& function) const {
    return fmt::format("{}{} at {}", to_string(operation), function.empty() ? "" : " of " + function,
                       to_string(calls.options().endpoint));
  }

  /// The body of the answer. Throws what came in its place.
  std::string call(Operation operation, const std::string& function, std::string body, Deadline deadline,
                   std::string_view query = {}) {
    const auto outcome = calls.wait_for(operation, request_for(operation, function, std::move(body), query), deadline);
    if (outcome.failure) throw error_of(*outcome.failure, what(operation, function), outcome.attempts);
    return outcome.response->body;
  }

  lambda::FunctionConfiguration configuration(const std::string& name, Deadline deadline) {
    constexpr auto kOperation = Operation::kGetFunctionConfiguration;
    return read_answer(lambda::decode_function_configuration, call(kOperation, name, {}, deadline),
                       what(kOperation, name));
  }

  /// Looks again and again, with pauses that grow.
  lambda::FunctionConfiguration wait_until_ready(lambda::FunctionConfiguration function, Deadline deadline,
                                                 const std::string& doing) {
    const auto late = [&] {
      return Error(ErrorKind::kDeadlineExceeded,
                   fmt::format("{}: the function was still not ready (state {}, last update {})", doing, function.state,
                               function.last_update_status));
    };
    auto pause = kFirstLook;
    while (!is_ready(function, doing)) {
      if (pause >= deadline.remaining()) throw late();
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 3 / 2, kLongestLook);
      try {
        function = configuration(function.function_name, deadline);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
        throw late();
      }
    }
    return function;
  }

  lambda::FunctionConfiguration update(Operation operation, const std::string& name, std::string body,
                                       Deadline deadline) {
    const auto doing = what(operation, name);
    auto answer = call(operation, name, std::move(body), deadline);
    return wait_until_ready(read_answer(lambda::decode_function_configuration, answer, doing), deadline, doing);
  }

  lambda::Calls calls;
};

Address parse_lambda_endpoint(std::string_view text, const std::string& authorities) {
  return text.starts_with("http") ? parse_endpoint(text, authorities).address : parse_address(text);
}

LambdaClient::LambdaClient(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
LambdaClient::~LambdaClient() = default;

lambda::FunctionConfiguration LambdaClient::create_function(const lambda::CreateFunctionRequest& request,
                                                            Deadline deadline) {
  constexpr auto kOperation = Operation::kCreateFunction;
  const auto what = impl_->what(kOperation, request.function_name);
  check_request(request, what);
  const auto outcome = impl_->calls.wait_for(kOperation, request_for(kOperation, {}, encode(request)), deadline);
  lambda::FunctionConfiguration function;
  if (outcome.failure) {
    // Perhaps an attempt that seemed to fail has created it, and another found it there.
    const auto error = error_of(*outcome.failure, what, outcome.attempts);
    if (!outcome.worked_before || error.kind() != ErrorKind::kConflict) throw error;
    function = impl_->configuration(request.function_name, deadline);
    if (function.code_sha256 != sha256_base64(request.zip)) throw error;
  } else {
    function = read_answer(lambda::decode_function_configuration, outcome.response->body, what);
  }
  try {
    return impl_->wait_until_ready(std::move(function), deadline, what);
  } catch (const Error&) {
    // Should this fail as well, the reason why it is not ready matters more.
    (void)impl_->calls.wait_for(Operation::kDeleteFunction,
                                request_for(Operation::kDeleteFunction, request.function_name), Deadline::in(5s));
    throw;
  }
}

lambda::FunctionDescription LambdaClient::get_function(const std::string& name, Deadline deadline) {
  constexpr auto kOperation = Operation::kGetFunction;
  return read_answer(lambda::decode_function_description, impl_->call(kOperation, name, {}, deadline),
                     impl_->what(kOperation, name));
}

lambda::FunctionConfiguration LambdaClient::get_function_configuration(const std::string& name, Deadline deadline) {
  return impl_->configuration(name, deadline);
}

std::vector<lambda::FunctionConfiguration> LambdaClient::list_functions(Deadline deadline) {
  constexpr auto kOperation = Operation::kListFunctions;
  const auto what = impl_->what(kOperation, "");
  std::vector<lambda::FunctionConfiguration> functions;
  std::string query;
  for (std::size_t pages = 0; pages < kMostPages; ++pages) {
    auto page = read_answer(lambda::decode_function_page, impl_->call(kOperation, "", {}, deadline, query), what);
    std::ranges::move(page.functions, std::back_inserter(functions));
    if (page.next_marker.empty()) return functions;
    query = "Marker=" + percent_encode(page.next_marker);
  }
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: more than {} pages", what, kMostPages));
}

lambda::FunctionConfiguration LambdaClient::update_function_configuration(
    const std::string& name, const lambda::UpdateFunctionConfigurationRequest& request, Deadline deadline) {
  check_request(request, impl_->what(Operation::kUpdateFunctionConfiguration, name));
  return impl_->update(Operation::kUpdateFunctionConfiguration, name, encode(request), deadline);
}

lambda::FunctionConfiguration LambdaClient::update_function_code(const std::string& name,
                                                                 const lambda::UpdateFunctionCodeRequest& request,
                                                                 Deadline deadline) {
  check_request(request, impl_->what(Operation::kUpdateFunctionCode, name));
  return impl_->update(Operation::kUpdateFunctionCode, name, encode(request), deadline);
}

void LambdaClient::delete_function(const std::string& name, Deadline deadline) {
  constexpr auto kOperation = Operation::kDeleteFunction;
  const auto outcome = impl_->calls.wait_for(kOperation, request_for(kOperation, name), deadline);
  if (!outcome.failure) return;
  const auto error = error_of(*outcome.failure, impl_->what(kOperation, name), outcome.attempts);
  // What an earlier attempt has deleted is not there any more.
  if (!outcome.worked_before || error.kind() != ErrorKind::kNotFound) throw error;
}

void LambdaClient::put_function_concurrency(const std::string& name, std::uint32_t reserved, Deadline deadline) {
  (void)impl_->call(Operation::kPutFunctionConcurrency, name, encode(lambda::Concurrency{.reserved = reserved}),
                    deadline);
}

void LambdaClient::put_function_event_invoke_config(const std::string& name, const lambda::EventInvokeConfig& config,
                                                    Deadline deadline) {
  (void)impl_->call(Operation::kPutFunctionEventInvokeConfig, name, encode(config), deadline);
}

std::uint64_t LambdaClient::invoke(const lambda::InvokeRequest& request, Deadline start_by, Deadline answer_by,
                                   OnInvoked done) {
  const auto what = impl_->what(Operation::kInvoke, request.function);
  return impl_->calls.start(
      Operation::kInvoke, encode(request), start_by, answer_by,
      [what, done = std::move(done)](const lambda::Outcome& outcome) { done(invoked(outcome, what)); });
}

void LambdaClient::forget(std::uint64_t invocation) { impl_->calls.forget(invocation); }
LambdaClient::Counts LambdaClient::counts() const { return impl_->calls.counts(); }

}  // namespace virga
