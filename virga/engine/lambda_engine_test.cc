#include "virga/engine/lambda_engine.h"

#include <gmock/gmock.h>

#include "virga/channel/temporary_folder_testing.h"
#include "virga/control/run_folder.h"
#include "virga/engine/lambda_report.h"
#include "virga/engine/scripted_lambda_testing.h"
#include "virga/storage/object_store.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Cause = Engine::Ended::Cause;
using lambda::Operation;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

lambda::Report report() {
  return {.bill = {.request_id = "7",
                   .duration = 12'340us,
                   .init = 80'000us,
                   .billed = 93ms,
                   .memory_bytes = 708 * lambda::kMb,
                   .peak_memory_bytes = 45 * lambda::kMb},
          .status = "",
          .error_type = ""};
}

std::string log(const std::string& own) {
  return lambda::start_line("7") + own + lambda::end_line("7") + lambda::report_line(report());
}

Answer answer() { return {.end = "done", .cpu_seconds = 1.5, .peak_memory_bytes = 7}; }

lambda::InvokeResponse answered() {
  return {.request_id = "7", .log_tail = log("said\n"), .payload = encode_answer(answer())};
}

class LambdaEngineTest : public testing::Test {
 protected:
  LambdaEngineTest() {
    service_.script(Operation::kCreateFunction,
                    {ScriptedLambda::json(encode(lambda::FunctionConfiguration{.function_name = "virga-7"}), 201)});
    service_.script(Operation::kPutFunctionEventInvokeConfig, {ScriptedLambda::json("{}")});
    service_.script(Operation::kDeleteFunction, {ScriptedLambda::json("", 204)});
  }

  [[nodiscard]] static LambdaEngine::Options options() {
    return {.function_name = "virga-7",
            .zip = "PK",
            .memory_mb = 708,
            .timeout = 60s,
            .environment = {{"VIRGA_TOKEN", "t"}},
            .tags = {{"run", "7"}},
            .throttle_patience = 200ms};
  }
  std::unique_ptr<LambdaEngine> engine(LambdaEngine::Options with = options()) {
    return std::make_unique<LambdaEngine>(client_, std::move(with));
  }
  static Engine::Ended wait_for_one(Engine& engine) {
    const auto deadline = test_deadline();
    while (!deadline.passed()) {
      const auto ended = engine.wait(1s);
      if (!ended.empty()) return ended[0];
    }
    ADD_FAILURE() << "nothing ended";
    return {};
  }
  [[nodiscard]] static Payload payload() { return {.run = "file:///run", .task = "evaluate", .epoch = 3}; }

  ScriptedLambda service_;
  std::shared_ptr<LambdaClient> client_ = std::make_shared<LambdaClient>(service_.options());
};

TEST_F(LambdaEngineTest, CreatesAFunctionForItselfAndDeletesIt) {
  { const auto one = engine(); }
  const auto seen = service_.seen();
  ASSERT_EQ(seen.size(), 3U);
  const auto creation = lambda::decode_create_function(seen[0].body);
  EXPECT_EQ(creation.function_name, "virga-7");
  EXPECT_EQ(creation.zip, "PK");
  EXPECT_EQ(creation.memory_mb, 708U);
  EXPECT_EQ(creation.timeout, 60s);
  EXPECT_EQ(creation.environment, options().environment);
  EXPECT_EQ(creation.tags, options().tags);
  EXPECT_EQ(seen[1].call.operation, Operation::kPutFunctionEventInvokeConfig);
  EXPECT_EQ(lambda::decode_event_invoke_config(seen[1].body).maximum_retry_attempts, 0U);
  EXPECT_EQ(seen[2].call,
            (lambda::Call{.operation = Operation::kDeleteFunction, .function = "virga-7", .qualifier = ""}));
}

TEST_F(LambdaEngineTest, DeletesTheFunctionIfItCannotBeSetUp) {
  auto with = options();
  with.reserved_concurrency = 8;
  service_.script(Operation::kPutFunctionConcurrency, {ScriptedLambda::refuse(400, "InvalidParameterValueException")});
  EXPECT_THROW((void)engine(with), Error);
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 1U);
}

TEST_F(LambdaEngineTest, DoesWithoutAConfigurationOfEvents) {
  service_.script(Operation::kPutFunctionEventInvokeConfig, {ScriptedLambda::refuse(404, "UnknownOperationException")});
  EXPECT_NO_THROW((void)engine());
}

TEST_F(LambdaEngineTest, HandsOverPayloadAnswerBillAndLog) {
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked(answered())});
  const auto one = engine();

  const auto invocation = one->invoke(payload(), "evaluate-3");
  const auto ended = wait_for_one(*one);

  EXPECT_EQ(ended.invocation, invocation);
  EXPECT_EQ(ended.cause, Cause::kAnswered);
  EXPECT_EQ(ended.answer, answer());
  EXPECT_EQ(ended.bill, report().bill);
  EXPECT_EQ(ended.log_tail, "said\n");
  EXPECT_EQ(ended.death, "");
  EXPECT_EQ(decode_payload(service_.seen()[2].body), payload());
}

TEST_F(LambdaEngineTest, SaysWhichEndedWhateverTheOrder) {
  service_.script(Operation::kInvoke, {service_.hold(), ScriptedLambda::invoked(answered())});
  const auto one = engine();
  const auto first = one->invoke(payload(), "first");
  ASSERT_TRUE(eventually([&] { return service_.held() == 1; }));
  const auto second = one->invoke(payload(), "second");
  EXPECT_EQ(wait_for_one(*one).invocation, second);
  EXPECT_THAT(one->wait(1ms), IsEmpty());
  service_.release(encode(answered()));
  EXPECT_EQ(wait_for_one(*one).invocation, first);
}

TEST_F(LambdaEngineTest, SaysWhyAFunctionDied) {
  auto full = report();
  full.bill.peak_memory_bytes = full.bill.memory_bytes;
  const auto dead = [](const lambda::FunctionError& error, const lambda::Report& how) {
    return ScriptedLambda::invoked(
        {.function_error = "Unhandled", .log_tail = "said\n" + lambda::report_line(how), .payload = encode(error)});
  };
  service_.script(Operation::kInvoke,
                  {dead(lambda::exited_error("7", 3), report()), dead(lambda::timed_out_error("7", 60s), report()),
                   dead(lambda::out_of_memory_error("7"), full)});
  const auto one = engine();
  std::vector<std::pair<Cause, std::string>> deaths;
  for (int i = 0; i < 3; ++i) {
    (void)one->invoke(payload(), "evaluate");
    const auto ended = wait_for_one(*one);
    EXPECT_FALSE(ended.answer);
    EXPECT_EQ(ended.log_tail, "said\n");
    EXPECT_EQ(ended.bill->billed, 93ms);
    deaths.emplace_back(ended.cause, ended.death);
  }
  EXPECT_THAT(deaths, ElementsAre(std::pair(Cause::kCrashed, "exit status 3"),
                                  std::pair(Cause::kTimedOut, "timed out after 60.00 s"),
                                  std::pair(Cause::kOutOfMemory,
                                            "ran out of memory: 708 MB were not enough (peak 708 MB); give "
                                            "it more: --memory 1088MB")));
}

TEST_F(LambdaEngineTest, TakesAnAnswerThatItCannotReadForACrash) {
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked({.payload = "\"hello\""})});
  const auto one = engine();
  (void)one->invoke(payload(), "evaluate");
  const auto ended = wait_for_one(*one);
  EXPECT_EQ(ended.cause, Cause::kCrashed);
  EXPECT_THAT(ended.death, HasSubstr("answer"));
  EXPECT_EQ(ended.bill, std::nullopt);
}

TEST_F(LambdaEngineTest, SaysThatItWasThrottledOrThatNobodyAnswers) {
  service_.script(Operation::kInvoke, {ScriptedLambda::throttle()});
  const auto one = engine();
  (void)one->invoke(payload(), "evaluate");
  auto ended = wait_for_one(*one);
  EXPECT_EQ(ended.cause, Cause::kThrottled);
  EXPECT_THAT(ended.death, AllOf(HasSubstr("ReservedFunctionConcurrentInvocationLimitExceeded"), HasSubstr("raise")));

  service_.script(Operation::kInvoke, {ScriptedLambda::refuse(500, "ServiceException")});
  (void)one->invoke(payload(), "evaluate");
  ended = wait_for_one(*one);
  EXPECT_EQ(ended.cause, Cause::kUnreachable);
  EXPECT_THAT(ended.death, HasSubstr("500 ServiceException"));
}

TEST_F(LambdaEngineTest, GivesUpWhatItCannotKillAndHearsNoMoreOfIt) {
  service_.script(Operation::kInvoke, {service_.hold()});
  const auto one = engine();
  const auto killed = one->invoke(payload(), "killed");
  ASSERT_TRUE(eventually([&] { return service_.held() == 1; }));

  one->kill(killed);
  one->kill(killed);
  one->kill(killed + 1);  // there is none
  const auto ended = one->wait(20s);

  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].invocation, killed);
  EXPECT_EQ(ended[0].cause, Cause::kCrashed);
  EXPECT_EQ(ended[0].death, "given up");

  // Its answer comes first, but what is heard of is the next one.
  service_.release(encode(answered()));
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked(answered())});
  const auto next = one->invoke(payload(), "next");
  EXPECT_EQ(wait_for_one(*one).invocation, next);
  EXPECT_THAT(one->wait(1ms), IsEmpty());
}

/// Invokes workers as Events, which leave their answers in a folder.
class LambdaEngineEventsTest : public LambdaEngineTest {
 protected:
  [[nodiscard]] Payload worker(Generation generation) const {
    return {.run = folder_.path().string(), .task = "worker", .member = {3, generation}, .leaves_answer = true};
  }
  [[nodiscard]] std::filesystem::path answer_of(Generation generation) const {
    return folder_.path() / answer_object(worker(generation).member);
  }
  void leave(Generation generation, const std::string& text = encode_answer(answer())) const {
    open_object_store(folder_.path().string())->put(answer_object(worker(generation).member), as_bytes(text));
  }
  const TemporaryFolder folder_;
};

TEST_F(LambdaEngineEventsTest, HasEndedWhenItsAnswerLiesAtTheRun) {
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked({.status = 202})});
  const auto one = engine();

  const auto first = one->invoke(worker(1), "worker-3-1");
  const auto second = one->invoke(worker(2), "worker-3-2");
  ASSERT_TRUE(eventually([&] { return service_.count(Operation::kInvoke) == 2; }));
  EXPECT_THAT(one->wait(20ms), IsEmpty()) << "the platform has taken them, and no more";
  leave(2);
  const auto ended = wait_for_one(*one);

  EXPECT_EQ(ended.invocation, second);
  EXPECT_EQ(ended.cause, Cause::kAnswered);
  EXPECT_EQ(ended.answer, answer());
  EXPECT_FALSE(std::filesystem::exists(answer_of(2)));
  leave(1, "{");
  const auto broken = wait_for_one(*one);
  EXPECT_EQ(broken.invocation, first);
  EXPECT_EQ(broken.cause, Cause::kCrashed);
  EXPECT_THAT(broken.death, HasSubstr("answer"));
  leave(1);  // a twin's
  EXPECT_THAT(one->wait(1ms), IsEmpty());
  EXPECT_EQ(decode_payload(service_.seen()[2].body), worker(1));
  EXPECT_EQ(service_.seen()[2].invocation_type, "Event");
}

TEST_F(LambdaEngineEventsTest, IsGivenUpThrottledOrOutOfItsTime) {
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked({.status = 202})});
  auto with = options();
  with.throttle_patience = 0ms;
  with.timeout = 1s;
  with.grace = -lambda::kInitTimeout - 1s;  // none of it is left
  auto one = engine(with);
  (void)one->invoke(worker(1), "worker-3-1");
  auto ended = wait_for_one(*one);
  EXPECT_EQ(ended.cause, Cause::kTimedOut);
  EXPECT_EQ(ended.death, "left no answer in its time");

  one = engine();
  const auto killed = one->invoke(worker(2), "worker-3-2");
  one->kill(killed);
  ended = wait_for_one(*one);
  EXPECT_EQ(ended.invocation, killed);
  EXPECT_EQ(ended.death, "given up");
  leave(2);
  EXPECT_THAT(one->wait(1ms), IsEmpty());

  service_.script(Operation::kInvoke, {ScriptedLambda::throttle()});
  (void)one->invoke(worker(3), "worker-3-3");
  EXPECT_EQ(wait_for_one(*one).cause, Cause::kThrottled);
}

TEST_F(LambdaEngineTest, DeletesTheFunctionWhenAllAreKilled) {
  service_.script(Operation::kInvoke, {service_.hold()});
  const auto one = engine();
  (void)one->invoke(payload(), "evaluate");
  one->kill_all();
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 1U);
  EXPECT_THAT(one->wait(1ms), IsEmpty());
  try {
    (void)one->invoke(payload(), "late");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
  }
  one->kill_all();
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 1U);
}

TEST_F(LambdaEngineTest, EndsWithoutWaitingForItsInvocations) {
  service_.script(Operation::kInvoke, {service_.hold()});
  auto one = engine();
  (void)one->invoke(payload(), "evaluate");
  ASSERT_TRUE(eventually([&] { return service_.held() == 1; }));
  one.reset();
  service_.release(encode(answered()));  // to nobody
  client_.reset();
}

TEST_F(LambdaEngineTest, RefusesAPayloadThatIsTooLarge) {
  const auto one = engine();
  auto large = payload();
  large.run = std::string(kMostPayloadBytes, 'x');
  try {
    (void)one->invoke(large, "large");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
  }
}

}  // namespace
}  // namespace virga
