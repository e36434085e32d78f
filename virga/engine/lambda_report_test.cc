#include "virga/engine/lambda_report.h"

#include <csignal>

#include <gmock/gmock.h>

namespace virga::lambda {
namespace {

using namespace std::chrono_literals;
using Cause = Engine::Ended::Cause;

constexpr auto kId = "8f507cfc-xmpl-4697-b07a-ac58fc914c95";

Report some_report() {
  return {.bill = {.request_id = kId,
                   .duration = 12'340us,
                   .init = 80'120us,
                   .billed = 93ms,
                   .memory_bytes = 128 * kMb,
                   .peak_memory_bytes = 45 * kMb},
          .status = "",
          .error_type = ""};
}

Report full_report() {
  auto report = some_report();
  report.bill.memory_bytes = 708 * kMb;
  report.bill.peak_memory_bytes = 708 * kMb;
  return report;
}

TEST(LambdaReport, IsWrittenAsAwsWritesIt) {
  EXPECT_EQ(report_line(some_report()),
            "REPORT RequestId: 8f507cfc-xmpl-4697-b07a-ac58fc914c95\tDuration: 12.34 ms\tBilled Duration: 93 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 45 MB\tInit Duration: 80.12 ms\t\n");
  auto warm = some_report();
  warm.bill.init = 0us;
  warm.status = "timeout";
  EXPECT_EQ(report_line(warm),
            "REPORT RequestId: 8f507cfc-xmpl-4697-b07a-ac58fc914c95\tDuration: 12.34 ms\tBilled Duration: 93 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 45 MB\tStatus: timeout\t\n");
  EXPECT_EQ(start_line("7"), "START RequestId: 7 Version: $LATEST\n");
  EXPECT_EQ(end_line("7"), "END RequestId: 7\n");
}

TEST(LambdaReport, ComesBackAsItWas) {
  auto report = some_report();
  EXPECT_EQ(parse_report(report_line(report)), report);
  report.bill.init = 0us;
  report.status = "error";
  report.error_type = "Runtime.ExitError";
  EXPECT_EQ(parse_report("noise\n" + report_line(report)), report);
}

TEST(LambdaReport, IsTheLastOfALog) {
  auto other = some_report();
  other.bill.request_id = "other";
  EXPECT_EQ(parse_report(report_line(other) + "said\n" + report_line(some_report()) + "late\n"), some_report());
  EXPECT_EQ(parse_report(report_line(some_report()) + "REPORT RequestId: 7\tBilled Duration: ms\n"), some_report())
      << "one that cannot be read does not count";
}

TEST(LambdaReport, OfOlderDaysIsRead) {
  const auto report = parse_report(
      "REPORT RequestId: b4ed494c\tDuration: 904.5 ms\tBilled Duration: 1000 ms \tMemory Size: 128 MB\t"
      "Max Memory Used: 41 MB\t\nXRAY TraceId: 1-5e34a614\tSegmentId: 07f5\tSampled: true\t\n");
  ASSERT_TRUE(report);
  EXPECT_EQ(report->bill.duration, 904'500us);
  EXPECT_EQ(report->bill.billed, 1000ms);
  EXPECT_EQ(report->bill.init, 0us);
  EXPECT_EQ(report->bill.peak_memory_bytes, 41 * kMb);
}

TEST(LambdaReport, ThatIsDamagedIsNone) {
  const std::string id = "REPORT RequestId: 7\t";
  EXPECT_FALSE(parse_report(""));
  EXPECT_FALSE(parse_report("REPORT RequestId: "));
  EXPECT_FALSE(parse_report(id + "Duration: 3.00 ms"));
  EXPECT_FALSE(parse_report(id + "Billed Duration: 3.5 ms"));
  EXPECT_FALSE(parse_report(id + "Billed Duration: -3 ms"));
  EXPECT_FALSE(parse_report(id + "Billed Duration: 3 s"));
  EXPECT_FALSE(parse_report(id + "Duration: nan ms\tBilled Duration: 3 ms"));
  EXPECT_FALSE(parse_report(id + "Duration: 1e3 ms\tBilled Duration: 3 ms"));
  EXPECT_FALSE(parse_report(id + "Billed Duration: 99999999999999999999 ms"));
  EXPECT_FALSE(parse_report(id + "Billed Duration: 3 ms\tMemory Size: 99999999999 MB"));
  EXPECT_FALSE(parse_report("a " + id + "Billed Duration: 3 ms")) << "not at the beginning of its line";
  EXPECT_FALSE(parse_report("REPORT RequestId: " + std::string(200, '7') + "\tBilled Duration: 3 ms"));
}

TEST(LambdaLog, IsShownWithoutThePlatformsLines) {
  EXPECT_EQ(own_lines("INIT_START Runtime Version: provided\n" + start_line("7") + "one\n\nEND of it\n" +
                      end_line("7") + report_line(some_report()) + "two"),
            "one\n\nEND of it\ntwo");
  EXPECT_EQ(tail_of("abcdef", 4), "cdef");
  EXPECT_EQ(tail_of("abc", 4), "abc");
}

TEST(LambdaDeath, OfATimeoutSaysHowLongItWas) {
  const Death death{.cause = Cause::kTimedOut, .text = "timed out after 3.00 s"};
  EXPECT_EQ(timed_out_error("7", 3s).error_message, "RequestId: 7 Error: Task timed out after 3.00 seconds");
  EXPECT_EQ(death_of(timed_out_error("7", 3s), some_report()), death);
  EXPECT_EQ(death_of({.error_message = "2023-01-01T00:00:00.000Z 7 Task timed out after 3.00 seconds"}, {}), death);
}

TEST(LambdaDeath, OfAnExitSaysItsStatus) {
  EXPECT_EQ(exited_error("7", 3).error_message, "RequestId: 7 Error: Runtime exited with error: exit status 3");
  EXPECT_EQ(death_of(exited_error("7", 3), some_report()), (Death{.cause = Cause::kCrashed, .text = "exit status 3"}));
  EXPECT_EQ(death_of(exited_error("7", 0), some_report()),
            (Death{.cause = Cause::kCrashed, .text = "ended without an answer"}));
}

TEST(LambdaDeath, OfASignalSaysWhich) {
  EXPECT_EQ(killed_error("7", SIGSEGV).error_message,
            "RequestId: 7 Error: Runtime exited with error: signal: segmentation fault");
  EXPECT_EQ(death_of(killed_error("7", SIGSEGV), some_report()),
            (Death{.cause = Cause::kCrashed, .text = "killed by signal 11 (segmentation fault)"}));
  EXPECT_EQ(death_of(killed_error("7", SIGKILL), some_report()),
            (Death{.cause = Cause::kCrashed, .text = "killed by signal 9 (killed)"}));
  EXPECT_EQ(death_of(killed_error("7", 42), some_report()).text, "killed by signal 42");
}

TEST(LambdaDeath, OfTooLittleMemorySaysWhatIsEnough) {
  const Death death{.cause = Cause::kOutOfMemory,
                    .text = "ran out of memory: 708 MB were not enough (peak 708 MB); give it more: --memory 1088MB"};
  EXPECT_EQ(death_of(out_of_memory_error("7"), full_report()), death);
  EXPECT_EQ(death_of(killed_error("7", SIGKILL), full_report()), death) << "AWS says no more than that";
  EXPECT_EQ(death_of(killed_error("7", SIGSEGV), full_report()).cause, Cause::kCrashed);
  EXPECT_EQ(death_of(out_of_memory_error("7"), {}).text, "ran out of memory");
  auto largest = full_report();
  largest.bill.memory_bytes = largest.bill.peak_memory_bytes = kMostMemoryMb * kMb;
  EXPECT_EQ(death_of(out_of_memory_error("7"), largest).text,
            "ran out of memory: 10240 MB were not enough (peak 10240 MB)");
}

TEST(LambdaDeath, OfAnErrorOfItsOwnIsInItsWords) {
  EXPECT_EQ(death_of({.error_type = "Runtime.InitError", .error_message = "no such run"}, {}).text,
            "Runtime.InitError: no such run");
  EXPECT_EQ(death_of({.error_message = "line\n\x1b[31mred"}, {}).text, "line  [31mred") << "nothing reaches a terminal";
  EXPECT_EQ(death_of({.error_message = std::string(10'000, 'x')}, {}).text.size(), 500U);
  EXPECT_EQ(death_of({}, {}).text, "failed without a word");
}

}  // namespace
}  // namespace virga::lambda
