#include "virga/engine/process_engine.h"

#include <csignal>
#include <cstdlib>
#include <fstream>

#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

class ProcessEngineTest : public testing::Test {
 protected:
  ProcessEngineTest()
      : folder_(std::filesystem::path(testing::TempDir()) / ("virga_engine." + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~ProcessEngineTest() override { std::filesystem::remove_all(folder_); }

  static std::filesystem::path virga_function() {
    const char* folder = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): there is one thread
    return std::filesystem::path(folder == nullptr ? "." : folder) / "virga-function";
  }
  /// A function that does what we like.
  [[nodiscard]] std::filesystem::path script(const std::string& text) const {
    auto path = folder_ / "function.sh";
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  [[nodiscard]] ProcessEngine::Options options(const std::filesystem::path& program) const {
    return {.program = program, .folder = folder_ / "logs"};
  }
  static ProcessEngine::Ended wait_for_one(ProcessEngine& engine) {
    for (;;) {
      const auto ended = engine.wait(60s);
      if (!ended.empty()) return ended[0];
    }
  }
  [[nodiscard]] Payload payload(const std::string& task) const { return {.run = folder_ / "run", .task = task}; }

  const std::filesystem::path folder_;
};

TEST_F(ProcessEngineTest, GetsAnErrorForAPayloadThatAFunctionCannotRead) {
  ProcessEngine engine(options(virga_function()));
  const auto invocation = engine.invoke(payload("cook"), "cook");
  EXPECT_TRUE(engine.runs(invocation));

  const auto ended = wait_for_one(engine);

  EXPECT_EQ(ended.invocation, invocation);
  ASSERT_TRUE(ended.answer);
  EXPECT_EQ(ended.answer->end, "error");
  EXPECT_EQ(ended.answer->error_kind, "bad_data");
  EXPECT_THAT(ended.answer->message, HasSubstr("task is \"cook\""));
  EXPECT_FALSE(engine.runs(invocation));
}

TEST_F(ProcessEngineTest, GetsAnErrorForARunThatIsNotThere) {
  ProcessEngine engine(options(virga_function()));
  for (const auto* task : {"worker", "evaluate"}) {
    (void)engine.invoke(payload(task), task);
    const auto ended = wait_for_one(engine);
    ASSERT_TRUE(ended.answer) << ended.death;
    EXPECT_EQ(ended.answer->error_kind, "not_found");
  }
}

TEST_F(ProcessEngineTest, HandsOverThePayloadAndTheAnswer) {
  auto with_word = options(script(R"(cat "$1" >&2; printf '{"version":1,"end":"%s","loss":0.5,' "$VIRGA_TEST_WORD")"
                                  R"(; printf '"cpu_seconds":0,"peak_memory_bytes":0}')"));
  with_word.environment = {{"VIRGA_TEST_WORD", "well"}};
  ProcessEngine engine(with_word);
  (void)engine.invoke(payload("worker"), "worker-0-1");

  const auto ended = wait_for_one(engine);

  EXPECT_EQ(ended.answer, (Answer{.end = "well", .loss = 0.5}));
  EXPECT_EQ(ended.log_tail, encode_payload(payload("worker")));
  EXPECT_EQ(as_text(read_file(folder_ / "logs" / "worker-0-1.log", 1000)), ended.log_tail);
}

TEST_F(ProcessEngineTest, SaysHowAProcessDied) {
  const std::pair<const char*, const char*> deaths[] = {
      {"kill -9 $$", "killed by signal 9 (Killed)"},
      {R"(printf '{"version":1,"end":"done","loss":null,"cpu_seconds":0,"peak_memory_bytes":0}'; kill -9 $$)",
       "killed by signal 9 (Killed)"},
      {"exit 3", "exit status 3"},
      {R"(printf '{"version":1,"end":')", "exit status 0"}};
  for (const auto& [text, death] : deaths) {
    ProcessEngine engine(options(script(text + std::string("\necho it hurts >&2"))));
    (void)engine.invoke(payload("worker"), "worker");
    const auto ended = wait_for_one(engine);
    EXPECT_FALSE(ended.answer);
    EXPECT_EQ(ended.death, death);
  }
}

TEST_F(ProcessEngineTest, KeepsWhatAProcessSaidOnStandardError) {
  ProcessEngine engine(options(script("echo it hurts >&2; kill -9 $$")));
  (void)engine.invoke(payload("worker"), "worker");
  EXPECT_EQ(wait_for_one(engine).log_tail, "it hurts\n");
}

TEST_F(ProcessEngineTest, KillsOneAndLeavesTheOthers) {
  ProcessEngine engine(options(script("exec sleep 1000")));
  const auto first = engine.invoke(payload("worker"), "first");
  const auto second = engine.invoke(payload("worker"), "second");
  ASSERT_EQ(engine.processes().size(), 2U);
  EXPECT_THAT(engine.wait(0ms), IsEmpty());

  engine.kill(first);
  engine.kill(12345);  // nobody

  const auto ended = wait_for_one(engine);
  EXPECT_EQ(ended.invocation, first);
  EXPECT_EQ(ended.death, "killed by signal 9 (Killed)");
  EXPECT_TRUE(engine.runs(second));
  EXPECT_EQ(engine.processes().size(), 1U);
}

TEST_F(ProcessEngineTest, KillsWhoOutlivesHisLifetime) {
  auto impatient = options(script("exec sleep 1000"));
  impatient.grace = 100ms;
  ProcessEngine engine(impatient);
  auto brief = payload("evaluate");
  brief.lifetime = 200ms;
  (void)engine.invoke(brief, "evaluate-1");
  const auto other = engine.invoke(payload("worker"), "worker-0-1");

  const auto ended = wait_for_one(engine);

  EXPECT_FALSE(ended.answer);
  EXPECT_EQ(ended.death, "killed, because it had not ended 0.1 s after its lifetime of 0.2 s");
  EXPECT_TRUE(engine.runs(other));
}

TEST_F(ProcessEngineTest, LeavesNoProcessBehind) {
  std::vector<pid_t> processes;
  {
    ProcessEngine engine(options(script("exec sleep 1000")));
    for (const auto* name : {"a", "b", "c"}) (void)engine.invoke(payload("worker"), name);
    processes = engine.processes();
    ASSERT_EQ(processes.size(), 3U);
    for (const auto pid : processes) EXPECT_EQ(::kill(pid, 0), 0);
  }
  for (const auto pid : processes) EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(ProcessEngineTest, KillsAllAtOnceAndForgetsThem) {
  ProcessEngine engine(options(script("exec sleep 1000")));
  for (const auto* name : {"a", "b"}) (void)engine.invoke(payload("worker"), name);
  const auto processes = engine.processes();

  engine.kill_all();

  for (const auto pid : processes) EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_THAT(engine.processes(), IsEmpty());
  EXPECT_THAT(engine.wait(0ms), IsEmpty());
}

TEST_F(ProcessEngineTest, StartsATwinOfWhichNobodyHears) {
  for (const auto twin : {ProcessEngine::Twin::kStartsFirst, ProcessEngine::Twin::kStartsSecond}) {
    auto with_twin = options(script(R"(cat "$1" >&2; exit 3)"));
    with_twin.twin = [&](const Payload& payload) {
      return payload.task == "worker" ? twin : ProcessEngine::Twin::kNone;
    };
    ProcessEngine engine(with_twin);
    const auto invocation = engine.invoke(payload("worker"), "worker");
    EXPECT_EQ(engine.processes().size(), 2U);
    std::vector<ProcessEngine::Ended> ended;
    while (!engine.processes().empty()) {
      for (auto& one : engine.wait(60s)) ended.push_back(std::move(one));
    }
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].invocation, invocation);

    (void)engine.invoke(payload("evaluate"), "evaluate");
    EXPECT_EQ(engine.processes().size(), 1U);
  }
}

TEST_F(ProcessEngineTest, LosesSightOfAProcessThatLivesOn) {
  ProcessEngine engine(options(script("exec sleep 1000")));
  const auto invocation = engine.invoke(payload("worker"), "worker");
  const auto pid = engine.processes()[0];

  engine.lose(pid);

  const auto ended = wait_for_one(engine);
  EXPECT_EQ(ended.invocation, invocation);
  EXPECT_FALSE(ended.answer);
  EXPECT_EQ(::kill(pid, 0), 0);
  ::kill(pid, SIGKILL);
  while (!engine.processes().empty()) EXPECT_THAT(engine.wait(60s), IsEmpty());
}

TEST_F(ProcessEngineTest, RefusesAProgramThatIsNotThere) {
  try {
    const ProcessEngine engine(options(folder_ / "nothing"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("nothing: not a program that can be run"));
  }
}

}  // namespace
}  // namespace virga
