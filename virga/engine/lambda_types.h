#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/engine/lambda_limits.h"

namespace virga::lambda {

// The documents of AWS Lambda's REST API (version 2015-03-31), as clients and the local engine exchange them. Pure.
// What is decoded is bounded in size and depth; members that are not known are passed over, as AWS adds some now and
// then. Every decode_...() throws Error(kBadData), naming the member that is missing or of the wrong type.

using Variables = std::map<std::string, std::string>;

/// A function as it stands. Sizes in MB are those of AWS, 1024 * 1024 bytes.
struct FunctionConfiguration {
  std::string function_name, function_arn;
  std::string runtime = "provided.al2023";
  std::string role, handler, description;
  std::uint64_t code_size = 0;  ///< of the zip, in bytes
  std::string code_sha256;      ///< of the zip, in base64
  std::chrono::seconds timeout = kDefaultTimeout;
  std::uint32_t memory_mb = kDefaultMemoryMb;
  std::uint32_t tmp_mb = kDefaultTmpMb;  ///< EphemeralStorage
  Variables environment;
  std::string last_modified;  ///< "2025-01-31T12:00:00.000+0000"
  std::string version = "$LATEST";
  std::string revision_id;
  std::string package_type = "Zip";
  std::vector<std::string> architectures = {"x86_64"};
  std::string state = "Active";  ///< "Pending", "Active", "Inactive", "Failed"
  std::string state_reason, state_reason_code;
  std::string last_update_status = "Successful";  ///< "Successful", "Failed", "InProgress"
  std::string last_update_status_reason;
  bool operator==(const FunctionConfiguration&) const = default;
};
[[nodiscard]] std::string encode(const FunctionConfiguration& configuration);
[[nodiscard]] FunctionConfiguration decode_function_configuration(std::string_view text);

struct CreateFunctionRequest {
  std::string function_name;
  std::string runtime = "provided.al2023";
  std::string role;
  std::string handler = "bootstrap";
  std::string zip;  ///< the bytes; base64 on the wire
  std::string description;
  std::chrono::seconds timeout = kDefaultTimeout;
  std::uint32_t memory_mb = kDefaultMemoryMb;
  std::uint32_t tmp_mb = kDefaultTmpMb;
  Variables environment;
  std::vector<std::string> architectures = {"x86_64"};
  std::string package_type = "Zip";
  bool publish = false;
  Variables tags;
  /// Members that were given, not empty, and are not among these: "Layers", "Code.S3Bucket". Decoded only.
  std::vector<std::string> others = {};
  bool operator==(const CreateFunctionRequest&) const = default;
};
[[nodiscard]] std::string encode(const CreateFunctionRequest& request);
[[nodiscard]] CreateFunctionRequest decode_create_function(std::string_view text);

/// What is not there stays as it is.
struct UpdateFunctionConfigurationRequest {
  std::optional<std::string> runtime, role, handler, description;
  std::optional<std::chrono::seconds> timeout;
  std::optional<std::uint32_t> memory_mb, tmp_mb;
  std::optional<Variables> environment;
  std::optional<std::string> revision_id;  ///< then refused (412) unless it is the function's
  std::vector<std::string> others = {};    ///< as above
  bool operator==(const UpdateFunctionConfigurationRequest&) const = default;
};
[[nodiscard]] std::string encode(const UpdateFunctionConfigurationRequest& request);
[[nodiscard]] UpdateFunctionConfigurationRequest decode_update_function_configuration(std::string_view text);

struct UpdateFunctionCodeRequest {
  std::string zip;
  bool publish = false, dry_run = false;
  std::optional<std::vector<std::string>> architectures;
  std::optional<std::string> revision_id;
  std::vector<std::string> others = {};  ///< as above
  bool operator==(const UpdateFunctionCodeRequest&) const = default;
};
[[nodiscard]] std::string encode(const UpdateFunctionCodeRequest& request);
[[nodiscard]] UpdateFunctionCodeRequest decode_update_function_code(std::string_view text);

/// The answer of GetFunction.
struct FunctionDescription {
  FunctionConfiguration configuration;
  std::string code_location;  ///< a URL of the zip; may be empty
  Variables tags;
  std::optional<std::uint32_t> reserved_concurrency;
  bool operator==(const FunctionDescription&) const = default;
};
[[nodiscard]] std::string encode(const FunctionDescription& description);
[[nodiscard]] FunctionDescription decode_function_description(std::string_view text);

/// A page of ListFunctions.
struct FunctionPage {
  std::vector<FunctionConfiguration> functions;
  std::string next_marker;  ///< empty: it is the last
  bool operator==(const FunctionPage&) const = default;
};
[[nodiscard]] std::string encode(const FunctionPage& page);
[[nodiscard]] FunctionPage decode_function_page(std::string_view text);

/// PutFunctionConcurrency and its answer; none (of GetFunctionConcurrency): nothing is reserved.
struct Concurrency {
  std::optional<std::uint32_t> reserved;
  bool operator==(const Concurrency&) const = default;
};
[[nodiscard]] std::string encode(const Concurrency& concurrency);
[[nodiscard]] Concurrency decode_concurrency(std::string_view text);

/// PutFunctionEventInvokeConfig and its answer: what becomes of asynchronous invocations that fail.
struct EventInvokeConfig {
  std::optional<std::uint32_t> maximum_retry_attempts;
  std::optional<std::chrono::seconds> maximum_event_age;
  std::string function_arn;              ///< of the answer
  std::chrono::seconds last_modified{};  ///< of the answer, since 1970
  bool operator==(const EventInvokeConfig&) const = default;
};
[[nodiscard]] std::string encode(const EventInvokeConfig& config);
[[nodiscard]] EventInvokeConfig decode_event_invoke_config(std::string_view text);

/// What a function says of its failure, the body of an answer with X-Amz-Function-Error.
struct FunctionError {
  std::string error_type, error_message;
  std::vector<std::string> stack_trace;
  bool operator==(const FunctionError&) const = default;
};
[[nodiscard]] std::string encode(const FunctionError& error);
/// Never throws: functions write what they like. What is not such a document becomes the message.
[[nodiscard]] FunctionError decode_function_error(std::string_view text);

/// What AWS's limits (lambda_limits.h) say against a request, in words that begin like those of AWS: "Value '64' at
/// 'memorySize' failed to satisfy constraint: ..."; nothing: all is well.
[[nodiscard]] std::optional<std::string> objection(const CreateFunctionRequest& request);
[[nodiscard]] std::optional<std::string> objection(const UpdateFunctionConfigurationRequest& request);
[[nodiscard]] std::optional<std::string> objection(const UpdateFunctionCodeRequest& request);
[[nodiscard]] bool is_function_name(std::string_view name) noexcept;

}  // namespace virga::lambda
