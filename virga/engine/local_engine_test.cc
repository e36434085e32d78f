#include <cstdlib>
#include <fstream>
#include <future>
#include <thread>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/engine/lambda_client.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_report.h"
#include "virga/engine/local_engine_testing.h"
#include "virga/net/socket.h"
#include "virga/net/tls_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;

constexpr auto kSoon = kEngineTestTime;

TEST_F(LocalEngineTest, IsUsedThroughTlsByAClientThatVerifiesIt) {
  engine();
  const TlsFront front(engine_->address());
  const auto authority = TestCertificates::shared().authority();
  LambdaClient client({.endpoint = parse_lambda_endpoint(front.url(), authority),
                       .credentials = engine_->credentials(),
                       .region = engine_->region()});
  const auto soon = Deadline::in(kSoon);
  (void)client.create_function({.function_name = "f",
                                .role = "arn:aws:iam::000000000000:role/virga",
                                .zip = zip_of("bootstrap", kBootstrap),
                                .timeout = 60s,
                                .memory_mb = 256},
                               soon);
  std::promise<LambdaClient::Invoked> promise;
  client.invoke({.function = "f", .payload = R"({"do": "this"})"}, soon, soon,
                [&](LambdaClient::Invoked ended) { promise.set_value(std::move(ended)); });
  const auto ended = promise.get_future().get();
  ASSERT_TRUE(ended.response) << ended.error->what();
  EXPECT_EQ(json::parse(ended.response->payload)["do"], "this");

  LambdaClient stranger({.endpoint = parse_lambda_endpoint(front.url()), .credentials = engine_->credentials()});
  try {
    (void)stranger.list_functions(soon);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnauthorized) << "at once: trying again would not help";
    EXPECT_THAT(error.what(), HasSubstr("its certificate is signed by nobody whom"));
  }
}

TEST_F(LocalEngineTest, RunsAFunctionAndKeepsItWarm) {
  engine();
  create("f");
  const auto first = invoke("f", {{"do", "this"}}, {{"X-Amz-Log-Type", "Tail"}});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(header(first, "X-Amz-Function-Error"), "");
  EXPECT_EQ(header(first, "X-Amz-Executed-Version"), "$LATEST");
  EXPECT_EQ(body(first)["do"], "this");
  EXPECT_THAT(log_of(first), HasSubstr("did this\n"));
  const auto report = lambda::parse_report(log_of(first));
  ASSERT_TRUE(report);
  EXPECT_GT(report->bill.init.count(), 0);
  EXPECT_EQ(report->bill.memory_bytes, 256U << 20U);
  EXPECT_GT(report->bill.peak_memory_bytes, 0U);
  EXPECT_EQ(report->bill.billed,
            std::chrono::ceil<std::chrono::milliseconds>(report->bill.duration + report->bill.init));

  const auto second = invoke("f", {{"do", "that"}}, {{"X-Amz-Log-Type", "Tail"}});
  EXPECT_EQ(body(second)["count"], 2);
  EXPECT_EQ(body(second)["pid"], body(first)["pid"]);
  EXPECT_EQ(lambda::parse_report(log_of(second))->bill.init.count(), 0);
}

TEST_F(LocalEngineTest, RunsInvocationsAtOnceInInstancesOfTheirOwn) {
  engine();
  create("f");
  const auto file = (folder_ / "shared" / "go").string();
  std::vector<std::future<HttpResponse>> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(std::async(std::launch::async, [&] { return invoke("f", {{"do", "wait"}, {"file", file}}); }));
  }
  EXPECT_TRUE(wait_until([&] { return engine_->processes().size() >= 3; }));
  std::ofstream(file) << "now";
  for (auto& one : waiting) EXPECT_EQ(body(one.get())["count"], 1);
}

TEST_F(LocalEngineTest, SaysHowAFunctionFailed) {
  engine();
  create("f");
  const std::vector<HttpHeader> tail = {{"X-Amz-Log-Type", "Tail"}};
  const auto failed = invoke("f", {{"do", "fail"}});
  EXPECT_EQ(failed.status, 200);
  EXPECT_EQ(header(failed, "X-Amz-Function-Error"), "Unhandled");
  EXPECT_EQ(body(failed)["errorMessage"], "no");

  const auto left = invoke("f", {{"do", "exit"}}, tail);
  EXPECT_EQ(header(left, "X-Amz-Function-Error"), "Unhandled");
  EXPECT_EQ(body(left)["errorType"], "Runtime.ExitError");
  EXPECT_THAT(body(left)["errorMessage"].get<std::string>(), HasSubstr("exit status 3"));
  EXPECT_THAT(log_of(left), HasSubstr("did exit\n"));
  EXPECT_TRUE(lambda::parse_report(log_of(left)));

  EXPECT_THAT(body(invoke("f", {{"do", "kill"}}))["errorMessage"].get<std::string>(), HasSubstr("signal: killed"));
  EXPECT_EQ(body(invoke("f", {{"do", "this"}}))["count"], 1) << "a new instance works";
}

TEST_F(LocalEngineTest, KillsAFunctionAtItsTimeout) {
  engine();
  create("f", {{"Timeout", 1}});
  const auto response = invoke("f", {{"do", "hang"}}, {{"X-Amz-Log-Type", "Tail"}});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(body(response)["errorType"], "Sandbox.Timedout");
  EXPECT_THAT(body(response)["errorMessage"].get<std::string>(), HasSubstr("Task timed out after 1.00 seconds"));
  const auto report = lambda::parse_report(log_of(response));
  ASSERT_TRUE(report);
  EXPECT_GE(report->bill.duration, 1s);
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
}

TEST_F(LocalEngineTest, KillsAFunctionThatTakesMoreMemoryThanItsLimit) {
  engine();
  create("f", {{"MemorySize", 128}});
  EXPECT_EQ(body(invoke("f", {{"do", "eat"}, {"bytes", 50 << 20}}))["do"], "eat");
  const auto response = invoke("f", {{"do", "eat"}, {"bytes", 300 << 20}}, {{"X-Amz-Log-Type", "Tail"}});
  EXPECT_EQ(body(response)["errorType"], "Runtime.OutOfMemory") << response.body << log_of(response);
}

TEST_F(LocalEngineTest, SaysWhenAFunctionCannotStart) {
  engine();
  create("reports", {{"Environment", {{"Variables", {{"INIT", "error"}}}}}});
  EXPECT_EQ(body(invoke("reports", {{"do", "this"}}))["errorMessage"], "not today");
  create("exits", {{"Environment", {{"Variables", {{"INIT", "exit"}}}}}});
  EXPECT_THAT(body(invoke("exits", {{"do", "this"}}))["errorMessage"].get<std::string>(), HasSubstr("exit status 7"));
}

TEST_F(LocalEngineTest, TakesOnlyTheFirstAnswer) {
  engine();
  create("f");
  const auto response = invoke("f", {{"do", "twice"}});
  EXPECT_EQ(body(response)["do"], "twice");
  const auto next = invoke("f", {{"do", "this"}}, {{"X-Amz-Log-Type", "Tail"}});
  EXPECT_EQ(body(next)["count"], 2);
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "engine" / "logs")) {
    for (const auto& line : lines(entry.path())) found = found || line == "second answer 400";
  }
  EXPECT_TRUE(found);
}

TEST_F(LocalEngineTest, RefusesPayloadsAndAnswersBeyondTheLimits) {
  engine();
  create("f");
  const auto too_large =
      call("POST", "/2015-03-31/functions/f/invocations", "\"" + std::string(lambda::kMostRequestBytes, 'x') + "\"");
  EXPECT_EQ(too_large.status, 413);
  EXPECT_EQ(header(too_large, "X-Amzn-Errortype"), "RequestTooLargeException");
  const auto event =
      call("POST", "/2015-03-31/functions/f/invocations", "\"" + std::string(lambda::kMostEventBytes, 'x') + "\"",
           {{"X-Amz-Invocation-Type", "Event"}});
  EXPECT_EQ(event.status, 413);
  const auto answer = invoke("f", {{"do", "big"}, {"bytes", lambda::kMostResponseBytes + 1}});
  EXPECT_EQ(body(answer)["errorType"], "Function.ResponseSizeTooLarge");
  EXPECT_EQ(body(invoke("f", {{"do", "big"}, {"bytes", 5 << 20}}))["do"], "big");
  EXPECT_EQ(call("POST", "/2015-03-31/functions/f/invocations", "{not json").status, 400);
}

TEST_F(LocalEngineTest, CutsTheLogTail) {
  engine();
  create("f");
  const auto log = log_of(invoke("f", {{"do", "log"}, {"bytes", 1 << 20}}, {{"X-Amz-Log-Type", "Tail"}}));
  EXPECT_EQ(log.size(), lambda::kLogTailBytes);
  EXPECT_TRUE(lambda::parse_report(log));
}

TEST_F(LocalEngineTest, HoldsToReservedConcurrency) {
  engine();
  create("f");
  EXPECT_EQ(call("PUT", "/2017-10-31/functions/f/concurrency", R"({"ReservedConcurrentExecutions":1})").status, 200);
  const auto file = (folder_ / "shared" / "go").string();
  auto waiting = std::async(std::launch::async, [&] { return invoke("f", {{"do", "wait"}, {"file", file}}); });
  ASSERT_TRUE(wait_until([&] { return !engine_->processes().empty(); }));
  const auto refused = invoke("f", {{"do", "this"}});
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(header(refused, "X-Amzn-Errortype"), "TooManyRequestsException");
  EXPECT_EQ(body(refused)["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
  std::ofstream(file) << "now";
  EXPECT_EQ(waiting.get().status, 200);
  EXPECT_EQ(invoke("f", {{"do", "this"}}).status, 200);
  EXPECT_EQ(call("DELETE", "/2017-10-31/functions/f/concurrency").status, 204);
}

TEST_F(LocalEngineTest, RefusesWhatDoesNotFitTheMachine) {
  LocalEngine::Options options;
  options.memory_bytes = 300U << 20U;
  engine(options);
  create("f");
  const auto file = (folder_ / "shared" / "go").string();
  auto waiting = std::async(std::launch::async, [&] { return invoke("f", {{"do", "wait"}, {"file", file}}); });
  ASSERT_TRUE(wait_until([&] { return !engine_->processes().empty(); }));
  EXPECT_EQ(invoke("f", {{"do", "this"}}).status, 429);
  std::ofstream(file) << "now";
  EXPECT_EQ(waiting.get().status, 200);
  create("g");  // the idle instance of f makes room
  EXPECT_EQ(invoke("g", {{"do", "this"}}).status, 200);
}

TEST_F(LocalEngineTest, TriesEventsAgain) {
  LocalEngine::Options options;
  options.retry_pauses = {10ms, 10ms};
  engine(options);
  create("f");
  const auto good = folder_ / "shared" / "good";
  const auto bad = folder_ / "shared" / "bad";
  const std::vector<HttpHeader> event = {{"X-Amz-Invocation-Type", "Event"}};
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", bad.string()}, {"then", "fail"}}, event).status, 202);
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", good.string()}}, event).status, 202);
  ASSERT_TRUE(wait_until([&] { return lines(bad).size() == 3 && lines(good).size() == 1; }));
  EXPECT_EQ(lines(bad)[0], lines(bad)[2]) << "the request id stays";

  EXPECT_EQ(call("PUT", "/2019-09-25/functions/f/event-invoke-config", R"({"MaximumRetryAttempts":0})").status, 200);
  const auto once = folder_ / "shared" / "once";
  const auto after = folder_ / "shared" / "after";
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", once.string()}, {"then", "fail"}}, event).status, 202);
  EXPECT_TRUE(wait_until([&] { return lines(once).size() == 1 && engine_->processes().size() <= 3; }));
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", after.string()}}, event).status, 202);
  EXPECT_TRUE(wait_until([&] { return lines(after).size() == 1; }));
  EXPECT_EQ(lines(once).size(), 1U);
}

TEST_F(LocalEngineTest, DoublesEventsWhenToldTo) {
  LocalEngine::Options options;
  options.doubles_events = true;
  engine(options);
  create("f");
  const auto file = folder_ / "shared" / "events";
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", file.string()}}, {{"X-Amz-Invocation-Type", "Event"}}).status, 202);
  ASSERT_TRUE(wait_until([&] { return lines(file).size() == 2; }));
  EXPECT_EQ(lines(file)[0], lines(file)[1]);
}

TEST_F(LocalEngineTest, RunsNothingForADryRun) {
  engine();
  create("f");
  EXPECT_EQ(invoke("f", {{"do", "exit"}}, {{"X-Amz-Invocation-Type", "DryRun"}}).status, 204);
  EXPECT_TRUE(engine_->processes().empty());
  EXPECT_EQ(invoke("nobody", {{"do", "exit"}}, {{"X-Amz-Invocation-Type", "DryRun"}}).status, 404);
}

TEST_F(LocalEngineTest, RefusesWhoHasNotSigned) {
  engine();
  create("f");
  HttpRequest request{"POST", "/2015-03-31/functions/f/invocations", {{"Host", "127.0.0.1"}}, "{}"};
  EXPECT_EQ(http_request(engine_->address(), request, Deadline::in(kSoon)).status, 403);
  auto wrong = engine_->credentials();
  wrong.secret_access_key[0] = wrong.secret_access_key[0] == 'a' ? 'b' : 'a';
  sign(request, wrong, {"us-east-1", "lambda"}, std::chrono::system_clock::now());
  const auto refused = http_request(engine_->address(), request, Deadline::in(kSoon));
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(header(refused, "X-Amzn-Errortype"), "InvalidSignatureException");
}

TEST_F(LocalEngineTest, ListsChangesAndDeletesFunctions) {
  engine();
  for (const auto* name : {"a", "b", "c"}) create(name);
  const auto page = body(call("GET", "/2015-03-31/functions/?MaxItems=2"));
  ASSERT_EQ(page["Functions"].size(), 2U);
  EXPECT_EQ(page["Functions"][0]["FunctionName"], "a");
  const auto rest = body(call("GET", "/2015-03-31/functions/?Marker=" + page["NextMarker"].get<std::string>()));
  ASSERT_EQ(rest["Functions"].size(), 1U);
  EXPECT_EQ(rest["Functions"][0]["FunctionName"], "c");

  EXPECT_EQ(
      call("PUT", "/2015-03-31/functions/a/configuration", R"({"Environment":{"Variables":{"WORD":"new"}}})").status,
      200);
  EXPECT_EQ(body(invoke("a", {{"do", "env"}}))["env"]["WORD"], "new");
  EXPECT_EQ(body(call("GET", "/2015-03-31/functions/a"))["Configuration"]["MemorySize"], 256);
  EXPECT_EQ(call("DELETE", "/2015-03-31/functions/a").status, 204);
  EXPECT_EQ(invoke("a", json::object()).status, 404);
  EXPECT_EQ(header(call("GET", "/2015-03-31/functions/a"), "X-Amzn-Errortype"), "ResourceNotFoundException");
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "engine" / "code" / "a-1"));
}

TEST_F(LocalEngineTest, RefusesWhatItDoesNotKnow) {
  engine();
  create("f");
  const auto code = [](const std::string& zip) { return json{{"ZipFile", base64_encode(zip)}}; };
  const json good = {{"FunctionName", "g"},
                     {"Runtime", "provided.al2"},
                     {"Role", "arn:aws:iam::000000000000:role/v"},
                     {"Handler", "h"},
                     {"Code", code(zip_of("bootstrap", "#!/bin/sh\n"))}};
  const auto with = [&](const json& change) {
    auto request = good;
    request.update(change);
    return call("POST", "/2015-03-31/functions", request.dump());
  };
  EXPECT_EQ(with({{"FunctionName", "f"}}).status, 409);
  EXPECT_EQ(with({{"FunctionName", "no spaces"}}).status, 400);
  EXPECT_EQ(with({{"Runtime", "python3.12"}}).status, 400);
  EXPECT_EQ(with({{"MemorySize", 64}}).status, 400);
  EXPECT_EQ(with({{"Timeout", 901}}).status, 400);
  EXPECT_EQ(with({{"Layers", {"arn:aws:lambda:us-east-1:1:layer:x:1"}}}).status, 400);
  EXPECT_EQ(with({{"Code", code("not a zip")}}).status, 400);
  EXPECT_EQ(with({{"Code", code(zip_of("other", "x"))}}).status, 400);
  EXPECT_EQ(call("POST", "/2015-03-31/functions", "[]").status, 400);
  EXPECT_EQ(call("GET", "/2015-03-31/functions/f/policy").status, 404);
  EXPECT_EQ(call("POST", "/2015-03-31/functions/f:7/invocations", "{}").status, 404);
  EXPECT_EQ(with(json::object()).status, 201);
}

TEST_F(LocalEngineTest, GivesAFunctionItsSurroundings) {
  engine();
  create("f", {{"Environment", {{"Variables", {{"WORD", "here"}}}}}, {"Timeout", 9}});
  ::setenv("VIRGA_TEST_SECRET", "x", 1);  // NOLINT(concurrency-mt-unsafe): nobody reads it meanwhile
  const auto env = body(invoke("f", {{"do", "env"}}))["env"];
  ::unsetenv("VIRGA_TEST_SECRET");  // NOLINT(concurrency-mt-unsafe): as above
  EXPECT_EQ(env["WORD"], "here");
  EXPECT_EQ(env["AWS_LAMBDA_FUNCTION_NAME"], "f");
  EXPECT_EQ(env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
  EXPECT_EQ(env["_HANDLER"], "bootstrap");
  EXPECT_FALSE(env.contains("VIRGA_TEST_SECRET"));
  EXPECT_FALSE(env.contains("AWS_SECRET_ACCESS_KEY"));
  const auto left = body(invoke("f", {{"do", "deadline"}}))["left_ms"].get<double>();
  EXPECT_LE(left, 9000);
  EXPECT_GT(left, 0);
}

TEST_F(LocalEngineTest, KeepsAFunctionToItsOwnFilesAndNetwork) {
  engine();
  if (engine_->powers().files.empty() || engine_->powers().network.empty()) {
    std::cout << "not run: this machine permits no namespaces (" << describe(engine_->powers()) << ")\n";
    return;
  }
  create("f");
  const auto outside = fmt::format("/var/tmp/virga-engine-test-{}", ::getpid());
  EXPECT_EQ(body(invoke("f", {{"do", "write"}, {"file", outside}}))["wrote"], false);
  // Its /tmp is its own.
  EXPECT_EQ(body(invoke("f", {{"do", "write"}, {"file", (folder_ / "other").string()}}))["wrote"], true);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "other"));
  EXPECT_EQ(body(invoke("f", {{"do", "write"}, {"file", (folder_ / "shared" / "mine").string()}}))["wrote"], true);
  EXPECT_EQ(body(invoke("f", {{"do", "connect"}, {"port", int{engine_->address().port}}}))["got"], "error");
}

TEST_F(LocalEngineTest, LetsAFunctionReachTheServicesOfItsJob) {
  const Listener echo({.kind = Address::Kind::kTcp, .path = "", .host = "127.0.0.1", .port = 0});
  std::thread server([&] {
    const auto deadline = Deadline::in(kSoon);
    (void)wait_ready(echo.descriptor(), POLLIN, nullptr, deadline);
    const auto connection = echo.accept();
    char buffer[100];
    (void)wait_ready(connection.get(), POLLIN, nullptr, deadline);
    const auto count = ::read(connection.get(), buffer, sizeof buffer);
    EXPECT_EQ(::write(connection.get(), buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0))), count);
  });
  LocalEngine::Options options;
  options.services = {echo.address()};
  engine(options);
  create("f");
  EXPECT_EQ(body(invoke("f", {{"do", "connect"}, {"port", int{echo.address().port}}}))["got"], "hello");
  server.join();
}

TEST_F(LocalEngineTest, RefusesServicesThatFunctionsCannotReach) {
  for (const auto* address : {"tcp:[::1]:7077", "tcp:cache:6379"}) {
    LocalEngine::Options options;
    options.services = {parse_address(address)};
    try {
      engine(options);
      ADD_FAILURE() << address;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), testing::HasSubstr(address));
    }
  }
}

TEST_F(LocalEngineTest, LeavesNoProcessBehind) {
  engine();
  create("f");
  invoke("f", {{"do", "this"}});
  const auto pids = engine_->processes();
  ASSERT_FALSE(pids.empty());
  engine_.reset();
  for (const auto pid : pids) EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(LocalEngineTest, EndsInstancesThatNobodyUses) {
  LocalEngine::Options options;
  options.idle_time = 10ms;
  engine(options);
  create("f");
  invoke("f", {{"do", "this"}});
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
  EXPECT_EQ(body(invoke("f", {{"do", "this"}}))["count"], 1);
}

TEST_F(LocalEngineTest, SurvivesAClientThatHangsUp) {
  engine();
  create("f");
  const auto file = folder_ / "shared" / "done";
  const auto go = folder_ / "shared" / "go";
  {
    HttpRequest request{"POST",
                        "/2015-03-31/functions/f/invocations",
                        {{"Host", "127.0.0.1"}},
                        json{{"do", "wait"}, {"file", go.string()}}.dump()};
    sign(request, engine_->credentials(), {"us-east-1", "lambda"}, std::chrono::system_clock::now());
    EXPECT_THROW((void)http_request(engine_->address(), request, Deadline::in(300ms)), Error);
  }
  std::ofstream(go) << "now";
  EXPECT_EQ(invoke("f", {{"do", "append"}, {"file", file.string()}}).status, 200);
}

}  // namespace
}  // namespace virga
