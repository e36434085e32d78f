// What functions and clients do to an engine that they should not.
#include <csignal>
#include <future>

#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/engine/function_instance.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/local_engine_testing.h"
#include "virga/engine/sandbox_testing.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Lt;

/// A function that runs the Python that its event holds; what that puts into `result` is the answer.
constexpr std::string_view kObedient = R"(#!/usr/bin/python3
import http.client, json, os, socket, sys, time
host = os.environ['AWS_LAMBDA_RUNTIME_API']
base = '/2018-06-01/runtime/'
api = http.client.HTTPConnection(host)
def call(method, path, body=None, api=api):
    api.request(method, base + path, body)
    answer = api.getresponse()
    return answer, answer.read()
def raw(data):
    name, port = host.split(':')
    with socket.create_connection((name, int(port)), 20) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return s.makefile('rb').readline().decode()
count = 0
while True:
    answer, event = call('GET', 'invocation/next')
    request = answer.headers['Lambda-Runtime-Aws-Request-Id']
    count += 1
    result = {'count': count}
    exec(json.loads(event)['code'])
    call('POST', 'invocation/%s/response' % request, json.dumps(result))
)";

class AbuseTest : public LocalEngineTest {
 protected:
  void create_obedient(const std::string& name, const json& more = json::object()) { create(name, more, kObedient); }
  HttpResponse tell(const std::string& name, const std::string& code, std::vector<HttpHeader> headers = {}) {
    return invoke(name, {{"code", code}}, std::move(headers));
  }
  /// The status line of what the engine answers to `bytes`; "" if it just closes the connection.
  std::string raw(const std::string& bytes) {
    const auto deadline = Deadline::in(kEngineTestTime);
    const auto socket = connect_to(engine_->address(), nullptr, deadline);
    std::size_t sent = 0;
    std::string answer;
    while (answer.find("\r\n") == std::string::npos) {
      const bool more = sent < bytes.size();
      if (wait_ready(socket.get(), static_cast<short>(more ? POLLIN | POLLOUT : POLLIN), nullptr, deadline) !=
          Woken::kReady) {
        ADD_FAILURE() << "no answer";
        break;
      }
      if (more) {
        const auto count = ::send(socket.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (count > 0) sent += static_cast<std::size_t>(count);
        if (count > 0 && sent == bytes.size()) ::shutdown(socket.get(), SHUT_WR);
      }
      char buffer[1000];
      const auto count = ::read(socket.get(), buffer, sizeof buffer);
      if (count == 0 || (count < 0 && errno != EAGAIN)) break;
      if (count > 0) answer.append(buffer, static_cast<std::size_t>(count));
    }
    return answer.substr(0, answer.find("\r\n"));
  }
  void expect_well() {
    create_obedient("well");
    EXPECT_EQ(body(tell("well", ""))["count"], 1);
    EXPECT_EQ(call("DELETE", "/2015-03-31/functions/well").status, 204);
  }
};

TEST_F(AbuseTest, ContainsAFunctionThatForksWithoutEnd) {
  engine();
  if (!has(engine_->powers().processes, "a bound on processes")) return;
  create_obedient("f", {{"Timeout", 1}});
  const auto response = tell("f", "while True:\n try: os.fork()\n except OSError: pass");
  EXPECT_THAT(body(response)["errorType"].get<std::string>(),
              testing::AnyOf("Sandbox.Timedout", "Runtime.OutOfMemory", "Runtime.ExitError"));
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
  expect_well();
}

TEST_F(AbuseTest, BoundsWhatAFunctionWritesToItsTmp) {
  engine();
  if (!has(engine_->powers().files, "a view of the files of its own")) return;
  create_obedient("f", {{"MemorySize", 1769}});
  const auto response = tell("f", R"(
try:
    with open('/tmp/x', 'wb', 0) as file:
        while True: file.write(bytes(1 << 20))
except OSError as error: result['errno'] = error.errno
result['size'] = os.path.getsize('/tmp/x')
os.unlink('/tmp/x')
)");
  EXPECT_EQ(body(response)["errno"], ENOSPC) << response.body;
  EXPECT_THAT(body(response)["size"].get<std::uint64_t>(), AllOf(Ge(400U << 20U), testing::Le(512U << 20U)));

  create_obedient("wide", {{"MemorySize", 1769}, {"EphemeralStorage", {{"Size", 1024}}}});
  EXPECT_EQ(body(tell("wide", "s = os.statvfs('/tmp'); result['size'] = s.f_blocks * s.f_frsize"))["size"], 1U << 30U);

  create_obedient("small", {{"MemorySize", 400}});  // less than /tmp may hold
  const auto killed = tell("small", "with open('/tmp/x', 'wb') as file:\n while True: file.write(bytes(1 << 20))");
  EXPECT_EQ(body(killed)["errorType"], "Runtime.OutOfMemory") << killed.body;
  EXPECT_EQ(body(tell("small", "result['there'] = os.path.exists('/tmp/x')"))["there"], false);
}

TEST_F(AbuseTest, CutsTheLogOfAFunctionThatPrintsWithoutEnd) {
  engine();
  create_obedient("f", {{"MemorySize", 1769}, {"Timeout", 60}});
  const auto response = tell("f", "for i in range(20): sys.stdout.write('x' * (1 << 20) + '\\n')\nsys.stdout.flush()",
                             {{"X-Amz-Log-Type", "Tail"}});
  EXPECT_EQ(body(response)["count"], 1);
  EXPECT_THAT(log_of(response), HasSubstr("REPORT RequestId"));
  const auto log = folder_ / "engine" / "logs" / "f-000001.log";
  EXPECT_THAT(std::filesystem::file_size(log), AllOf(Ge(kMostLogBytes), Lt(kMostLogBytes + 10'000)));
  const auto all = lines(log);
  EXPECT_THAT(all, testing::Contains(HasSubstr("LOG CUT: the 16 MiB")));
  ASSERT_FALSE(all.empty());
  EXPECT_THAT(all.back(), HasSubstr("REPORT RequestId")) << "the platform's own lines go on";
  EXPECT_EQ(body(tell("f", ""))["count"], 2);
}

TEST_F(AbuseTest, RefusesAnswersToEventsOfOthers) {
  engine();
  create_obedient("f");
  const auto response = tell("f", R"(
other = 'invocation/11111111-2222-4333-8444-555555555555/'
result['response'] = call('POST', other + 'response', '1')[0].status
result['error'] = call('POST', other + 'error', '{}')[0].status
)");
  EXPECT_EQ(body(response)["response"], 400);
  EXPECT_EQ(body(response)["error"], 400);
  EXPECT_EQ(body(tell("f", ""))["count"], 2);
}

TEST_F(AbuseTest, GivesOneEventAtATime) {
  engine();
  create_obedient("f");
  const auto response = tell("f", R"(
result['status'] = call('GET', 'invocation/next', api=http.client.HTTPConnection(host))[0].status
)");
  EXPECT_EQ(body(response)["status"], 403);
  EXPECT_EQ(body(tell("f", ""))["count"], 2);
}

TEST_F(AbuseTest, RefusesWhatIsNotTheRuntimeApi) {
  engine();
  create_obedient("f");
  const auto response = tell("f", R"(
result['lines'] = [raw(data) for data in (b'\x00\xff\x00\xff\r\n\r\n', b'GET\r\n\r\n',
    b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nX: ' + b'x' * 100000 + b'\r\n\r\n',
    b'POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n',
    b'DELETE /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n')]
)");
  const auto answer = body(response);
  ASSERT_EQ(answer["lines"].size(), 6U) << response.body;
  const std::array<const char*, 6> expected = {"400", "400", "431", "413", "405", "404"};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_THAT(answer["lines"][i].get<std::string>(), HasSubstr(expected[i])) << i;
  }
  EXPECT_EQ(body(tell("f", ""))["count"], 2);
}

TEST_F(AbuseTest, DoesNotWaitForeverForAFunctionThatAsksForNoFurtherEvent) {
  engine();
  create_obedient("f", {{"Timeout", 1}});
  const auto stays = "call('POST', 'invocation/%s/response' % request, '\"gone\"')\ntime.sleep(1000)";
  EXPECT_EQ(tell("f", stays).body, "\"gone\"");
  EXPECT_EQ(body(tell("f", ""))["errorType"], "Sandbox.Timedout");
  EXPECT_EQ(tell("f", stays).body, "\"gone\"");
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); })) << "also if nobody invokes it again";
  // It hangs up while it is idle.
  const auto leaves = R"(
call('POST', 'invocation/%s/response' % request, '"left"')
name, port = host.split(':')
s = socket.create_connection((name, int(port)))
s.sendall(('GET ' + base + 'invocation/next HTTP/1.1\r\nHost: x\r\n\r\n').encode())
s.close()
time.sleep(1000)
)";
  EXPECT_EQ(tell("f", leaves).body, "\"left\"");
  EXPECT_EQ(body(tell("f", ""))["errorType"], "Sandbox.Timedout");
}

TEST_F(AbuseTest, ServesAFunctionThatClosesItsOutput) {
  engine();
  create_obedient("f");
  EXPECT_EQ(body(tell("f", "os.close(1); os.close(2)"))["count"], 1);
  EXPECT_EQ(body(tell("f", ""))["count"], 2);
}

TEST_F(AbuseTest, SaysThatAProgramCannotBeRun) {
  engine();
  create("f", json::object(), "no program\n");
  for (int i = 0; i < 3; ++i) {
    const auto response = tell("f", "");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(header(response, "X-Amz-Function-Error"), "Unhandled");
    EXPECT_EQ(body(response)["errorType"], "Runtime.InvalidEntrypoint");
  }
  EXPECT_EQ(call("PUT", "/2017-10-31/functions/f/concurrency", R"({"ReservedConcurrentExecutions":1})").status, 200);
  EXPECT_EQ(tell("f", "").status, 200) << "none of them counts as under way";
  expect_well();
}

TEST_F(AbuseTest, RefusesMalformedRequests) {
  engine();
  create_obedient("f");
  EXPECT_THAT(raw("\x01\x02\x03\r\n\r\n"), HasSubstr("400"));
  EXPECT_THAT(raw("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n"), HasSubstr("431"));
  EXPECT_THAT(raw("POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
              HasSubstr("413"));
  EXPECT_THAT(raw("GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n\r\n"),
              HasSubstr("400"));
  EXPECT_THAT(raw("GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n\r\n"), HasSubstr("403"));

  const std::vector<std::string> bodies = {
      "",
      "[]",
      "null",
      "{",
      "\xff\xfe",
      R"({"FunctionName":7})",
      "{}",
      "\"text\"",
      "1e999",
      std::string(100'000, '['),
      R"({"FunctionName":"g","Runtime":["provided.al2"],"Role":{},"Handler":1,"Code":"x"})",
      R"({"ReservedConcurrentExecutions":-1})",
      R"({"ReservedConcurrentExecutions":1e30})",
      R"({"MaximumRetryAttempts":99999999999})",
      R"({"MemorySize":"much","Timeout":null})",
      R"({"Environment":{"Variables":{"AWS_REGION":"x"}}})"};
  const std::vector<std::pair<std::string, std::string>> calls = {{"POST", "/2015-03-31/functions"},
                                                                  {"PUT", "/2015-03-31/functions/f/code"},
                                                                  {"PUT", "/2017-10-31/functions/f/concurrency"},
                                                                  {"PUT", "/2015-03-31/functions/none/configuration"}};
  for (const auto& [method, target] : calls) {
    for (const auto& text : bodies) {
      EXPECT_THAT(call(method, target, text).status, AllOf(Ge(400), Lt(500))) << method << target << text.substr(0, 99);
    }
  }
  for (const auto* target : {"/", "//", "/2015-03-31/functions/%zz", "/2015-03-31/functions/..%2f..%2fetc/invocations",
                             "/2015-03-31/functions/f:/invocations", "/2015-03-31/functions/f/invocations/x"}) {
    EXPECT_THAT(call("POST", target, "{}").status, AllOf(Ge(400), Lt(500))) << target;
  }
  EXPECT_EQ(body(tell("f", ""))["count"], 1);
}

TEST_F(AbuseTest, CountsRightWhenAFunctionIsReplacedWhileItRuns) {
  engine();
  create_obedient("f");
  auto waiting = std::async(std::launch::async, [&] { return tell("f", "time.sleep(1000)"); });
  ASSERT_TRUE(wait_until([&] { return !engine_->processes().empty(); }));
  EXPECT_EQ(call("DELETE", "/2015-03-31/functions/f").status, 204);
  create_obedient("f");
  EXPECT_THAT(waiting.get().body, HasSubstr("signal: killed"));
  ASSERT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
  EXPECT_EQ(call("PUT", "/2017-10-31/functions/f/concurrency", R"({"ReservedConcurrentExecutions":1})").status, 200);
  auto second = std::async(std::launch::async, [&] { return tell("f", "time.sleep(1000)"); });
  ASSERT_TRUE(wait_until([&] { return !engine_->processes().empty(); }));
  EXPECT_EQ(tell("f", "").status, 429);
  EXPECT_EQ(call("DELETE", "/2015-03-31/functions/f").status, 204);
  second.get();
}

TEST_F(AbuseTest, KeepsWhatIsReserved) {
  LocalEngine::Options options;
  options.most_concurrent = 10;
  engine(options);
  create_obedient("f");
  create_obedient("g");
  const auto reserve = [&](const std::string& name, int count) {
    return call("PUT", "/2017-10-31/functions/" + name + "/concurrency",
                json{{"ReservedConcurrentExecutions", count}}.dump());
  };
  EXPECT_EQ(reserve("f", 10).status, 400);
  EXPECT_EQ(reserve("f", 9).status, 200);
  EXPECT_EQ(reserve("g", 1).status, 400);
  EXPECT_EQ(reserve("g", 0).status, 200) << "none at all is always permitted";
  EXPECT_EQ(tell("g", "").status, 429);
  EXPECT_EQ(call("DELETE", "/2017-10-31/functions/g/concurrency").status, 204);
  auto waiting = std::async(std::launch::async, [&] { return tell("g", "time.sleep(1000)"); });
  ASSERT_TRUE(wait_until([&] { return !engine_->processes().empty(); }));
  EXPECT_EQ(tell("g", "").status, 429) << "one is left for all others";
  EXPECT_EQ(body(tell("f", ""))["count"], 1);
  EXPECT_EQ(call("DELETE", "/2015-03-31/functions/g").status, 204);
  waiting.get();
}

TEST_F(AbuseTest, QueuesEventsUntilThereIsRoom) {
  LocalEngine::Options options;
  options.most_concurrent = 2;
  engine(options);
  create_obedient("f");
  const auto file = folder_ / "shared" / "events";
  const auto code = fmt::format("open('{}', 'a').write(request + '\\n')", file.string());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(tell("f", code, {{"X-Amz-Invocation-Type", "Event"}}).status, 202);
  EXPECT_TRUE(wait_until([&] { return lines(file).size() == 50; }));
}

TEST_F(AbuseTest, SaysThatTheDiskIsFull) {
  std::filesystem::create_directory(folder_ / "engine");
  const auto mount_point = (folder_ / "engine").string();
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=1m") != 0) {
    std::cout << "not run: a small file system cannot be mounted here\n";
    return;
  }
  engine();
  std::string large(std::size_t{4} << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * i >> 5U);
  const json request = {{"FunctionName", "large"},
                        {"Runtime", "provided.al2023"},
                        {"Role", "arn:aws:iam::000000000000:role/virga"},
                        {"Handler", "bootstrap"},
                        {"Code", {{"ZipFile", base64_encode(zip_of("bootstrap", large))}}}};
  const auto refused = call("POST", "/2015-03-31/functions", request.dump());
  EXPECT_EQ(refused.status, 500);
  EXPECT_EQ(header(refused, "X-Amzn-Errortype"), "ServiceException");
  EXPECT_THAT(refused.body, HasSubstr("No space left"));
  EXPECT_EQ(call("GET", "/2015-03-31/functions/large").status, 404);
  expect_well();  // what was unpacked has made way
  create_obedient("logs");
  EXPECT_EQ(body(tell("logs", "print('x' * 3000000, flush=True)"))["count"], 1) << "a log that is full ends nothing";
  engine_.reset();
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
}

TEST_F(AbuseTest, RefusesAPortOrAFolderInUse) {
  engine();
  const auto kind_of = [](const LocalEngine::Options& options) -> std::optional<ErrorKind> {
    try {
      const LocalEngine second(options);
      return std::nullopt;
    } catch (const Error& error) {
      return error.kind();
    }
  };
  LocalEngine::Options options;
  options.folder = folder_ / "other";
  options.listen = engine_->address();
  EXPECT_EQ(kind_of(options), ErrorKind::kConflict);
  options.listen.port = 0;
  options.folder = folder_ / "engine";
  EXPECT_EQ(kind_of(options), ErrorKind::kConflict);
  options.folder = folder_ / "other";
  EXPECT_EQ(kind_of(options), std::nullopt);
  expect_well();
}

TEST_F(AbuseTest, LeavesNothingBehindWhenItEndsInTheMiddle) {
  const auto before = what_is_there();
  engine();
  create_obedient("f", {{"MemorySize", 128}});
  std::vector<std::future<void>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(std::async(std::launch::async, [&] {
      EXPECT_THROW((void)tell("f", "os.fork(); os.fork()\nif os.fork() == 0: os.setsid()\ntime.sleep(1000)"), Error);
    }));
  }
  EXPECT_TRUE(wait_until([&] { return engine_->processes().size() >= 32; }));
  engine_.reset();
  for (auto& one : waiting) one.get();
  EXPECT_EQ(what_is_there(), before);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "engine" / "code"));
}

}  // namespace
}  // namespace virga
