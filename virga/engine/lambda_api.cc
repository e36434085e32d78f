#include "virga/engine/lambda_api.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/engine/lambda_members.h"
#include "virga/net/sigv4.h"

namespace virga::lambda {
namespace {

using nlohmann::json;

constexpr std::size_t kMostMessageBytes = 2000;

/// An operation's place: "/VERSION/functions[/NAME[/LAST]]".
struct Place {
  Operation operation;
  std::string_view name, method, version;
  bool has_function;
  std::string_view last;
};
using enum Operation;
constexpr std::array<Place, 14> kPlaces = {{
    {kCreateFunction, "CreateFunction", "POST", "2015-03-31", false, ""},
    {kGetFunction, "GetFunction", "GET", "2015-03-31", true, ""},
    {kGetFunctionConfiguration, "GetFunctionConfiguration", "GET", "2015-03-31", true, "configuration"},
    {kListFunctions, "ListFunctions", "GET", "2015-03-31", false, ""},
    {kUpdateFunctionConfiguration, "UpdateFunctionConfiguration", "PUT", "2015-03-31", true, "configuration"},
    {kUpdateFunctionCode, "UpdateFunctionCode", "PUT", "2015-03-31", true, "code"},
    {kDeleteFunction, "DeleteFunction", "DELETE", "2015-03-31", true, ""},
    {kInvoke, "Invoke", "POST", "2015-03-31", true, "invocations"},
    {kPutFunctionConcurrency, "PutFunctionConcurrency", "PUT", "2017-10-31", true, "concurrency"},
    {kGetFunctionConcurrency, "GetFunctionConcurrency", "GET", "2019-09-30", true, "concurrency"},
    {kDeleteFunctionConcurrency, "DeleteFunctionConcurrency", "DELETE", "2017-10-31", true, "concurrency"},
    {kPutFunctionEventInvokeConfig, "PutFunctionEventInvokeConfig", "PUT", "2019-09-25", true, "event-invoke-config"},
    {kGetFunctionEventInvokeConfig, "GetFunctionEventInvokeConfig", "GET", "2019-09-25", true, "event-invoke-config"},
    {kDeleteFunctionEventInvokeConfig, "DeleteFunctionEventInvokeConfig", "DELETE", "2019-09-25", true,
     "event-invoke-config"},
}};

const Place& place_of(Operation operation) noexcept { return kPlaces[static_cast<std::size_t>(operation)]; }

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

const std::string& header(const std::vector<HttpHeader>& headers, std::string_view name) {
  static const std::string kNone;
  const auto* found = find_header(headers, name);
  return found == nullptr ? kNone : *found;
}

bool is_qualifier(std::string_view text) {
  if (text.starts_with('$')) text.remove_prefix(1);
  return is_function_name(text.substr(0, kMostNameBytes)) && text.size() <= 128;
}

std::string decoded(const std::string& base64, std::string_view what) {
  try {
    return base64_decode(base64);
  } catch (const Error&) {
    refuse(fmt::format("{} is not base64", what));
  }
}

/// Some of AWS's errors have "Message", the others "message".
bool has_capital_message(std::string_view code) {
  return code == "ResourceNotFoundException" || code == "ServiceException" || code == "PreconditionFailedException";
}

/// In one line of printable text.
std::string plain(std::string_view text) {
  std::string result(text.substr(0, kMostMessageBytes));
  std::ranges::replace_if(
      result, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return result;
}

}  // namespace

std::string_view to_string(Operation operation) noexcept { return place_of(operation).name; }

std::string_view to_string(InvocationType type) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"RequestResponse", "Event", "DryRun"};
  return kNames[static_cast<std::size_t>(type)];
}

std::optional<FunctionReference> parse_function_reference(std::string_view text) {
  auto parts = split(text, ':');
  // arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER], ACCOUNT:function:NAME[:QUALIFIER], NAME[:QUALIFIER]
  const auto function = std::ranges::find(parts, "function");
  if (function != parts.end() && parts.size() > 2) {
    const auto before = function - parts.begin();
    const bool is_arn = before == 5 && parts[0] == "arn" && parts[2] == "lambda";
    if (!is_arn && before > 1) return std::nullopt;
    parts.erase(parts.begin(), function + 1);
  }
  if (parts.empty() || parts.size() > 2 || !is_function_name(parts[0])) return std::nullopt;
  if (parts.size() == 2 && !is_qualifier(parts[1])) return std::nullopt;
  return FunctionReference{.name = std::string(parts[0]), .qualifier = std::string(parts.size() == 2 ? parts[1] : "")};
}

std::optional<Call> call_of(std::string_view method, std::string_view target) {
  auto path = path_of(target);
  if (path.ends_with('/')) path.remove_suffix(1);
  const auto parts = split(path, '/');  // "", version, "functions", name, last
  if (parts.size() < 3 || parts.size() > 5 || !parts[0].empty() || parts[2] != "functions") return std::nullopt;
  const bool has_function = parts.size() > 3;
  const std::string_view last = parts.size() == 5 ? parts[4] : "";
  const auto* const place = std::ranges::find_if(kPlaces, [&](const Place& p) {
    return p.method == method && p.version == parts[1] && p.has_function == has_function && p.last == last;
  });
  if (place == kPlaces.end()) return std::nullopt;
  Call call{.operation = place->operation, .function = {}, .qualifier = {}};
  if (has_function) {
    const auto reference = parse_function_reference(percent_decode(parts[3]));
    if (!reference) refuse(fmt::format("the function's name cannot be \"{}\"", plain(parts[3].substr(0, 200))));
    call.function = reference->name;
    call.qualifier = reference->qualifier;
  }
  const auto query = query_of(target);
  if (const auto& qualifier = header(query, "Qualifier"); !qualifier.empty()) call.qualifier = qualifier;
  return call;
}

HttpRequest request_for(Operation operation, std::string_view function, std::string body, std::string_view query) {
  const auto& place = place_of(operation);
  HttpRequest request;
  request.method = place.method;
  request.target = fmt::format("/{}/functions", place.version);
  if (place.has_function) request.target += "/" + percent_encode(function);
  if (!place.last.empty()) request.target += fmt::format("/{}", place.last);
  if (!query.empty()) request.target += fmt::format("?{}", query);
  if (!body.empty()) request.headers.push_back({.name = "Content-Type", .value = "application/json"});
  request.body = std::move(body);
  return request;
}

HttpResponse response_of(const ServiceError& error) {
  json body = {{"Type", error.type}, {has_capital_message(error.code) ? "Message" : "message", error.message}};
  if (!error.reason.empty()) body["Reason"] = error.reason;
  HttpResponse response;
  response.status = error.status;
  response.headers = {{.name = "Content-Type", .value = "application/json"},
                      {.name = "x-amzn-ErrorType", .value = error.code}};
  if (error.retry_after) {
    response.headers.push_back({.name = "Retry-After", .value = std::to_string(error.retry_after->count())});
  }
  response.body = dump(body);
  return response;
}

ServiceError error_of(const HttpResponse& response) {
  ServiceError error{.status = response.status, .code = {}, .message = {}, .type = {}, .reason = {}, .retry_after = {}};
  // "ResourceNotFoundException:http://internal.amazon.com/..." has been seen.
  const std::string_view code = header(response.headers, "x-amzn-ErrorType");
  error.code = plain(code.substr(0, std::min(code.find(':'), std::size_t{100})));
  if (const auto& after = header(response.headers, "Retry-After"); !after.empty()) {
    std::uint32_t seconds = 0;
    const auto [end, failure] = std::from_chars(after.data(), after.data() + after.size(), seconds);
    if (failure == std::errc() && end == after.data() + after.size()) error.retry_after = std::chrono::seconds(seconds);
  }
  try {
    const auto document = parse_document(response.body);
    const Members from(document, "");
    from.get("Message", error.message);
    from.get("message", error.message);
    from.get("Type", error.type);
    from.get("Reason", error.reason);
  } catch (const Error&) {
    error.message = response.body;
  }
  error.message = plain(error.message);
  error.type = plain(error.type);
  error.reason = plain(error.reason);
  return error;
}

ErrorKind kind_of(const ServiceError& error) noexcept {
  const std::string_view code = error.code;
  if (code == "TooManyRequestsException" || code == "ThrottlingException" || error.status == 429) {
    return ErrorKind::kThrottled;
  }
  if (code == "ResourceNotReadyException") return ErrorKind::kUnavailable;
  if (code == "CodeStorageExceededException" || error.status == 413) return ErrorKind::kTooLarge;
  if (error.status == 401 || error.status == 403) return ErrorKind::kUnauthorized;
  for (const auto* refused :
       {"UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature",
        "IncompleteSignatureException", "ExpiredTokenException", "AccessDeniedException"}) {
    if (code == refused) return ErrorKind::kUnauthorized;
  }
  if (error.status == 404) return ErrorKind::kNotFound;
  if (error.status == 409 || error.status == 412) return ErrorKind::kConflict;
  if (error.status >= 400 && error.status < 500) return ErrorKind::kUsage;
  if (error.status >= 500) return ErrorKind::kUnavailable;
  return ErrorKind::kBadData;
}

HttpRequest encode(const InvokeRequest& r) {
  const auto query = r.qualifier.empty() ? "" : "Qualifier=" + percent_encode(r.qualifier);
  auto request = request_for(kInvoke, r.function, r.payload, query);
  request.headers.push_back({.name = "X-Amz-Invocation-Type", .value = std::string(to_string(r.type))});
  request.headers.push_back({.name = "X-Amz-Log-Type", .value = r.log_tail ? "Tail" : "None"});
  if (!r.client_context.empty()) {
    request.headers.push_back({.name = "X-Amz-Client-Context", .value = base64_encode(r.client_context)});
  }
  return request;
}

InvokeRequest decode_invoke_request(const HttpRequest& request) {
  const auto call = call_of(request.method, request.target);
  if (!call || call->operation != kInvoke) refuse("not an invocation");
  InvokeRequest r{.function = call->function, .qualifier = call->qualifier, .payload = request.body};
  if (const auto& type = header(request.headers, "X-Amz-Invocation-Type"); !type.empty()) {
    bool is_known = false;
    for (const auto known : {InvocationType::kRequestResponse, InvocationType::kEvent, InvocationType::kDryRun}) {
      if (type != to_string(known)) continue;
      r.type = known;
      is_known = true;
    }
    if (!is_known) refuse(fmt::format("X-Amz-Invocation-Type cannot be \"{}\"", plain(type.substr(0, 100))));
  }
  const auto& log = header(request.headers, "X-Amz-Log-Type");
  if (!log.empty() && log != "None" && log != "Tail") {
    refuse(fmt::format("X-Amz-Log-Type cannot be \"{}\"", plain(log.substr(0, 100))));
  }
  r.log_tail = log == "Tail";
  const auto& context = header(request.headers, "X-Amz-Client-Context");
  if (context.size() > kMostClientContextBytes) {
    refuse(
        fmt::format("X-Amz-Client-Context has {} bytes, but {} is the most", context.size(), kMostClientContextBytes));
  }
  r.client_context = decoded(context, "X-Amz-Client-Context");
  return r;
}

HttpResponse encode(const InvokeResponse& r) {
  HttpResponse response;
  response.status = r.status;
  response.headers = {{.name = "x-amzn-RequestId", .value = r.request_id},
                      {.name = "X-Amz-Executed-Version", .value = r.executed_version}};
  if (!r.payload.empty()) response.headers.push_back({.name = "Content-Type", .value = "application/json"});
  if (!r.function_error.empty()) {
    response.headers.push_back({.name = "X-Amz-Function-Error", .value = r.function_error});
  }
  if (!r.log_tail.empty()) {
    response.headers.push_back({.name = "X-Amz-Log-Result", .value = base64_encode(r.log_tail)});
  }
  response.body = r.payload;
  return response;
}

InvokeResponse decode_invoke_response(const HttpResponse& response) {
  InvokeResponse r;
  r.status = response.status;
  r.request_id = plain(header(response.headers, "x-amzn-RequestId"));
  r.function_error = plain(header(response.headers, "X-Amz-Function-Error"));
  r.executed_version = plain(header(response.headers, "X-Amz-Executed-Version"));
  r.log_tail = decoded(header(response.headers, "X-Amz-Log-Result"), "X-Amz-Log-Result");
  if (response.body.size() > kMostResponseBytes) {
    refuse(fmt::format("the answer has {} bytes, but {} is the most", response.body.size(), kMostResponseBytes));
  }
  r.payload = response.body;
  return r;
}

}  // namespace virga::lambda
