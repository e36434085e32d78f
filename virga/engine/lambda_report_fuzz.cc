#include <algorithm>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/engine/lambda_report.h"

namespace virga {
namespace {

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

}  // namespace
}  // namespace virga

/// A log, and an error's message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const std::string_view log(reinterpret_cast<const char*>(data), size);
  const auto report = lambda::parse_report(log);
  if (report) {
    // Times are written to 10 us.
    const auto again = lambda::parse_report(lambda::report_line(*report));
    check(again && again->bill.request_id == report->bill.request_id && again->bill.billed == report->bill.billed &&
              again->bill.memory_bytes == report->bill.memory_bytes && again->status == report->status &&
              again->error_type == report->error_type,
          "a report comes back");
    check(lambda::report_line(*again) == lambda::report_line(*report), "and stays so");
  }
  const auto own = lambda::own_lines(log);
  check(own.size() <= log.size() && lambda::own_lines(own) == own, "the platform's lines are gone");
  check(!lambda::parse_report(own), "the report among them");
  for (const auto* type : {"", "Sandbox.Timedout", "Runtime.OutOfMemory", "Runtime.ExitError"}) {
    const auto death = lambda::death_of({.error_type = type, .error_message = std::string(log)}, report);
    check(!death.text.empty() && death.text.size() < 1000 && is_printable(death.text), "a line for people");
  }
  return 0;
}
