// The program, through both of its doors.
#include <algorithm>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/function/platform_testing.h"
#include "virga/function/run_testing.h"

namespace virga {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class FunctionMain : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path at(const std::string& name) const { return folder_.path() / name; }
  /// The answer of a process of its own.
  [[nodiscard]] Answer answer_alone(const Payload& payload) const {
    const auto file = at("payload.json");
    write_file_atomically(file, as_bytes(encode_payload(payload)), false);
    return decode_answer(run_function({file.string()}).out);
  }
  static FunctionEnd run_under(const ScriptedPlatform& platform, std::vector<std::string> variables = {}) {
    variables.push_back("AWS_LAMBDA_RUNTIME_API=" + platform.address());
    return run_function({}, variables);
  }

  const FunctionFolder folder_;
};

TEST_F(FunctionMain, GivesTheSameBitsInOneWarmProcessAsInMany) {
  const auto set = make_tiny_set(at("data"));
  for (const auto* name : {"warm-1", "alone-1"}) prepare_run(at(name), set, 1);
  for (const auto* name : {"warm-2", "alone-2"}) prepare_run(at(name), set, 2);
  const auto payloads = [&](const std::string& kind) {
    return std::vector{worker_payload(at(kind + "-1")), evaluation_payload(at(kind + "-1"), 2),
                       worker_payload(at(kind + "-2")), evaluation_payload(at(kind + "-2"), 3)};
  };
  std::vector<ScriptedPlatform::Reply> script;
  for (const auto& payload : payloads("warm")) {
    script.push_back(event_of("id", encode_payload(payload)));
    script.push_back(reply_of(202));
  }
  script.push_back(reply_of(410));
  const ScriptedPlatform platform(script);

  const auto end = run_under(platform);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const auto requests = platform.requests();

  double cpu_seconds = 0;
  const auto alone = payloads("alone");
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const auto expected = answer_alone(alone[i]);
    const auto answer = decode_answer(requests.at(2 * i + 1).body);
    EXPECT_EQ(answer.end, alone[i].task == "worker" ? "done" : "evaluated") << answer.message;
    EXPECT_EQ(answer.end, expected.end) << expected.message;
    EXPECT_EQ(answer.loss, expected.loss);
    EXPECT_EQ(answer.work ? answer.work->rounds : 0, expected.work ? expected.work->rounds : 0);
    EXPECT_GE(answer.cpu_seconds, 0);
    EXPECT_GT(answer.peak_memory_bytes, 0U);
    cpu_seconds += answer.cpu_seconds;
  }
  EXPECT_LE(cpu_seconds, end.cpu_seconds) << "an invocation is charged for its own time";
  for (const auto* run : {"1", "2"}) {
    for (const std::uint32_t epoch : {1U, 2U, 3U}) {
      const auto snapshot = [&](const std::string& kind) { return read_file(at(kind + run) / snapshot_object(epoch)); };
      EXPECT_EQ(snapshot("warm-"), snapshot("alone-")) << run << " " << epoch;
    }
  }
  EXPECT_NE(read_file(at("warm-1") / snapshot_object(3)), read_file(at("warm-2") / snapshot_object(3)));
}

TEST_F(FunctionMain, LeavesItsAnswerAtTheRunUnlessItIsSuperseded) {
  prepare_run(at("run"), make_tiny_set(at("data")), 1);
  auto payload = worker_payload(at("run"));
  const auto left = at("run") / answer_object(payload.member);
  payload.leaves_answer = true;
  const auto answer = answer_alone(payload);
  EXPECT_EQ(answer.end, "done") << answer.message;
  EXPECT_EQ(decode_answer(as_text(read_file(left))), answer);

  EXPECT_EQ(answer_alone(payload).end, "superseded");
  EXPECT_EQ(decode_answer(as_text(read_file(left))), answer);

  std::filesystem::remove(left);
  std::filesystem::remove(at("run") / kJobObject);
  EXPECT_EQ(answer_alone(payload).error_kind, "not_found");
  EXPECT_EQ(decode_answer(as_text(read_file(left))).error_kind, "not_found");
}

TEST_F(FunctionMain, LogsALineAtTheStartAndAtTheEndOfAnInvocation) {
  const ScriptedPlatform platform(
      {event_of("id-7", encode_payload(worker_payload(at("nothing")))), reply_of(202), reply_of(410)});
  const auto end = run_under(platform);
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.out, "");
  EXPECT_THAT(end.err, AllOf(HasSubstr("id-7 worker 0 generation 1 begins, 89"),
                             HasSubstr("id-7 worker 0 generation 1 ends: error: not_found: "),
                             HasSubstr(at("nothing").string())));
  EXPECT_EQ(std::ranges::count(end.err, '\n'), 2);
  EXPECT_EQ(decode_answer(platform.requests()[1].body).error_kind, "not_found");
}

TEST_F(FunctionMain, DiesAtCrashPointsAsItIsTold) {
  const auto event = event_of("id", encode_payload(worker_payload(at("nothing"))));
  const ScriptedPlatform before({event, reply_of(202)});
  EXPECT_EQ(run_under(before, {"VIRGA_CRASH_AT=before_answer:1"}).exit_code, 128 + 9);
  EXPECT_EQ(before.requests().size(), 1U);
  const ScriptedPlatform after({event, reply_of(202), event, reply_of(202)});
  EXPECT_EQ(run_under(after, {"VIRGA_CRASH_AT=after_answer:2"}).exit_code, 128 + 9);
  EXPECT_EQ(after.requests().size(), 4U);
}

TEST_F(FunctionMain, SaysWhatIsWrongWithItsPlatform) {
  const auto badly = run_function({}, {"AWS_LAMBDA_RUNTIME_API=somewhere"});
  EXPECT_EQ(badly.exit_code, 1);
  EXPECT_THAT(badly.err, AllOf(HasSubstr("AWS_LAMBDA_RUNTIME_API"), HasSubstr("HOST:PORT")));
  const std::string no_name(70, 'n');  // longer than names may be: nobody is asked
  const auto nowhere = run_function({}, {"AWS_LAMBDA_RUNTIME_API=" + no_name + ":9001"});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("host " + no_name + " is not known"));
  const ScriptedPlatform failing({reply_of(500), reply_of(202)});
  EXPECT_EQ(run_under(failing).exit_code, 1);
  EXPECT_EQ(failing.requests()[1].line, "POST /2018-06-01/runtime/init/error");
}

TEST_F(FunctionMain, PrefersAPayloadThatItIsGiven) {
  const ScriptedPlatform platform({});
  const auto end = run_function({at("nothing.json").string()}, {"AWS_LAMBDA_RUNTIME_API=" + platform.address()});
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_EQ(decode_answer(end.out).error_kind, "not_found");
}

TEST_F(FunctionMain, SaysThatItIsABootstrapWithoutAPlatform) {
  std::filesystem::create_symlink(std::filesystem::absolute(virga_function_program()), at("bootstrap"));
  const auto end = run_function({}, {}, at("bootstrap"));
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("AWS_LAMBDA_RUNTIME_API is not set"));
  EXPECT_THAT(run_function({}).err, HasSubstr("usage: virga-function"));
}

TEST_F(FunctionMain, IgnoresTheHandlerThatAContainerNames) {
  std::filesystem::create_symlink(std::filesystem::absolute(virga_function_program()), at("bootstrap"));
  const ScriptedPlatform platform({reply_of(410)});
  const auto end = run_function({"handler"}, {"AWS_LAMBDA_RUNTIME_API=" + platform.address()}, at("bootstrap"));
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(platform.requests().size(), 1U);
}

}  // namespace
}  // namespace virga
