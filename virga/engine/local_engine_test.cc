#include "virga/engine/local_engine.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_report.h"
#include "virga/engine/zip.h"
#include "virga/net/http_client.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr auto kSoon = 60s;

/// A function that does what its event says.
constexpr std::string_view kBootstrap = R"(#!/usr/bin/python3
import http.client, json, os, sys, time
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
base = '/2018-06-01/runtime/'
def call(method, path, body=None, headers={}):
    api.request(method, base + path, body, headers)
    answer = api.getresponse()
    return answer, answer.read()
if os.environ.get('INIT') == 'error':
    call('POST', 'init/error', json.dumps({'errorType': 'Own.Init', 'errorMessage': 'not today'}))
    sys.exit(1)
if os.environ.get('INIT') == 'exit':
    sys.exit(7)
count = 0
while True:
    answer, event = call('GET', 'invocation/next')
    request = answer.headers['Lambda-Runtime-Aws-Request-Id']
    count += 1
    event = json.loads(event)
    do = event.get('do')
    print('did', do, flush=True)
    result = {'do': do, 'count': count, 'pid': os.getpid()}
    if do == 'exit': sys.exit(3)
    if do == 'kill': os.kill(os.getpid(), 9)
    if do == 'hang': time.sleep(1000)
    if do == 'wait':
        while not os.path.exists(event['file']): time.sleep(0.002)
    if do == 'eat':
        held = bytearray(event['bytes'])
        for i in range(0, len(held), 4096): held[i] = 1
    if do == 'fail':
        call('POST', 'invocation/%s/error' % request, json.dumps({'errorType': 'Own', 'errorMessage': 'no'}),
             {'Lambda-Runtime-Function-Error-Type': 'Own'})
        continue
    if do == 'append':
        with open(event['file'], 'a') as file: file.write(request + '\n')
        if event.get('then') == 'fail': sys.exit(4)
    if do == 'write':
        try:
            open(event['file'], 'w').write('x')
            result['wrote'] = True
        except OSError as error:
            result['wrote'] = False
    if do == 'connect':
        import socket
        try:
            s = socket.create_connection(('127.0.0.1', event['port']), 5)
            s.sendall(b'hello')
            result['got'] = s.recv(100).decode()
        except OSError as error:
            result['got'] = 'error'
    if do == 'env': result['env'] = dict(os.environ)
    if do == 'log': print('x' * event['bytes'], flush=True)
    if do == 'big': result['big'] = 'x' * event['bytes']
    if do == 'deadline': result['left_ms'] = int(answer.headers['Lambda-Runtime-Deadline-Ms']) - time.time() * 1000
    body = json.dumps(result)
    if do == 'twice': call('POST', 'invocation/%s/response' % request, body)
    status = call('POST', 'invocation/%s/response' % request, body)[0].status
    if do == 'twice': print('second answer', status, flush=True)
)";

std::string zip_of(const std::string& name, std::string_view bytes) {
  const ZipMember member{.name = name, .bytes = bytes, .mode = 0755};
  return make_zip({&member, 1});
}

class LocalEngineTest : public testing::Test {
 protected:
  LocalEngineTest() {
    std::string name = (std::filesystem::temp_directory_path() / "virga-engine-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    std::filesystem::create_directory(folder_ / "shared");
  }
  ~LocalEngineTest() override {
    engine_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  LocalEngine& engine(LocalEngine::Options options = {}) {
    options.folder = folder_ / "engine";
    options.writable = {folder_ / "shared"};
    return engine_.emplace(std::move(options));
  }

  HttpResponse call(std::string method, std::string target, std::string body = "",
                    std::vector<HttpHeader> headers = {}) {
    HttpRequest request{std::move(method), std::move(target), std::move(headers), std::move(body)};
    request.headers.push_back({"Host", fmt::format("127.0.0.1:{}", engine_->address().port)});
    sign(request, engine_->credentials(), {engine_->region(), "lambda"}, std::chrono::system_clock::now());
    return http_request(engine_->address(), request, Deadline::in(kSoon), {.body_bytes = std::size_t{16} << 20});
  }

  void create(const std::string& name, const json& more = json::object(), std::string_view bootstrap = kBootstrap) {
    json request = {{"FunctionName", name},
                    {"Runtime", "provided.al2023"},
                    {"Role", "arn:aws:iam::000000000000:role/virga"},
                    {"Handler", "bootstrap"},
                    {"MemorySize", 256},
                    {"Timeout", 60},
                    {"Code", {{"ZipFile", base64_encode(zip_of("bootstrap", bootstrap))}}}};
    request.update(more);
    const auto response = call("POST", "/2015-03-31/functions", request.dump());
    ASSERT_EQ(response.status, 201) << response.body;
  }

  HttpResponse invoke(const std::string& name, const json& event, std::vector<HttpHeader> headers = {}) {
    return call("POST", "/2015-03-31/functions/" + name + "/invocations", event.dump(), std::move(headers));
  }
  static std::string header(const HttpResponse& response, std::string_view name) {
    const auto* value = find_header(response.headers, name);
    return value == nullptr ? "" : *value;
  }
  static json body(const HttpResponse& response) { return json::parse(response.body); }
  static std::string log_of(const HttpResponse& response) {
    return base64_decode(header(response, "X-Amz-Log-Result"));
  }
  static bool wait_until(const std::function<bool()>& condition) {
    const auto deadline = Deadline::in(kSoon);
    while (!condition()) {
      if (deadline.passed()) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }
  std::vector<std::string> lines(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

  std::filesystem::path folder_;
  std::optional<LocalEngine> engine_;
};

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
  EXPECT_TRUE(wait_until([&] { return lines(bad).size() == 3 && lines(good).size() == 1; }));
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
  EXPECT_TRUE(wait_until([&] { return lines(file).size() == 2; }));
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
  ::setenv("VIRGA_TEST_SECRET", "x", 1);
  const auto env = body(invoke("f", {{"do", "env"}}))["env"];
  ::unsetenv("VIRGA_TEST_SECRET");
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
