#include "virga/function/runtime_api.h"

#include <functional>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/function/invocations.h"
#include "virga/function/platform_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Reply = ScriptedPlatform::Reply;

constexpr const char* kNext = "GET /2018-06-01/runtime/invocation/next";

std::vector<std::string> lines_of(const ScriptedPlatform& platform) {
  std::vector<std::string> lines;
  for (const auto& request : platform.requests()) lines.push_back(request.line);
  return lines;
}

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::kInternal, "no error"};
}

Error error_of_next(std::vector<Reply> script) {
  const ScriptedPlatform platform(std::move(script));
  RuntimeApi api(platform.address());
  return error_of([&] { static_cast<void>(api.next()); });
}

TEST(RuntimeApi, FetchesInvocationsAndAnswersThemOnOneConnection) {
  const ScriptedPlatform platform({event_of("id-1", "{}"), reply_of(202), event_of("id-2", "[]"), reply_of(202)});
  RuntimeApi api(platform.address());

  const auto first = api.next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->request_id, "id-1");
  EXPECT_EQ(first->event, "{}");
  EXPECT_TRUE(api.respond("id-1", R"({"end":"done"})"));
  EXPECT_EQ(api.next()->event, "[]");
  EXPECT_TRUE(api.fail("id-2", {.type = "Virga.Internal", .message = "a \"b\" \xff"}));

  const auto requests = platform.requests();
  EXPECT_THAT(lines_of(platform), ElementsAre(kNext, "POST /2018-06-01/runtime/invocation/id-1/response", kNext,
                                              "POST /2018-06-01/runtime/invocation/id-2/error"));
  EXPECT_EQ(requests[0].body, "");
  EXPECT_THAT(requests[0].headers, HasSubstr("Host: " + platform.address() + "\r\n"));
  EXPECT_EQ(requests[1].body, R"({"end":"done"})");
  EXPECT_EQ(requests[3].body,
            "{\"errorMessage\":\"a \\\"b\\\" \xef\xbf\xbd\",\"errorType\":\"Virga.Internal\",\"stackTrace\":[]}");
  EXPECT_THAT(requests[3].headers, HasSubstr("Lambda-Runtime-Function-Error-Type: Virga.Internal\r\n"));
  for (const auto& request : requests) EXPECT_EQ(request.connection, 1);
}

TEST(RuntimeApi, KnowsUntilWhenAnInvocationMayGoOn) {
  const ScriptedPlatform platform(
      {event_of("1", "{}", 60s), event_of("2", "{}", -60s), reply_of(200, "{}", "Lambda-Runtime-Aws-Request-Id: 3\r\n"),
       reply_of(200, "{}", "Lambda-Runtime-Aws-Request-Id: 4\r\nLambda-Runtime-Deadline-Ms: 5000\r\n")});
  RuntimeApi api(platform.address());
  const auto left = api.next()->deadline.value().remaining();
  EXPECT_GT(left, 0s);
  EXPECT_LE(left, 60s);
  EXPECT_TRUE(api.next()->deadline.value().passed());
  EXPECT_FALSE(api.next()->deadline);
  EXPECT_FALSE(api.next()->deadline) << "no time in this century";
}

TEST(RuntimeApi, ConvertsTheDeadlineWithinBounds) {
  using Wall = std::chrono::system_clock;
  const Wall::time_point now{std::chrono::milliseconds(1'700'000'000'000)};
  EXPECT_TRUE(deadline_of(0, now).passed());
  EXPECT_TRUE(deadline_of(1'700'000'000'000, now).passed());
  EXPECT_GT(deadline_of(1'700'000'900'000, now).remaining(), 800s);
  EXPECT_LE(deadline_of(1'700'000'900'000, now).remaining(), 900s);
  EXPECT_LE(deadline_of(~std::uint64_t{0}, now).remaining(), 24h);
  EXPECT_GT(deadline_of(~std::uint64_t{0}, now).remaining(), 23h);
}

TEST(RuntimeApi, ReadsChunkedEvents) {
  const ScriptedPlatform platform(
      {{.bytes = "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n"},
       reply_of(202)});
  RuntimeApi api(platform.address());
  EXPECT_EQ(api.next()->event, R"({"a":1})");
  EXPECT_TRUE(api.respond("a", "1"));
  EXPECT_EQ(platform.requests()[1].connection, 1);
}

TEST(RuntimeApi, ConnectsAgainWhenThePlatformHasClosedTheConnection) {
  auto says_so = event_of("1", "{}");
  says_so.bytes.insert(says_so.bytes.find("\r\n") + 2, "Connection: close\r\n");
  auto silently = reply_of(202);
  says_so.closes = silently.closes = true;
  const ScriptedPlatform platform(
      {says_so, silently, event_of("2", "{}"), {.bytes = "", .closes = true}, reply_of(202)});
  RuntimeApi api(platform.address());
  EXPECT_EQ(api.next()->request_id, "1");
  EXPECT_TRUE(api.respond("1", "{}"));
  EXPECT_EQ(api.next()->request_id, "2");
  EXPECT_TRUE(api.respond("2", "{}")) << "the connection was lost while the answer was on its way";
  const auto requests = platform.requests();
  ASSERT_EQ(requests.size(), 5U);
  EXPECT_EQ(requests[0].connection, 1);
  EXPECT_EQ(requests[1].connection, 2);
  EXPECT_EQ(requests[2].connection, 3);
  EXPECT_EQ(requests[3].connection, 3);
  EXPECT_EQ(requests[4].connection, 4);
}

TEST(RuntimeApi, GivesUpAfterTheSecondConnectionThatIsClosed) {
  const ScriptedPlatform platform({event_of("1", "{}"), {.bytes = "", .closes = true}, {.bytes = "", .closes = true}});
  RuntimeApi api(platform.address());
  static_cast<void>(api.next());
  const auto error = error_of([&] { static_cast<void>(api.respond("1", "{}")); });
  EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("invocation/1/response"), HasSubstr("closed the connection")));
  EXPECT_EQ(platform.requests().size(), 3U);
}

TEST(RuntimeApi, DoesNotTrustAConnectionThatBringsMoreThanWasAskedFor) {
  auto chatty = event_of("1", "{}");
  chatty.bytes += reply_of(200).bytes;
  const ScriptedPlatform platform({chatty, reply_of(202)});
  RuntimeApi api(platform.address());
  static_cast<void>(api.next());
  EXPECT_TRUE(api.respond("1", "{}"));
  EXPECT_EQ(platform.requests()[1].connection, 2);
}

TEST(RuntimeApi, EndsWhenThePlatformWantsThat) {
  for (const int status : {403, 410}) {
    const ScriptedPlatform platform({reply_of(status, R"({"errorMessage":"gone"})")});
    EXPECT_FALSE(RuntimeApi(platform.address()).next());
  }
}

TEST(RuntimeApi, SaysWhenAnAnswerIsNoLongerWantedAndGoesOn) {
  const ScriptedPlatform platform(
      {event_of("1", "{}"), reply_of(400), reply_of(410), reply_of(413), event_of("2", "{}")});
  RuntimeApi api(platform.address());
  static_cast<void>(api.next());
  EXPECT_FALSE(api.respond("1", "{}"));
  EXPECT_FALSE(api.respond("1", "{}"));
  EXPECT_FALSE(api.fail("1", {}));
  EXPECT_EQ(api.next()->request_id, "2");
}

TEST(RuntimeApi, NamesThePlatformThatHasFailed) {
  const auto error = error_of_next({reply_of(500, "Container error")});
  EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr(std::string(kNext) + " at tcp:127.0.0.1:"), HasSubstr("status 500: Container error")));
  const ScriptedPlatform platform({reply_of(502)});
  RuntimeApi api(platform.address());
  EXPECT_EQ(error_of([&] { static_cast<void>(api.respond("1", "{}")); }).kind(), ErrorKind::kUnavailable);
}

TEST(RuntimeApi, RefusesRepliesThatTheProtocolDoesNotKnow) {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
  const std::pair<Reply, const char*> replies[] = {
      {{.bytes = "SSH-2.0-OpenSSH\r\n"}, "no status"},
      {{.bytes = "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws", .closes = true}, "cut off"},
      {{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", .closes = true}, "cut off"},
      {{.bytes = ok + "\r\n{}"}, "no id that can be used"},
      {{.bytes = ok + "Lambda-Runtime-Aws-Request-Id: ../init\r\n\r\n{}"}, "no id that can be used"},
      {{.bytes = ok + "Lambda-Runtime-Aws-Request-Id: ..\r\n\r\n{}"}, "no id that can be used"},
      {{.bytes = ok + "Lambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: soon\r\n\r\n{}"},
       "the deadline \"soon\""},
      {{.bytes = ok + "Lambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: -1\r\n\r\n{}"},
       "the deadline \"-1\""},
      {reply_of(404, "not here"), "status 404: not here"},
      {reply_of(302), "status 302"}};
  for (const auto& [reply, why] : replies) {
    const auto error = error_of_next({reply});
    EXPECT_EQ(error.kind(), ErrorKind::kBadData) << why;
    EXPECT_THAT(error.what(), HasSubstr(why));
  }
}

TEST(RuntimeApi, RefusesAnAddressThatIsNoneAndAPlatformThatIsNotThere) {
  for (const auto* address : {"", "127.0.0.1", ":9001", "127.0.0.1:port", "127.0.0.1:70000"}) {
    const auto error = error_of([&] { const RuntimeApi api(address); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage) << address;
    EXPECT_THAT(error.what(), HasSubstr("AWS_LAMBDA_RUNTIME_API: not an address"));
  }
  std::string address;
  {
    const ScriptedPlatform nobody({});
    address = nobody.address();
  }
  RuntimeApi api(address);
  const auto error = error_of([&] { static_cast<void>(api.next()); });
  EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error.what(), HasSubstr(address + ": cannot connect: Connection refused"));
}

// The loop around it.

class AnswerInvocations : public testing::Test {
 protected:
  /// False: it did not end well.
  bool answer(
      const ScriptedPlatform& platform, const std::function<void()>& start = [] {}) {
    RuntimeApi api(platform.address());
    return answer_invocations(api, {.start = start,
                                    .task =
                                        [this](const Payload& payload) {
                                          payloads_.push_back(payload);
                                          return task_(payload);
                                        },
                                    .log = [this](std::string_view line) { log_.emplace_back(line); }});
  }
  static std::string payload(std::uint32_t worker, std::chrono::milliseconds lifetime = 900s) {
    return encode_payload({.run = "/run", .task = "worker", .member = {worker, 5}, .lifetime = lifetime});
  }

  std::function<Answer(const Payload&)> task_ = [](const Payload&) { return Answer{.end = "done"}; };
  std::vector<Payload> payloads_;
  std::vector<std::string> log_;
};

TEST_F(AnswerInvocations, AnswersOneAfterTheOtherUntilThePlatformEndsIt) {
  const ScriptedPlatform platform(
      {event_of("a", payload(1)), reply_of(202), event_of("b", payload(2)), reply_of(202), reply_of(410)});
  EXPECT_TRUE(answer(platform));
  ASSERT_EQ(payloads_.size(), 2U);
  EXPECT_EQ(payloads_[1].member.worker, 2U);
  const auto requests = platform.requests();
  EXPECT_EQ(requests[3].line, "POST /2018-06-01/runtime/invocation/b/response");
  EXPECT_EQ(requests[3].body, encode_answer({.end = "done"}));
  EXPECT_THAT(log_, ElementsAre(AllOf(HasSubstr("a worker 1 generation 5 begins, "), HasSubstr(" ms left")),
                                "a worker 1 generation 5 ends: done", HasSubstr("b worker 2 generation 5 begins"),
                                "b worker 2 generation 5 ends: done"));
}

TEST_F(AnswerInvocations, GivesAnInvocationNoMoreTimeThanThePlatformDoes) {
  const ScriptedPlatform platform({event_of("a", payload(1, 900s), 60s), reply_of(202),
                                   event_of("b", payload(1, 5s), 900s), reply_of(202), event_of("c", payload(1), -1s),
                                   reply_of(202), reply_of(410)});
  EXPECT_TRUE(answer(platform));
  ASSERT_EQ(payloads_.size(), 3U);
  EXPECT_LE(payloads_[0].lifetime, 60s);
  EXPECT_EQ(payloads_[1].lifetime, 5s);
  EXPECT_EQ(payloads_[2].lifetime, 0s);
}

TEST_F(AnswerInvocations, AnswersAnErrorOfTheTaskLikeAnyOther) {
  const Answer failed{.end = "error", .error_kind = "not_found", .message = "no run", .remedy = "make one"};
  task_ = [&](const Payload&) { return Answer(failed); };
  const ScriptedPlatform platform({event_of("a", payload(1)), reply_of(202), reply_of(410)});
  EXPECT_TRUE(answer(platform));
  EXPECT_EQ(platform.requests()[1].line, "POST /2018-06-01/runtime/invocation/a/response");
  EXPECT_EQ(decode_answer(platform.requests()[1].body), failed);
  EXPECT_EQ(log_.back(), "a worker 1 generation 5 ends: error: not_found: no run; make one");
}

TEST_F(AnswerInvocations, RefusesEventsThatAreNoPayload) {
  const std::string large(6 << 20, 'x');
  const std::pair<std::string, const char*> events[] = {{"", "cannot be read"},
                                                        {"{\"key\":\"value\"}", "cannot be read"},
                                                        {"{\"version\":9}", "version 9"},
                                                        {large, "the event has 6291456 bytes, but 65536 is the most"}};
  for (const auto& [event, why] : events) {
    const ScriptedPlatform platform({event_of("a", event), reply_of(202), reply_of(410)});
    EXPECT_TRUE(answer(platform));
    const auto requests = platform.requests();
    ASSERT_EQ(requests.size(), 3U);
    EXPECT_EQ(requests[1].line, "POST /2018-06-01/runtime/invocation/a/error");
    EXPECT_THAT(requests[1].body, AllOf(HasSubstr(R"("errorType":"Virga.BadPayload")"), HasSubstr(why)));
    EXPECT_THAT(requests[1].headers, HasSubstr("Lambda-Runtime-Function-Error-Type: Virga.BadPayload"));
    EXPECT_THAT(log_.back(), HasSubstr("a ends: Virga.BadPayload: bad_data: "));
  }
  EXPECT_THAT(payloads_, IsEmpty());
}

TEST_F(AnswerInvocations, SurvivesAnExceptionOfTheTask) {
  task_ = [](const Payload& payload) -> Answer {
    if (payload.member.worker == 1) throw std::runtime_error("a bug");
    return {.end = "done"};
  };
  const ScriptedPlatform platform(
      {event_of("a", payload(1)), reply_of(202), event_of("b", payload(2)), reply_of(202), reply_of(410)});
  EXPECT_TRUE(answer(platform));
  const auto requests = platform.requests();
  EXPECT_EQ(requests[1].line, "POST /2018-06-01/runtime/invocation/a/error");
  EXPECT_EQ(requests[1].body, R"({"errorMessage":"a bug","errorType":"Virga.Internal","stackTrace":[]})");
  EXPECT_EQ(requests[3].line, "POST /2018-06-01/runtime/invocation/b/response");
}

TEST_F(AnswerInvocations, GoesOnWhenAnAnswerCameTooLate) {
  const ScriptedPlatform platform(
      {event_of("a", payload(1)), reply_of(410), event_of("b", ""), reply_of(400), reply_of(410)});
  EXPECT_TRUE(answer(platform));
  EXPECT_THAT(log_, Contains("a the platform no longer waits for it"));
  EXPECT_THAT(log_, Contains("b the platform no longer waits for it"));
}

TEST_F(AnswerInvocations, ReportsThatItCannotStart) {
  const ScriptedPlatform platform({reply_of(202)});
  EXPECT_FALSE(answer(platform, [] { throw Error(ErrorKind::kUnsupported, "no such processor", "take another"); }));
  const auto requests = platform.requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].line, "POST /2018-06-01/runtime/init/error");
  EXPECT_EQ(
      requests[0].body,
      R"({"errorMessage":"unsupported: no such processor; take another","errorType":"Virga.Start","stackTrace":[]})");
  EXPECT_THAT(requests[0].headers, HasSubstr("Lambda-Runtime-Function-Error-Type: Virga.Start"));
  EXPECT_THAT(log_, ElementsAre("unsupported: no such processor; take another"));
}

TEST_F(AnswerInvocations, ReportsThatItsFirstRequestFailed) {
  const ScriptedPlatform platform({{.bytes = "nonsense\r\n", .closes = true}, reply_of(202)});
  EXPECT_FALSE(answer(platform));
  EXPECT_THAT(lines_of(platform), ElementsAre(kNext, "POST /2018-06-01/runtime/init/error"));
}

TEST_F(AnswerInvocations, EndsWhenThePlatformIsLost) {
  const ScriptedPlatform platform({event_of("a", payload(1)), reply_of(202), reply_of(500, "Container error")});
  EXPECT_FALSE(answer(platform));
  EXPECT_EQ(platform.requests().size(), 3U) << "the start has not failed";
  EXPECT_THAT(log_.back(), HasSubstr("status 500: Container error"));
}

}  // namespace
}  // namespace virga
