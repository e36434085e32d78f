#include "virga/cost/ledger.h"

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

InvocationRecord invocation() {
  InvocationRecord record{.task = "worker",
                          .worker = 3,
                          .generation = 2,
                          .end = "continue",
                          .start_seconds = 0.25,
                          .seconds = 12.5,
                          .init = 8200us,
                          .duration = 12450300us,
                          .billed = 12459ms,
                          .memory_bytes = 708'000'000,
                          .peak_memory_bytes = 52'428'800,
                          .cpu_seconds = 4.75,
                          .rounds = 904,
                          .messages_put = 905,
                          .messages_got = 906,
                          .bytes_put = 57'000'000,
                          .bytes_got = 57'000'001};
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    record.phases.add(static_cast<WorkPhase>(i), 1ns * static_cast<int>(100'000'001 * (i + 1)));
  }
  return record;
}

ServiceRecord service() {
  return {.service = "object-store", .start_seconds = 0.5, .seconds = 30, .writes = 7, .reads = 8, .bytes = 9};
}

VmRecord vm() {
  return {.worker = 2, .instance = "c5.large", .start_seconds = 0.5, .startup_seconds = 132, .seconds = 30};
}

std::string error_of(std::string_view text) {
  try {
    static_cast<void>(parse_ledger(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    return error.what();
  }
  return "accepted";
}

TEST(LedgerTest, HoldsTheBytesOfItsFormat) {
  EXPECT_EQ(
      ledger_line(invocation()),
      R"({"schema_version":1,"kind":"invocation","task":"worker","worker":3,"generation":2,"epoch":0,"end":"continue",)"
      R"("start_seconds":0.25,"seconds":12.5,"init_us":8200,"duration_us":12450300,"billed_ms":12459,)"
      R"("memory_bytes":708000000,"peak_memory_bytes":52428800,"cpu_seconds":4.75,"rounds":904,"messages_put":905,)"
      R"("messages_got":906,"bytes_put":57000000,"bytes_got":57000001,"phase_seconds":{"start":0.100000001,)"
      R"("data":0.200000002,"read":0.300000003,"compute":0.400000004,"encode":0.500000005,"send":0.600000006,)"
      R"("wait":0.700000007,"decode":0.800000008,"sum":0.900000009,"apply":1.00000001,"keep":1.100000011},"said":""})"
      "\n");
  EXPECT_EQ(ledger_line(service()),
            R"({"schema_version":1,"kind":"service","service":"object-store","start_seconds":0.5,"seconds":30.0,)"
            R"("writes":7,"reads":8,"bytes":9})"
            "\n");
  EXPECT_EQ(ledger_line(vm()),
            R"({"schema_version":1,"kind":"vm","worker":2,"instance":"c5.large","start_seconds":0.5,)"
            R"("startup_seconds":132.0,"seconds":30.0})"
            "\n");
  auto on_it = invocation();
  on_it.instance = "c5.large";
  EXPECT_THAT(ledger_line(on_it), testing::EndsWith(R"("said":"","instance":"c5.large"})"
                                                    "\n"));
}

TEST(LedgerTest, GivesBackWhatWasWritten) {
  auto crashed = invocation();
  crashed.end = "crashed";
  crashed.said = "line one\nline \"two\"\x01";
  crashed.instance = "t2.medium";
  const auto ledger =
      parse_ledger(ledger_line(invocation()) + ledger_line(service()) + ledger_line(vm()) + ledger_line(crashed));
  EXPECT_THAT(ledger.vms, ElementsAre(vm()));
  EXPECT_THAT(ledger.invocations, ElementsAre(invocation(), crashed));
  EXPECT_THAT(ledger.services, ElementsAre(service()));
}

TEST(LedgerTest, WritesOnlyWhatItReads) {
  auto record = invocation();
  record.said = std::string(10'000, 'x') + "the \xC3\xBC\xFF end";
  record.seconds = std::nan("");
  record.cpu_seconds = std::numeric_limits<double>::infinity();
  record.start_seconds = -1;
  record.duration = -5us;
  record.bytes_put = ~std::uint64_t{0};
  record.phases.add(WorkPhase::kStart, -10s);
  const auto back = parse_ledger(ledger_line(record)).invocations.at(0);
  EXPECT_THAT(back.said, testing::EndsWith("the \xC3\xBC\xEF\xBF\xBD end"));
  EXPECT_LE(back.said.size(), 4096U);
  EXPECT_EQ(back.seconds, 0);
  EXPECT_EQ(back.start_seconds, 0);
  EXPECT_EQ(back.duration, 0us);
  EXPECT_EQ(parse_ledger(ledger_line(back)).invocations.at(0), back);
}

TEST(LedgerTest, CutsWhatWasSaidBetweenCharacters) {
  auto record = invocation();
  for (int i = 0; i < 3000; ++i) record.said += "\xE2\x82\xAC";  // 3 bytes each
  const auto back = parse_ledger(ledger_line(record)).invocations.at(0);
  EXPECT_EQ(back.said.size(), 4095U);
  EXPECT_TRUE(back.said.starts_with("\xE2\x82\xAC"));
}

TEST(LedgerTest, KnowsWhenItsFirstWorkerBeganAndItsLastRecordEnded) {
  Ledger ledger;
  EXPECT_EQ(last_end_seconds(ledger), 0);
  EXPECT_EQ(first_worker_seconds(ledger), std::nullopt);
  ledger.invocations = {{.task = "evaluate", .end = "evaluated", .start_seconds = 0.5, .seconds = 8},
                        {.task = "worker", .end = "done", .start_seconds = 2, .seconds = 3},
                        {.task = "worker", .end = "done", .start_seconds = 1, .seconds = 3}};
  EXPECT_EQ(last_end_seconds(ledger), 8.5);
  EXPECT_EQ(first_worker_seconds(ledger), 1);
  ledger.services = {{.service = "data-store", .start_seconds = 0.25, .seconds = 9}};
  EXPECT_EQ(last_end_seconds(ledger), 9.25);
}

TEST(LedgerTest, LeavesOutAnUnfinishedLastLineAndNothingElse) {
  const auto whole = ledger_line(invocation()) + ledger_line(service());
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const auto ledger = parse_ledger(std::string_view(whole).substr(0, size));
    EXPECT_EQ(ledger.invocations.size(), size >= ledger_line(invocation()).size() ? 1U : 0U);
    EXPECT_EQ(ledger.services.size(), size == whole.size() ? 1U : 0U);
  }
  EXPECT_THAT(error_of("{\"sch\n" + ledger_line(service())), HasSubstr("ledger line 1"));
}

TEST(LedgerTest, NamesTheLineAndWhatIsWrong) {
  const auto with = [](std::string_view from, std::string_view to) {
    auto line = ledger_line(invocation());
    line.replace(line.find(from), from.size(), to);
    return error_of(ledger_line(service()) + line);
  };
  EXPECT_THAT(with("\"worker\":3", "\"worker\":-3"), HasSubstr("ledger line 2: worker must be a whole number"));
  EXPECT_THAT(with("\"billed_ms\":12459", "\"billed_ms\":1e3"), HasSubstr("billed_ms"));
  EXPECT_THAT(with("\"seconds\":12.5", "\"seconds\":1e300"), HasSubstr("seconds must be a number from 0"));
  EXPECT_THAT(with("continue", "vanished"), HasSubstr("end is not known"));
  EXPECT_THAT(with("\"worker\",", "\"cook\","), HasSubstr("task is not known"));
  EXPECT_THAT(with("\"kind\":\"invocation\"", "\"kind\":\"gift\""), HasSubstr("kind is none of"));
  EXPECT_THAT(with("\"wait\"", "\"nap\""), HasSubstr("phase_seconds.wait is missing"));
  EXPECT_THAT(with("\"schema_version\":1", "\"schema_version\":2"), HasSubstr("not of version 1"));
  EXPECT_THAT(with("\"said\":\"\"", "\"said\":\"" + std::string(5000, 'x') + "\""), HasSubstr("said must have"));
  EXPECT_THAT(error_of(std::string(70'000, ' ') + "\n"), HasSubstr("more than 65536 bytes"));
  EXPECT_THAT(error_of(std::string(1000, '[') + "\n"), HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of("\n"), HasSubstr("ledger line 1"));
}

class LedgerWriterTest : public testing::Test {
 protected:
  LedgerWriterTest() {
    std::string name = testing::TempDir() + "virga_ledger_XXXXXX";
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "ledger.jsonl";
  }
  ~LedgerWriterTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string text() const {
    const auto bytes = read_file(path_);
    return std::string(as_text(bytes));
  }
  void put(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }

  std::filesystem::path folder_, path_;
};

TEST_F(LedgerWriterTest, AppendsLines) {
  {
    LedgerWriter writer(path_);
    writer.add(invocation());
  }
  LedgerWriter writer(path_);
  writer.add(service());
  writer.make_durable();
  EXPECT_EQ(text(), ledger_line(invocation()) + ledger_line(service()));
}

TEST_F(LedgerWriterTest, RemovesAnUnfinishedLastLine) {
  const auto whole = ledger_line(invocation());
  for (const auto& rest : {std::string("{\"schema"), std::string(9000, 'x'), std::string()}) {
    put(whole + rest);
    LedgerWriter(path_).add(service());
    EXPECT_EQ(text(), whole + ledger_line(service()));
  }
  put("no newline at all");
  LedgerWriter(path_).add(service());
  EXPECT_EQ(text(), ledger_line(service()));
}

TEST_F(LedgerWriterTest, IsTheOnlyOne) {
  const LedgerWriter first(path_);
  try {
    LedgerWriter second(path_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
    EXPECT_THAT(error.what(), HasSubstr(path_.string()));
  }
}

TEST_F(LedgerWriterTest, AWriteThatFailsHalfwayLeavesTheFileAsItWas) {
  // In a process of its own: the limit on the size of files is one of the process.
  const auto child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    LedgerWriter writer(path_);
    writer.add(service());
    const auto size = ledger_line(service()).size();
    rlimit limit{.rlim_cur = size + 10, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      writer.add(invocation());
      ::_exit(1);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kIo || std::filesystem::file_size(path_) != size) ::_exit(2);
    }
    limit.rlim_cur = RLIM_INFINITY;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    writer.add(service());
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(read_ledger(path_).services, SizeIs(2));
}

TEST_F(LedgerWriterTest, SaysWhereItCannotWrite) {
  EXPECT_THROW(LedgerWriter(folder_ / "missing" / "ledger.jsonl"), Error);
  EXPECT_THROW(static_cast<void>(read_ledger(path_)), Error);
}

}  // namespace
}  // namespace virga
