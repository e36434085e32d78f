#include "virga/engine/lambda_types.h"

#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/engine/lambda_members.h"
#include "virga/net/sigv4.h"

namespace virga::lambda {
namespace {

using nlohmann::json;

template <typename T>
void put(json& to, const char* name, const std::optional<T>& value) {
  if (value) to[name] = *value;
}
void put(json& to, const char* name, const std::optional<std::chrono::seconds>& value) {
  if (value) to[name] = value->count();
}
void put(json& to, const char* name, const std::string& value) {
  if (!value.empty()) to[name] = value;
}

void read_environment(const Members& from, Variables& environment) {
  from.inside("Environment", [&](const Members& inner) { inner.get("Variables", environment); });
}
void read_tmp(const Members& from, std::uint32_t& megabytes) {
  from.inside("EphemeralStorage", [&](const Members& inner) { inner.get("Size", megabytes); });
}

json to_json(const FunctionConfiguration& c) {
  json j = {{"FunctionName", c.function_name},
            {"FunctionArn", c.function_arn},
            {"Role", c.role},
            {"CodeSize", c.code_size},
            {"CodeSha256", c.code_sha256},
            {"Description", c.description},
            {"Timeout", c.timeout.count()},
            {"MemorySize", c.memory_mb},
            {"EphemeralStorage", {{"Size", c.tmp_mb}}},
            {"LastModified", c.last_modified},
            {"Version", c.version},
            {"RevisionId", c.revision_id},
            {"PackageType", c.package_type},
            {"Architectures", c.architectures},
            {"State", c.state},
            {"LastUpdateStatus", c.last_update_status},
            {"TracingConfig", {{"Mode", "PassThrough"}}}};
  if (!c.environment.empty()) j["Environment"] = {{"Variables", c.environment}};
  put(j, "Runtime", c.runtime);
  put(j, "Handler", c.handler);
  put(j, "StateReason", c.state_reason);
  put(j, "StateReasonCode", c.state_reason_code);
  put(j, "LastUpdateStatusReason", c.last_update_status_reason);
  return j;
}

FunctionConfiguration configuration_from(const Members& from) {
  FunctionConfiguration c;
  c.runtime.clear();
  from.get("FunctionName", c.function_name);
  if (c.function_name.empty()) refuse(from.place("FunctionName") + " is missing");
  from.get("FunctionArn", c.function_arn);
  from.get("Runtime", c.runtime);
  from.get("Role", c.role);
  from.get("Handler", c.handler);
  from.get("Description", c.description);
  from.get("CodeSize", c.code_size);
  from.get("CodeSha256", c.code_sha256);
  from.get("Timeout", c.timeout);
  from.get("MemorySize", c.memory_mb);
  read_tmp(from, c.tmp_mb);
  read_environment(from, c.environment);
  from.get("LastModified", c.last_modified);
  from.get("Version", c.version);
  from.get("RevisionId", c.revision_id);
  from.get("PackageType", c.package_type);
  from.get("Architectures", c.architectures);
  from.get("State", c.state);
  from.get("StateReason", c.state_reason);
  from.get("StateReasonCode", c.state_reason_code);
  from.get("LastUpdateStatus", c.last_update_status);
  from.get("LastUpdateStatusReason", c.last_update_status_reason);
  return c;
}

/// `object`, which has some, with another member, as JSON has it: megabytes that need not pass through a serialiser.
std::string with_member(const json& object, const std::string& member) {
  return "{" + member + "," + dump(object).substr(1);
}

}  // namespace

std::string encode(const FunctionConfiguration& configuration) { return dump(to_json(configuration)); }

FunctionConfiguration decode_function_configuration(std::string_view text) {
  const auto document = parse_document(text);
  return configuration_from(Members(document, ""));
}

std::string encode(const CreateFunctionRequest& r) {
  json j = {{"FunctionName", r.function_name},
            {"Role", r.role},
            {"Timeout", r.timeout.count()},
            {"MemorySize", r.memory_mb},
            {"EphemeralStorage", {{"Size", r.tmp_mb}}},
            {"Architectures", r.architectures},
            {"PackageType", r.package_type},
            {"Publish", r.publish}};
  put(j, "Runtime", r.runtime);
  put(j, "Handler", r.handler);
  put(j, "Description", r.description);
  if (!r.environment.empty()) j["Environment"] = {{"Variables", r.environment}};
  if (!r.tags.empty()) j["Tags"] = r.tags;
  return with_member(j, R"("Code":{"ZipFile":")" + base64_encode(r.zip) + R"("})");
}

CreateFunctionRequest decode_create_function(std::string_view text) {
  const auto [document, base64] = parse_zip_document(text, "/Code/ZipFile");
  const Members from(document, "");
  CreateFunctionRequest r;
  r.runtime.clear();
  r.handler.clear();
  from.get("FunctionName", r.function_name);
  from.get("Runtime", r.runtime);
  from.get("Role", r.role);
  from.get("Handler", r.handler);
  from.get("Description", r.description);
  from.get("Timeout", r.timeout);
  from.get("MemorySize", r.memory_mb);
  read_tmp(from, r.tmp_mb);
  read_environment(from, r.environment);
  from.get("Architectures", r.architectures);
  from.get("PackageType", r.package_type);
  from.get("Publish", r.publish);
  from.get("Tags", r.tags);
  from.others({"FunctionName", "Runtime", "Role", "Handler", "Description", "Timeout", "MemorySize", "EphemeralStorage",
               "Environment", "Architectures", "PackageType", "Publish", "Tags", "Code"},
              r.others);
  if (from.find("Code") == nullptr) refuse("Code is missing");
  from.inside("Code", [&, zip = base64](const Members& code) {
    code.bytes("ZipFile", zip, r.zip);
    code.others({"ZipFile"}, r.others);
  });
  return r;
}

std::string encode(const UpdateFunctionConfigurationRequest& r) {
  json j = json::object();
  put(j, "Runtime", r.runtime);
  put(j, "Role", r.role);
  put(j, "Handler", r.handler);
  put(j, "Description", r.description);
  put(j, "Timeout", r.timeout);
  put(j, "MemorySize", r.memory_mb);
  if (r.tmp_mb) j["EphemeralStorage"] = {{"Size", *r.tmp_mb}};
  if (r.environment) j["Environment"] = {{"Variables", *r.environment}};
  put(j, "RevisionId", r.revision_id);
  return dump(j);
}

UpdateFunctionConfigurationRequest decode_update_function_configuration(std::string_view text) {
  const auto document = parse_document(text);
  const Members from(document, "");
  UpdateFunctionConfigurationRequest r;
  from.get("Runtime", r.runtime);
  from.get("Role", r.role);
  from.get("Handler", r.handler);
  from.get("Description", r.description);
  from.get("Timeout", r.timeout);
  from.get("MemorySize", r.memory_mb);
  from.inside("EphemeralStorage", [&](const Members& inner) { inner.get("Size", r.tmp_mb); });
  from.inside("Environment", [&](const Members& inner) { inner.get("Variables", r.environment.emplace()); });
  from.get("RevisionId", r.revision_id);
  from.others({"FunctionName", "Runtime", "Role", "Handler", "Description", "Timeout", "MemorySize", "EphemeralStorage",
               "Environment", "RevisionId"},
              r.others);
  return r;
}

std::string encode(const UpdateFunctionCodeRequest& r) {
  json j = {{"Publish", r.publish}, {"DryRun", r.dry_run}};
  put(j, "Architectures", r.architectures);
  put(j, "RevisionId", r.revision_id);
  return with_member(j, R"("ZipFile":")" + base64_encode(r.zip) + "\"");
}

UpdateFunctionCodeRequest decode_update_function_code(std::string_view text) {
  const auto [document, base64] = parse_zip_document(text, "/ZipFile");
  const Members from(document, "");
  UpdateFunctionCodeRequest r;
  from.bytes("ZipFile", base64, r.zip);
  from.get("Publish", r.publish);
  from.get("DryRun", r.dry_run);
  from.get("Architectures", r.architectures);
  from.get("RevisionId", r.revision_id);
  from.others({"FunctionName", "ZipFile", "Publish", "DryRun", "Architectures", "RevisionId"}, r.others);
  return r;
}

std::string encode(const FunctionDescription& d) {
  json j = {{"Configuration", to_json(d.configuration)}};
  j["Code"] = {{"RepositoryType", "S3"}, {"Location", d.code_location}};
  if (!d.tags.empty()) j["Tags"] = d.tags;
  if (d.reserved_concurrency) j["Concurrency"] = {{"ReservedConcurrentExecutions", *d.reserved_concurrency}};
  return dump(j);
}

FunctionDescription decode_function_description(std::string_view text) {
  const auto document = parse_document(text);
  const Members from(document, "");
  if (from.find("Configuration") == nullptr) refuse("Configuration is missing");
  FunctionDescription d;
  from.inside("Configuration", [&](const Members& inner) { d.configuration = configuration_from(inner); });
  from.inside("Code", [&](const Members& inner) { inner.get("Location", d.code_location); });
  from.get("Tags", d.tags);
  from.inside("Concurrency",
              [&](const Members& inner) { inner.get("ReservedConcurrentExecutions", d.reserved_concurrency); });
  return d;
}

std::string encode(const FunctionPage& page) {
  json j = {{"Functions", json::array()}};
  for (const auto& function : page.functions) j["Functions"].push_back(to_json(function));
  put(j, "NextMarker", page.next_marker);
  return dump(j);
}

FunctionPage decode_function_page(std::string_view text) {
  const auto document = parse_document(text);
  const Members from(document, "");
  FunctionPage page;
  const auto* functions = from.find("Functions");
  if (functions == nullptr || !functions->is_array()) refuse("Functions is not an array");
  for (const auto& function : *functions)
    page.functions.push_back(configuration_from(Members(function, "Functions[]")));
  from.get("NextMarker", page.next_marker);
  return page;
}

std::string encode(const Concurrency& concurrency) {
  json j = json::object();
  put(j, "ReservedConcurrentExecutions", concurrency.reserved);
  return dump(j);
}

Concurrency decode_concurrency(std::string_view text) {
  const auto document = parse_document(text);
  Concurrency concurrency;
  Members(document, "").get("ReservedConcurrentExecutions", concurrency.reserved);
  return concurrency;
}

std::string encode(const EventInvokeConfig& config) {
  json j = json::object();
  put(j, "MaximumRetryAttempts", config.maximum_retry_attempts);
  put(j, "MaximumEventAgeInSeconds", config.maximum_event_age);
  put(j, "FunctionArn", config.function_arn);
  if (config.last_modified.count() != 0) j["LastModified"] = config.last_modified.count();
  return dump(j);
}

EventInvokeConfig decode_event_invoke_config(std::string_view text) {
  const auto document = parse_document(text);
  const Members from(document, "");
  EventInvokeConfig config;
  from.get("MaximumRetryAttempts", config.maximum_retry_attempts);
  from.get("MaximumEventAgeInSeconds", config.maximum_event_age);
  from.get("FunctionArn", config.function_arn);
  // AWS sends seconds with a fraction.
  if (const auto* at = from.find("LastModified"); at != nullptr && at->is_number()) {
    const auto seconds = at->get<double>();
    if (!(seconds >= 0 && seconds < 1e12)) refuse("LastModified is out of range");
    config.last_modified = std::chrono::seconds(static_cast<std::int64_t>(seconds));
  }
  return config;
}

std::string encode(const FunctionError& error) {
  json j = {{"errorMessage", error.error_message}, {"errorType", error.error_type}};
  if (!error.stack_trace.empty()) j["stackTrace"] = error.stack_trace;
  return dump(j);
}

FunctionError decode_function_error(std::string_view text) {
  text = text.substr(0, kMostFunctionErrorBytes);
  FunctionError error;
  try {
    const auto document = parse_document(text);
    const Members from(document, "");
    from.get("errorType", error.error_type);
    from.get("errorMessage", error.error_message);
    if (const auto* at = from.find("stackTrace"); at != nullptr && at->is_array()) {
      for (const auto& line : *at) {
        if (line.is_string()) error.stack_trace.push_back(line.get<std::string>());
      }
    }
    if (!error.error_type.empty() || !error.error_message.empty()) return error;
  } catch (const Error&) {
    error = {};
  }
  error.error_message = std::string(text);
  return error;
}

}  // namespace virga::lambda
