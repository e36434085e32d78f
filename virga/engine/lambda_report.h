#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/engine/engine.h"
#include "virga/engine/lambda_types.h"

namespace virga::lambda {

// What the platform itself writes into the log of an invocation, and what it says about functions that failed. Pure.

/// How the platform says that an invocation ended, besides its bill.
struct Report {
  InvocationBill bill;
  std::string status;      ///< "", "timeout", "error"
  std::string error_type;  ///< of "error": "Runtime.ExitError"
  bool operator==(const Report&) const = default;
};

/// "START RequestId: ID Version: $LATEST\n" and "END RequestId: ID\n".
[[nodiscard]] std::string start_line(std::string_view request_id, std::string_view version = "$LATEST");
[[nodiscard]] std::string end_line(std::string_view request_id);
/// "REPORT RequestId: ID\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 45 MB\t
/// Init Duration: 80.12 ms\tStatus: timeout\t\n": init where there was one, status where it is not empty.
[[nodiscard]] std::string report_line(const Report& report);
/// The last REPORT line of a log, or of the end of one. Nothing if there is none that can be read.
[[nodiscard]] std::optional<Report> parse_report(std::string_view log);
/// The log without the platform's lines: START, END, REPORT, INIT_START, INIT_REPORT, XRAY.
[[nodiscard]] std::string own_lines(std::string_view log);
/// The last `bytes` of a log, as X-Amz-Log-Result has them (not yet in base64).
[[nodiscard]] std::string_view tail_of(std::string_view log, std::size_t bytes = kLogTailBytes) noexcept;

// Functions that failed without an error of their own, in the platform's words.

/// errorType "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 3.00 seconds". (AWS has also worded it
/// without an errorType, with the time in front; both are understood.)
[[nodiscard]] FunctionError timed_out_error(std::string_view request_id, std::chrono::milliseconds timeout);
/// errorType "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3".
[[nodiscard]] FunctionError exited_error(std::string_view request_id, int exit_code);
/// "... Error: Runtime exited with error: signal: killed".
[[nodiscard]] FunctionError killed_error(std::string_view request_id, int signal);
/// errorType "Runtime.OutOfMemory", "... Error: Runtime exited with error: signal: killed".
[[nodiscard]] FunctionError out_of_memory_error(std::string_view request_id);

/// Why an invocation ended without an answer.
struct Death {
  Engine::Ended::Cause cause = Engine::Ended::Cause::kCrashed;
  std::string text;  ///< for people, without control characters: "exit status 3"
  bool operator==(const Death&) const = default;
};
/// What a function error (X-Amz-Function-Error) means. A process that was killed with its memory all but used up (95 %)
/// ran out of it, whatever it is called: AWS says no more of custom runtimes.
[[nodiscard]] Death death_of(const FunctionError& error, const std::optional<Report>& report);

}  // namespace virga::lambda
