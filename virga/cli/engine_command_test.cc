// The engine as a program: how it starts, stops and dies.
#include "virga/cli/engine_command.h"

#include <csignal>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/deadline.h"
#include "virga/cli/program_testing.h"
#include "virga/engine/zip.h"
#include "virga/net/http_client.h"
#include "virga/net/sigv4.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;

/// Sleeps in its first event, with a process that wants to outlive it.
constexpr std::string_view kSleeper = R"(#!/bin/sh
sleep 1000 &
sleep 1000
)";

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = Deadline::in(60s);
  while (!condition()) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// A `virga engine --json` that runs.
class EngineProgram {
 public:
  EngineProgram(const std::filesystem::path& folder, const std::vector<std::string>& flags = {}) {
    const auto* bin = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const auto program = std::string(bin == nullptr ? "" : bin) + "/virga";
    std::vector<std::string> words{
        program, "engine", "--json", "--listen", "tcp:127.0.0.1:0", "--folder", (folder / "engine").string()};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(98);
    }
    ::close(out[1]);
    std::string line;
    char c = 0;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    facts_ = json::parse(line, nullptr, false);
  }
  ~EngineProgram() {
    if (pid_ > 0) (void)end(SIGKILL);
  }
  EngineProgram(const EngineProgram&) = delete;
  EngineProgram& operator=(const EngineProgram&) = delete;

  /// What waitpid() says of its end by `signal`.
  int end(int signal) {
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  [[nodiscard]] const json& facts() const { return facts_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] HttpRequest request(const std::string& target, const std::string& body) const {
    HttpRequest request{"POST", target, {{"Host", "127.0.0.1"}}, body};
    sign(request, {facts_["access_key_id"], facts_["secret_access_key"], ""}, {facts_["region"], "lambda"},
         std::chrono::system_clock::now());
    return request;
  }
  [[nodiscard]] HttpResponse call(const std::string& target, const std::string& body) const {
    return http_request(parse_address(facts_["address"].get<std::string>()), request(target, body), Deadline::in(60s));
  }
  /// With an event under way.
  void start_sleeper() const {
    const ZipMember member{.name = "bootstrap", .bytes = kSleeper, .mode = 0755};
    const json function = {{"FunctionName", "sleeper"},
                           {"Runtime", "provided.al2023"},
                           {"Role", "arn:aws:iam::000000000000:role/virga"},
                           {"Handler", "bootstrap"},
                           {"Timeout", 900},
                           {"Code", {{"ZipFile", base64_encode(make_zip({&member, 1}))}}}};
    ASSERT_EQ(call("/2015-03-31/functions", function.dump()).status, 201);
    auto event = request("/2015-03-31/functions/sleeper/invocations", "{}");
    event.headers.push_back({"X-Amz-Invocation-Type", "Event"});
    sign(event, {facts_["access_key_id"], facts_["secret_access_key"], ""}, {facts_["region"], "lambda"},
         std::chrono::system_clock::now());
    const auto address = parse_address(facts_["address"].get<std::string>());
    ASSERT_EQ(http_request(address, event, Deadline::in(60s)).status, 202);
  }

 private:
  pid_t pid_ = 0;
  json facts_;
};

/// Processes whose command line has `text`, those of the sandboxed functions of an engine among them.
std::size_t processes_with(const std::string& text) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::string line;  // one that has ended meanwhile gives none
    std::getline(file, line);
    if (line.find(text) != std::string::npos) ++count;
  }
  return count;
}

/// Control groups that `owner` has made.
std::size_t groups_of(pid_t owner) {
  std::size_t count = 0;
  std::error_code error;
  constexpr auto kSkip = std::filesystem::directory_options::skip_permission_denied;
  for (auto at = std::filesystem::recursive_directory_iterator("/sys/fs/cgroup", kSkip, error);
       !error && at != std::filesystem::recursive_directory_iterator(); at.increment(error)) {
    const auto name = at->path().filename().string();
    if (name.starts_with("virga-engine") && name.find(fmt::format("-{}-", owner)) != std::string::npos) ++count;
  }
  return count;
}

std::size_t mounts_of(const std::string& folder) {
  std::ifstream file("/proc/self/mountinfo");
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.find(folder) != std::string::npos ? 1 : 0;
  return count;
}

class EngineCommandTest : public testing::Test {
 protected:
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& variables = {}) const {
    return run_program(arguments, folder_.path(), variables);
  }
  TemporaryFolder folder_;
};

TEST_F(EngineCommandTest, EndsItsFunctionsWhenItIsToldToStop) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EngineProgram engine(folder_.path());
    ASSERT_TRUE(engine.facts().contains("sandbox")) << engine.facts();
    const auto code = (folder_.path() / "engine" / "code").string();
    engine.start_sleeper();
    EXPECT_TRUE(eventually([&] { return processes_with(code) == 1; }));
    const auto pid = engine.pid();
    const int status = engine.end(signal);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_EQ(processes_with(code), 0U);
    EXPECT_EQ(groups_of(pid), 0U);
    EXPECT_FALSE(std::filesystem::exists(code));
  }
}

TEST_F(EngineCommandTest, LeavesNothingButItsFolderWhenItIsKilled) {
  const auto code = (folder_.path() / "engine" / "code").string();
  pid_t pid = 0;
  {
    EngineProgram engine(folder_.path());
    engine.start_sleeper();
    EXPECT_TRUE(eventually([&] { return processes_with(code) == 1; }));
    pid = engine.pid();
    EXPECT_TRUE(WIFSIGNALED(engine.end(SIGKILL)));
  }
  EXPECT_TRUE(eventually([&] { return processes_with(code) == 0; }));
  EXPECT_EQ(mounts_of(folder_.path().string()), 0U);
  // Groups, which are empty now, and code go with the next engine.
  EngineProgram next(folder_.path());
  ASSERT_TRUE(next.facts().contains("sandbox"));
  EXPECT_EQ(groups_of(pid), 0U);
  EXPECT_TRUE(std::filesystem::is_empty(code));
}

TEST_F(EngineCommandTest, NamesAPortAndAFolderInUse) {
  const EngineProgram engine(folder_.path());
  const auto address = engine.facts()["address"].get<std::string>();
  const auto port = virga({"engine", "--listen", address});
  EXPECT_EQ(port.exit_code, 1);
  EXPECT_THAT(port.err, HasSubstr("cannot listen on " + address + ": somebody listens there"));
  EXPECT_THAT(port.err, HasSubstr("remedy: choose another port"));
  const auto folder = (folder_.path() / "engine").string();
  const auto used = virga({"engine", "--listen", "tcp:127.0.0.1:0", "--folder", folder});
  EXPECT_EQ(used.exit_code, 1);
  EXPECT_THAT(used.err, HasSubstr("another engine uses the folder " + folder));
}

TEST_F(EngineCommandTest, RefusesWhatMakesNoSense) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{"--listen", "tcp:0.0.0.0:1"}, "--listen: tcp:0.0.0.0:1 can be reached by other machines"},
      {{"--listen", "unix:/tmp/x"}, "--listen: unix:/tmp/x is no TCP address"},
      {{"--memory", "1MB"}, "--memory: "},
      {{"--concurrency", "0"}, "--concurrency: 0 is not within 1 and 10000"},
      {{"--idle", "0"}, "--idle: "},
      {{"--region", "Us East"}, "--region: 'Us East' is no region"},
      {{"--service", "tcp:127.0.0.1:0"}, "--service: tcp:127.0.0.1:0 has no port"}};
  for (const auto& [flags, said] : wrong) {
    auto words = flags;
    words.insert(words.begin(), "engine");
    const auto result = virga(words);
    EXPECT_EQ(result.exit_code, 2) << said;
    EXPECT_THAT(result.err, HasSubstr(said));
  }
  EXPECT_EQ(virga({"engine", "--writable", "/no/such/folder"}).exit_code, 3);
  EXPECT_THAT(virga({"engine"}, {"VIRGA_ENGINE_ACCESS_KEY_ID=AKIA1234"}).err,
              HasSubstr("VIRGA_ENGINE_SECRET_ACCESS_KEY: is not set"));
}

TEST_F(EngineCommandTest, TakesItsKeysFromTheEnvironment) {
  const Session session({{"HOME", "/home/x"},
                         {"VIRGA_ENGINE_ACCESS_KEY_ID", "AKIAOWN"},
                         {"VIRGA_ENGINE_SECRET_ACCESS_KEY", "a secret of 20 bytes"}},
                        {});
  EXPECT_THROW((void)engine_options({}, session), std::exception) << "spaces";
  const Session plain({{"HOME", "/home/x"},
                       {"VIRGA_ENGINE_ACCESS_KEY_ID", "AKIAOWN"},
                       {"VIRGA_ENGINE_SECRET_ACCESS_KEY", "a/secret+of/20+bytes"},
                       {"AWS_ACCESS_KEY_ID", "AKIAREAL"}},
                      {});
  const auto options = engine_options({}, plain);
  EXPECT_EQ(options.credentials.access_key_id, "AKIAOWN");
  EXPECT_EQ(options.folder, "/home/x/.virga/engine");
  EXPECT_EQ(options.listen.port, 3001);
}

}  // namespace
}  // namespace virga
