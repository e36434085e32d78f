#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/error.h"
#include "virga/engine/lambda_types.h"
#include "virga/net/http.h"

namespace virga::lambda {

// How the documents of lambda_types.h travel over HTTP: paths, headers, errors. Pure. Both sides use it.

enum class Operation : std::uint8_t {
  kCreateFunction,
  kGetFunction,
  kGetFunctionConfiguration,
  kListFunctions,
  kUpdateFunctionConfiguration,
  kUpdateFunctionCode,
  kDeleteFunction,
  kInvoke,
  kPutFunctionConcurrency,
  kGetFunctionConcurrency,
  kDeleteFunctionConcurrency,
  kPutFunctionEventInvokeConfig,
  kGetFunctionEventInvokeConfig,
  kDeleteFunctionEventInvokeConfig,
};
[[nodiscard]] std::string_view to_string(Operation operation) noexcept;  ///< "CreateFunction"

/// What a request asks for.
struct Call {
  Operation operation = Operation::kListFunctions;
  std::string function;   ///< its name alone; empty where the path has none
  std::string qualifier;  ///< of the name or the query; empty: none
  bool operator==(const Call&) const = default;
};
/// Of a method and a target. Nothing if there is no such operation. Throws Error(kBadData) for a function's name that
/// cannot be one.
[[nodiscard]] std::optional<Call> call_of(std::string_view method, std::string_view target);
/// A request for `operation` on `function` (a name; empty where there is none), with its body as JSON. `query` is what
/// comes after '?', encoded; empty: none. Host and signature are left to be added.
[[nodiscard]] HttpRequest request_for(Operation operation, std::string_view function, std::string body = {},
                                      std::string_view query = {});

/// A function as requests may name it, "name", "name:qualifier", "123456789012:function:name" or its ARN, taken apart.
struct FunctionReference {
  std::string name, qualifier;
  bool operator==(const FunctionReference&) const = default;
};
[[nodiscard]] std::optional<FunctionReference> parse_function_reference(std::string_view text);

/// An error in the words of AWS: header X-Amzn-Errortype, body {"Type", "Message" or "message", "Reason"}.
struct ServiceError {
  int status = 500;
  std::string code;     ///< "ResourceNotFoundException"
  std::string message;  ///< for people
  std::string type = "User";
  std::string reason;  ///< of TooManyRequestsException: "ReservedFunctionConcurrentInvocationLimitExceeded"
  std::optional<std::chrono::seconds> retry_after;
  bool operator==(const ServiceError&) const = default;
};
[[nodiscard]] HttpResponse response_of(const ServiceError& error);
/// Of a response with a status of 300 or more. Never throws: what is not understood becomes the message, cut short.
[[nodiscard]] ServiceError error_of(const HttpResponse& response);
/// What kind of Error that is to our callers.
[[nodiscard]] ErrorKind kind_of(const ServiceError& error) noexcept;

enum class InvocationType : std::uint8_t { kRequestResponse, kEvent, kDryRun };
[[nodiscard]] std::string_view to_string(InvocationType type) noexcept;  ///< "RequestResponse"

struct InvokeRequest {
  std::string function;
  std::string qualifier = {};
  InvocationType type = InvocationType::kRequestResponse;
  bool log_tail = false;            ///< X-Amz-Log-Type: Tail
  std::string client_context = {};  ///< JSON for the function's context; base64 on the wire; empty: none
  std::string payload;              ///< JSON
  bool operator==(const InvokeRequest&) const = default;
};
[[nodiscard]] HttpRequest encode(const InvokeRequest& request);
/// Throws Error(kBadData), naming what is wrong.
[[nodiscard]] InvokeRequest decode_invoke_request(const HttpRequest& request);

struct InvokeResponse {
  int status = 200;            ///< 200 RequestResponse, 202 Event, 204 DryRun
  std::string request_id;      ///< X-Amzn-Requestid
  std::string function_error;  ///< "", "Handled", "Unhandled"
  std::string log_tail;        ///< decoded; empty where none was asked for
  std::string executed_version = "$LATEST";
  std::string payload;  ///< the answer, or a FunctionError
  bool operator==(const InvokeResponse&) const = default;
};
[[nodiscard]] HttpResponse encode(const InvokeResponse& response);
/// Of a response with a status below 300. Throws Error(kBadData).
[[nodiscard]] InvokeResponse decode_invoke_response(const HttpResponse& response);

}  // namespace virga::lambda
