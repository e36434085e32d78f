#include "virga/engine/lambda_service.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/engine/lambda_api.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/zip.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::string_view kVersion = "$LATEST";

/// Thrown by what handles a request; becomes its answer.
struct Refused {
  lambda::ServiceError error;
};
[[noreturn]] void refuse(int status, std::string code, std::string message) {
  throw Refused{{.status = status, .code = std::move(code), .message = std::move(message)}};
}
[[noreturn]] void refuse_value(std::string message) {
  refuse(400, "InvalidParameterValueException", std::move(message));
}
[[noreturn]] void refuse_form(std::string message) { refuse(400, "ValidationException", std::move(message)); }
[[noreturn]] void refuse(const LambdaRefusal& refusal) {
  throw Refused{{.status = refusal.status,
                 .code = refusal.type,
                 .message = refusal.message,
                 .type = "User",
                 .reason = refusal.reason}};
}

std::string now_text() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}+0000", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.time_since_epoch().count() % 1000);
}

std::chrono::seconds now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
}

HostedFunction hosted(const lambda::FunctionConfiguration& configuration) {
  return {.handler = configuration.handler,
          .environment = configuration.environment,
          .memory_bytes = std::uint64_t{configuration.memory_mb} << 20U,
          .timeout = configuration.timeout,
          .tmp_bytes = std::uint64_t{configuration.tmp_mb} << 20U};
}

void refuse_others(const std::vector<std::string>& others) {
  if (!others.empty()) refuse_value(others.front() + " is not supported by the local engine");
}

void refuse_objection(const std::optional<std::string>& objection) {
  if (objection) refuse_form("1 validation error detected: " + *objection);
}

}  // namespace

struct LambdaService::Call {
  const HttpRequest& request;
  const HttpReply& reply;
  std::string name = {};  // of the function, where the path has one

  void answer(int status, std::string body) const {
    reply.send({status, {{"Content-Type", "application/json"}}, std::move(body)});
  }
};

LambdaService::LambdaService(FunctionHost& host, Options options) : host_(host), options_(std::move(options)) {
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  if (error) throw system_error("cannot create " + options_.folder.string(), error.value());
}

void LambdaService::handle(const HttpRequest& request, const HttpReply& reply) {
  const auto find_credentials = [&](std::string_view id) -> std::optional<Credentials> {
    if (id != options_.credentials.access_key_id) return std::nullopt;
    return options_.credentials;
  };
  if (const auto refusal =
          verify(request, find_credentials, {options_.region, "lambda"}, std::chrono::system_clock::now())) {
    reply.send(lambda::response_of({.status = refusal->status, .code = refusal->code, .message = refusal->message}));
    return;
  }
  Call call{request, reply};
  try {
    dispatch(call);
  } catch (const Refused& refused) {
    reply.send(lambda::response_of(refused.error));
  } catch (const Error& error) {
    const bool is_theirs = error.kind() == ErrorKind::kBadData || error.kind() == ErrorKind::kTooLarge;
    reply.send(lambda::response_of({.status = is_theirs ? 400 : 500,
                                    .code = is_theirs ? "InvalidRequestContentException" : "ServiceException",
                                    .message = error.what(),
                                    .type = is_theirs ? "User" : "Service"}));
  }
}

void LambdaService::dispatch(Call& call) {
  using lambda::Operation;
  const auto asked = lambda::call_of(call.request.method, call.request.target);
  if (!asked) {
    refuse(404, "UnknownOperationException",
           fmt::format("the local engine has no operation {} {}", call.request.method, path_of(call.request.target)));
  }
  if (!asked->qualifier.empty() && asked->qualifier != kVersion) {
    refuse(404, "ResourceNotFoundException",
           fmt::format("Function not found: {}:{}: there are no versions and aliases here besides {}",
                       arn_of(asked->function), asked->qualifier, kVersion));
  }
  call.name = asked->function;
  static const std::map<Operation, Route> kRoutes = {
      {Operation::kCreateFunction, &LambdaService::create},
      {Operation::kGetFunction, &LambdaService::get},
      {Operation::kGetFunctionConfiguration, &LambdaService::get_configuration},
      {Operation::kListFunctions, &LambdaService::list},
      {Operation::kUpdateFunctionConfiguration, &LambdaService::update_configuration},
      {Operation::kUpdateFunctionCode, &LambdaService::update_code},
      {Operation::kDeleteFunction, &LambdaService::remove},
      {Operation::kInvoke, &LambdaService::invoke},
      {Operation::kPutFunctionConcurrency, &LambdaService::put_concurrency},
      {Operation::kGetFunctionConcurrency, &LambdaService::get_concurrency},
      {Operation::kDeleteFunctionConcurrency, &LambdaService::delete_concurrency},
      {Operation::kPutFunctionEventInvokeConfig, &LambdaService::put_event_config},
      {Operation::kGetFunctionEventInvokeConfig, &LambdaService::get_event_config},
      {Operation::kDeleteFunctionEventInvokeConfig, &LambdaService::delete_event_config},
  };
  (this->*kRoutes.at(asked->operation))(call);
}

std::string LambdaService::arn_of(const std::string& name) const {
  return fmt::format("arn:aws:lambda:{}:{}:function:{}", options_.region, options_.account, name);
}

LambdaService::Function& LambdaService::find(std::string_view name) {
  const auto at = functions_.find(std::string(name));
  if (at == functions_.end()) {
    refuse(404, "ResourceNotFoundException", "Function not found: " + arn_of(std::string(name)));
  }
  return at->second;
}

std::filesystem::path LambdaService::unpack(const std::string& name, const std::string& zip) {
  auto folder = options_.folder / fmt::format("{}-{}", name, ++packages_);
  try {
    unpack_zip(zip, folder);
    if (!std::filesystem::exists(folder / "bootstrap")) {
      throw Error(ErrorKind::kBadData, "the package has no bootstrap, which the runtime provided.* needs");
    }
  } catch (const Error& error) {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    if (error.kind() == ErrorKind::kIo) throw;
    refuse_value(fmt::format("Could not unzip uploaded file. {}", error.what()));
  }
  return folder;
}

void LambdaService::install(Function& function, const std::string& zip) {
  auto& configuration = function.configuration;
  auto code = unpack(configuration.function_name, zip);
  configuration.code_size = zip.size();
  configuration.code_sha256 = sha256_base64(zip);
  host_.put(configuration.function_name, configuration.function_arn, hosted(configuration), std::move(code));
}

void LambdaService::create(Call& call) {
  const auto request = lambda::decode_create_function(call.request.body);
  refuse_objection(lambda::objection(request));
  refuse_others(request.others);
  const auto reference = lambda::parse_function_reference(request.function_name);
  if (!reference || !reference->qualifier.empty()) refuse_form(request.function_name + " is no name of a function");
  const auto& name = reference->name;
  if (functions_.contains(name)) refuse(409, "ResourceConflictException", "Function already exist: " + name);
  if (!request.runtime.starts_with("provided")) {
    refuse_value(fmt::format("runtime {}: the local engine runs provided.* only", request.runtime));
  }
  Function function;
  auto& configuration = function.configuration;
  configuration.function_name = name;
  configuration.function_arn = arn_of(name);
  configuration.runtime = request.runtime;
  configuration.role = request.role;
  configuration.handler = request.handler;
  configuration.description = request.description;
  configuration.timeout = request.timeout;
  configuration.memory_mb = request.memory_mb;
  configuration.tmp_mb = request.tmp_mb;
  configuration.environment = request.environment;
  configuration.architectures = request.architectures;
  configuration.last_modified = now_text();
  configuration.revision_id = new_request_id();
  function.tags = request.tags;
  install(function, request.zip);
  call.answer(201, encode(configuration));
  functions_.emplace(name, std::move(function));
}

void LambdaService::list(Call& call) {
  std::size_t most = lambda::kMostFunctionsInPage;
  std::string after;
  for (const auto& [name, value] : query_of(call.request.target)) {
    if (name == "Marker") after = value;
    if (name != "MaxItems") continue;
    const bool digits =
        !value.empty() && value.size() < 6 && std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || std::stoul(value) == 0) refuse_form("MaxItems: a number from 1 on");
    most = std::min(most, std::stoul(value));
  }
  lambda::FunctionPage page;
  for (auto at = functions_.upper_bound(after); at != functions_.end(); ++at) {
    if (page.functions.size() == most) {
      page.next_marker = page.functions.back().function_name;
      break;
    }
    page.functions.push_back(at->second.configuration);
  }
  call.answer(200, encode(page));
}

void LambdaService::get(Call& call) {
  const auto& function = find(call.name);
  call.answer(200, encode(lambda::FunctionDescription{.configuration = function.configuration,
                                                      .code_location = "",
                                                      .tags = function.tags,
                                                      .reserved_concurrency = host_.reserved(call.name)}));
}

void LambdaService::get_configuration(Call& call) { call.answer(200, encode(find(call.name).configuration)); }

void LambdaService::update_configuration(Call& call) {
  auto& configuration = find(call.name).configuration;
  const auto request = lambda::decode_update_function_configuration(call.request.body);
  refuse_objection(lambda::objection(request));
  refuse_others(request.others);
  if (request.revision_id && *request.revision_id != configuration.revision_id) {
    refuse(412, "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id.");
  }
  const auto set = [](auto& to, const auto& from) {
    if (from) to = *from;
  };
  set(configuration.runtime, request.runtime);
  set(configuration.role, request.role);
  set(configuration.handler, request.handler);
  set(configuration.description, request.description);
  set(configuration.timeout, request.timeout);
  set(configuration.memory_mb, request.memory_mb);
  set(configuration.tmp_mb, request.tmp_mb);
  set(configuration.environment, request.environment);
  configuration.last_modified = now_text();
  configuration.revision_id = new_request_id();
  host_.configure(configuration.function_name, hosted(configuration));
  call.answer(200, encode(configuration));
}

void LambdaService::update_code(Call& call) {
  auto& function = find(call.name);
  const auto request = lambda::decode_update_function_code(call.request.body);
  refuse_objection(lambda::objection(request));
  refuse_others(request.others);
  if (request.revision_id && *request.revision_id != function.configuration.revision_id) {
    refuse(412, "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id.");
  }
  if (!request.dry_run) {
    install(function, request.zip);
    function.configuration.last_modified = now_text();
    function.configuration.revision_id = new_request_id();
  }
  call.answer(200, encode(function.configuration));
}

void LambdaService::remove(Call& call) {
  const auto name = call.name;
  (void)find(name);
  host_.remove(name);
  functions_.erase(name);
  call.reply.send({204, {}, ""});
}

void LambdaService::invoke(Call& call) {
  (void)find(call.name);
  auto request = lambda::decode_invoke_request(call.request);
  using lambda::InvocationType;
  if (request.type == InvocationType::kDryRun) return call.reply.send(encode(lambda::InvokeResponse{.status = 204}));
  const bool is_event = request.type == InvocationType::kEvent;
  const auto most = is_event ? lambda::kMostEventBytes : lambda::kMostRequestBytes;
  if (request.payload.size() > most) {
    refuse(413, "RequestTooLargeException",
           fmt::format("{} byte payload is too large for the {} invocation type (limit {} bytes)",
                       request.payload.size(), to_string(request.type), most));
  }
  if (request.payload.empty()) request.payload = "{}";
  if (!json::accept(request.payload)) {
    refuse(400, "InvalidRequestContentException", "Could not parse request body into json: it is not a JSON document");
  }
  if (is_event) {
    if (const auto refused = host_.enqueue(call.name, request.payload)) refuse(*refused);
    call.reply.send(encode(lambda::InvokeResponse{.status = 202, .request_id = host_.last_request_id()}));
    return;
  }
  const auto answer = [reply = call.reply, with_log = request.log_tail](FunctionHost::Outcome outcome) {
    const bool failed = outcome.how != FunctionHost::Outcome::How::kAnswered;
    reply.send(encode(lambda::InvokeResponse{.request_id = outcome.bill.request_id,
                                             .function_error = failed ? "Unhandled" : "",
                                             .log_tail = with_log ? std::move(outcome.log_tail) : std::string(),
                                             .payload = std::move(outcome.body)}));
  };
  if (const auto refused = host_.invoke(call.name, std::move(request.payload), answer)) refuse(*refused);
}

void LambdaService::put_concurrency(Call& call) {
  (void)find(call.name);
  const auto request = lambda::decode_concurrency(call.request.body);
  if (!request.reserved) refuse_form("ReservedConcurrentExecutions is missing");
  if (const auto refused = host_.reserve(call.name, request.reserved)) refuse(*refused);
  call.answer(200, encode(request));
}
void LambdaService::get_concurrency(Call& call) {
  (void)find(call.name);
  call.answer(200, encode(lambda::Concurrency{host_.reserved(call.name)}));
}
void LambdaService::delete_concurrency(Call& call) {
  (void)find(call.name);
  if (const auto refused = host_.reserve(call.name, std::nullopt)) refuse(*refused);
  call.reply.send({204, {}, ""});
}

void LambdaService::put_event_config(Call& call) {
  auto& function = find(call.name);
  const auto request = lambda::decode_event_invoke_config(call.request.body);
  if (request.maximum_retry_attempts.value_or(0) > lambda::kMostRetryAttempts) {
    refuse_form("MaximumRetryAttempts is 0, 1 or 2");
  }
  if (request.maximum_event_age) {
    refuse_value("MaximumEventAgeInSeconds is not supported by the local engine");
  }
  host_.limit_retries(call.name, request.maximum_retry_attempts.value_or(lambda::kDefaultRetryAttempts));
  function.retries_modified = now_seconds();
  get_event_config(call);
}
void LambdaService::get_event_config(Call& call) {
  const auto& function = find(call.name);
  if (function.retries_modified.count() == 0) {
    refuse(404, "ResourceNotFoundException",
           fmt::format("The function {} doesn't have an EventInvokeConfig", function.configuration.function_arn));
  }
  call.answer(200, encode(lambda::EventInvokeConfig{.maximum_retry_attempts = host_.retries(call.name),
                                                    .maximum_event_age = std::nullopt,
                                                    .function_arn = function.configuration.function_arn + ":$LATEST",
                                                    .last_modified = function.retries_modified}));
}
void LambdaService::delete_event_config(Call& call) {
  find(call.name).retries_modified = {};
  host_.limit_retries(call.name, lambda::kDefaultRetryAttempts);
  call.reply.send({204, {}, ""});
}

}  // namespace virga
