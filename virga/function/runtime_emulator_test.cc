// The program under an imitation of AWS's Runtime Interface Emulator: runtime_emulator.py says which of its traits.
#include <array>
#include <csignal>
#include <cstdlib>
#include <future>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/function/platform_testing.h"
#include "virga/function/run_testing.h"
#include "virga/net/http_client.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

/// A process of the emulator, with virga-function as its bootstrap.
class Emulator {
 public:
  Emulator(const std::filesystem::path& bootstrap, std::chrono::seconds timeout, std::vector<std::string> variables) {
    std::filesystem::copy_file(virga_function_program(), bootstrap);
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const auto script = std::filesystem::path(source == nullptr ? "." : source) / "virga/function/runtime_emulator.py";
    std::vector<std::string> command{"/usr/bin/python3", "-I", script.string(), bootstrap.string(),
                                     std::to_string(timeout.count())};
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    check(::pipe2(in.data(), O_CLOEXEC) == 0 && ::pipe2(out.data(), O_CLOEXEC) == 0, "a pipe can be made");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    const auto error = ::posix_spawn(&process_, command[0].c_str(), &actions, nullptr, pointers(command).data(),
                                     pointers(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    to_ = in[1];
    from_ = out[0];
    if (error != 0) throw system_error("cannot start " + command[0] + " (apt-get install python3)", error);
    const auto said = line();
    constexpr std::string_view kSays = "listens on ";
    check(said.starts_with(kSays), "the emulator says where it listens");
    address_.port = static_cast<std::uint16_t>(std::stoul(said.substr(kSays.size())));
  }
  ~Emulator() {
    ::close(to_);  // which ends it
    ::waitpid(process_, nullptr, 0);
    ::close(from_);
  }
  Emulator(const Emulator&) = delete;
  Emulator& operator=(const Emulator&) = delete;

  [[nodiscard]] HttpResponse invoke(const std::string& event) const {
    return http_request(address_, {"POST", "/2015-03-31/functions/function/invocations", {}, event}, Deadline::in(60s));
  }
  /// What it says next.
  [[nodiscard]] std::string line() const {
    std::string text;
    for (char c = 0; ::read(from_, &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (auto& text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
  }

  Address address_{.kind = Address::Kind::kTcp, .path = "", .host = "127.0.0.1", .port = 0};
  pid_t process_ = -1;
  int to_ = -1;
  int from_ = -1;
};

class UnderTheEmulator : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path at(const std::string& name) const { return folder_.path() / name; }
  Emulator& emulate(std::chrono::seconds timeout = 300s, std::vector<std::string> variables = {}) {
    return emulator_.emplace(at("bootstrap"), timeout, std::move(variables));
  }
  [[nodiscard]] static std::string error_kind(const HttpResponse& response) {
    EXPECT_EQ(response.status, 200) << response.body;
    return decode_answer(response.body).error_kind;
  }

  const FunctionFolder folder_;
  std::optional<Emulator> emulator_;
};

TEST_F(UnderTheEmulator, TrainsAndEvaluatesWithTheSameBits) {
  const auto set = make_tiny_set(at("data"));
  for (const auto* run : {"emulated", "file"}) prepare_run(at(run), set, 1);
  const auto payloads = [&](const std::string& run) {
    return std::vector{worker_payload(at(run)), evaluation_payload(at(run), 1), evaluation_payload(at(run), 3)};
  };
  const auto& emulator = emulate();
  const auto emulated = payloads("emulated");
  const auto expected = payloads("file");
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto response = emulator.invoke(encode_payload(emulated[i]));
    ASSERT_EQ(response.status, 200) << response.body;
    write_file_atomically(at("payload.json"), as_bytes(encode_payload(expected[i])), false);
    const auto alone = decode_answer(run_function({at("payload.json").string()}).out);
    const auto answer = decode_answer(response.body);
    EXPECT_EQ(answer.end, expected[i].task == "worker" ? "done" : "evaluated") << answer.message;
    EXPECT_EQ(answer.end, alone.end) << alone.message;
    EXPECT_EQ(answer.loss, alone.loss);
  }
  for (const std::uint32_t epoch : {1U, 2U, 3U}) {
    EXPECT_EQ(read_file(at("emulated") / snapshot_object(epoch)), read_file(at("file") / snapshot_object(epoch)));
  }
}

TEST_F(UnderTheEmulator, AnswersErrorsAndStaysWarm) {
  const auto& emulator = emulate();
  const auto nothing = encode_payload(worker_payload(at("nothing")));
  EXPECT_EQ(error_kind(emulator.invoke(nothing)), "not_found");
  EXPECT_THAT(emulator.invoke("{\"key\": 1}").body, HasSubstr("\"errorType\":\"Virga.BadPayload\""));
  EXPECT_EQ(error_kind(emulator.invoke(nothing)), "not_found");
}

TEST_F(UnderTheEmulator, IsStartedAgainWhenItDies) {
  const auto& emulator = emulate(300s, {"VIRGA_CRASH_AT=before_answer:2"});
  const auto nothing = encode_payload(worker_payload(at("nothing")));
  EXPECT_EQ(error_kind(emulator.invoke(nothing)), "not_found");
  const auto dead = emulator.invoke(nothing);
  EXPECT_EQ(dead.status, 502);
  EXPECT_THAT(dead.body, AllOf(HasSubstr("Runtime.ExitError"), HasSubstr("signal: 9")));
  EXPECT_EQ(error_kind(emulator.invoke(nothing)), "not_found");
}

TEST_F(UnderTheEmulator, HasOneEventAtATimeAndIsKilledWhenItsTimeIsOver) {
  prepare_run(at("run"), make_tiny_set(at("data")), 1);
  std::filesystem::create_directories(at("tokens"));
  write_file_atomically(at("tokens") / "0", {}, false);  // for one to hang
  const auto& emulator =
      emulate(2s, {"VIRGA_STOP_AT=before_snapshot:2", "VIRGA_CRASH_TOKENS=" + at("tokens").string()});
  auto payload = worker_payload(at("run"));

  auto hung = std::async(std::launch::async, [&] { return emulator.invoke(encode_payload(payload)); });
  EXPECT_THAT(emulator.line(), HasSubstr("START "));
  EXPECT_EQ(emulator.invoke(encode_payload(payload)).status, 400);
  const auto late = hung.get();
  EXPECT_EQ(late.status, 200);
  EXPECT_EQ(late.body, "Task timed out after 2.00 seconds");
  EXPECT_THROW((void)decode_answer(late.body), Error) << "nobody takes it for an answer";

  EXPECT_EQ(decode_answer(emulator.invoke(encode_payload(payload)).body).end, "superseded");
  DirectoryRegister registers((at("run") / "registers").string());
  registers.write(kViewRegister, as_bytes(encode_view({.view = {.number = 2, .members = {{0, 2}}}})),
                  {Deadline::in(60s)});
  payload.member.generation = 2;
  EXPECT_EQ(decode_answer(emulator.invoke(encode_payload(payload)).body).end, "done");
}

}  // namespace
}  // namespace virga
