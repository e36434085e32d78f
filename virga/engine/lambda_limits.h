#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace virga::lambda {

// What AWS Lambda permits (AWS Lambda Developer Guide, "Lambda quotas" and the API reference). Its "MB" and "KB" are
// powers of 1024. The local engine holds to the same figures.

constexpr std::uint64_t kKb = 1024;
constexpr std::uint64_t kMb = 1024 * kKb;

// Payloads. Synchronous: 6 MB each way, where the answer may in fact have 100 bytes more. Event: 1 MB (API reference of
// Invoke; it was 256 KB until 2025).
constexpr std::size_t kMostRequestBytes = 6 * kMb;
constexpr std::size_t kMostResponseBytes = 6 * kMb + 100;
constexpr std::size_t kMostEventBytes = 1 * kMb;
constexpr std::size_t kLogTailBytes = 4 * kKb;              // X-Amz-Log-Result, before base64 (Invoke: LogType)
constexpr std::size_t kMostClientContextBytes = 3583;       // X-Amz-Client-Context, in base64 (Invoke)
constexpr std::size_t kMostFunctionErrorBytes = 256 * kKb;  // ours: of an error that a function words, kept

// A function's configuration.
constexpr std::uint32_t kLeastMemoryMb = 128, kMostMemoryMb = 10'240, kDefaultMemoryMb = 128;
constexpr std::chrono::seconds kLeastTimeout{1}, kMostTimeout{900}, kDefaultTimeout{3};
constexpr std::uint32_t kLeastTmpMb = 512, kMostTmpMb = 10'240, kDefaultTmpMb = 512;
constexpr std::size_t kMostEnvironmentBytes = 4 * kKb;  // names and values together
constexpr std::size_t kMostNameBytes = 64;              // [A-Za-z0-9-_]
constexpr std::size_t kMostHandlerBytes = 128;
constexpr std::size_t kMostDescriptionBytes = 256;
constexpr std::size_t kMostTags = 50;
constexpr std::size_t kMostZipBytes = 50 * kMb;  // sent within a request, before base64
constexpr std::uint64_t kMostUnpackedBytes = 250 * kMb;
/// Of a request other than Invoke: base64 of the largest zip and 256 KB around it.
constexpr std::size_t kMostApiRequestBytes = (kMostZipBytes + 2) / 3 * 4 + 256 * kKb;

// Execution.
constexpr std::chrono::seconds kInitTimeout{10};
constexpr std::uint32_t kMostConcurrency = 1'000;  // of an account and region, unless raised
/// What must be left unreserved for the functions of an account without a reservation.
constexpr std::uint32_t kLeastUnreservedConcurrency = 100;
constexpr std::uint32_t kMostFiles = 1'024;
constexpr std::uint32_t kMostProcesses = 1'024;
constexpr std::uint32_t kMbOfOneCpu = 1'769;

// Asynchronous invocation.
constexpr std::uint32_t kMostRetryAttempts = 2, kDefaultRetryAttempts = 2;
constexpr std::chrono::seconds kLeastEventAge{60}, kMostEventAge{21'600}, kDefaultEventAge{21'600};

// Listing.
constexpr std::uint32_t kMostFunctionsInPage = 50;

/// Names that a function's environment may not set ("Defined runtime environment variables": the reserved ones).
constexpr std::array<std::string_view, 18> kReservedVariables = {"_HANDLER",
                                                                 "_X_AMZN_TRACE_ID",
                                                                 "AWS_DEFAULT_REGION",
                                                                 "AWS_REGION",
                                                                 "AWS_EXECUTION_ENV",
                                                                 "AWS_LAMBDA_FUNCTION_NAME",
                                                                 "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                                                                 "AWS_LAMBDA_FUNCTION_VERSION",
                                                                 "AWS_LAMBDA_INITIALIZATION_TYPE",
                                                                 "AWS_LAMBDA_LOG_GROUP_NAME",
                                                                 "AWS_LAMBDA_LOG_STREAM_NAME",
                                                                 "AWS_ACCESS_KEY",
                                                                 "AWS_ACCESS_KEY_ID",
                                                                 "AWS_SECRET_ACCESS_KEY",
                                                                 "AWS_SESSION_TOKEN",
                                                                 "AWS_LAMBDA_RUNTIME_API",
                                                                 "LAMBDA_TASK_ROOT",
                                                                 "LAMBDA_RUNTIME_DIR"};

}  // namespace virga::lambda
