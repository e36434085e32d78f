#include "virga/engine/lambda_client.h"

#include <future>

#include <gmock/gmock.h>

#include "virga/engine/scripted_lambda_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using lambda::Operation;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

lambda::FunctionConfiguration function(std::string state = "Active", std::string update = "Successful") {
  return {.function_name = "f",
          .code_sha256 = sha256_base64("PK"),
          .state = std::move(state),
          .state_reason = "as scripted",
          .last_update_status = std::move(update)};
}

lambda::CreateFunctionRequest creation() {
  return {
      .function_name = "f", .role = "arn:aws:iam::123456789012:role/r", .zip = "PK", .environment = {{"TOKEN", "t"}}};
}

std::optional<Error> error_from(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::kInternal, "none");
}

/// An invocation and its end.
LambdaClient::Invoked invoke(LambdaClient& client, Deadline start_by = test_deadline(),
                             Deadline answer_by = test_deadline()) {
  std::promise<LambdaClient::Invoked> promise;
  client.invoke({.function = "f", .log_tail = true, .payload = "{}"}, start_by, answer_by,
                [&](LambdaClient::Invoked invoked) { promise.set_value(std::move(invoked)); });
  return promise.get_future().get();
}

class LambdaClientTest : public testing::Test {
 protected:
  ScriptedLambda service_;
  LambdaClient client_{service_.options()};
};

TEST_F(LambdaClientTest, CreatesAFunctionAndWaitsUntilItIsActive) {
  service_.script(Operation::kCreateFunction, {ScriptedLambda::json(encode(function("Pending", "InProgress")), 201)});
  service_.script(
      Operation::kGetFunctionConfiguration,
      {ScriptedLambda::json(encode(function("Pending", "InProgress"))), ScriptedLambda::json(encode(function()))});

  const auto created = client_.create_function(creation(), test_deadline());

  EXPECT_EQ(created, function());
  const auto seen = service_.seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(lambda::decode_create_function(seen[0].body), creation());
}

TEST_F(LambdaClientTest, DeletesAFunctionThatDoesNotBecomeActive) {
  service_.script(Operation::kCreateFunction, {ScriptedLambda::json(encode(function("Pending")), 201)});
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json(encode(function("Failed")))});
  service_.script(Operation::kDeleteFunction, {ScriptedLambda::json("", 204)});

  const auto error = error_from([&] { client_.create_function(creation(), test_deadline()); });

  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("CreateFunction of f at tcp:127.0.0.1:"), HasSubstr("as scripted")));
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 1U);
}

TEST_F(LambdaClientTest, GivesUpOnAFunctionThatStaysPending) {
  service_.script(Operation::kCreateFunction, {ScriptedLambda::json(encode(function("Pending")), 201)});
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json(encode(function("Pending")))});
  service_.script(Operation::kDeleteFunction, {ScriptedLambda::json("", 204)});

  const auto error = error_from([&] { client_.create_function(creation(), Deadline::in(1s)); });

  EXPECT_EQ(error->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(error->what(), HasSubstr("still not ready (state Pending"));
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 1U);
}

TEST_F(LambdaClientTest, RefusesWhatTheLimitsForbidBeforeItIsSent) {
  auto request = creation();
  request.memory_mb = 64;
  const auto error = error_from([&] { client_.create_function(request, test_deadline()); });
  EXPECT_EQ(error->kind(), ErrorKind::kUsage);
  EXPECT_THAT(error->what(), HasSubstr("'memorySize'"));
  EXPECT_TRUE(service_.seen().empty());
}

TEST_F(LambdaClientTest, TakesAFunctionForItsOwnThatAnAttemptHasCreatedUnheard) {
  service_.script(Operation::kCreateFunction, {ScriptedLambda::refuse(500, "ServiceException"),
                                               ScriptedLambda::refuse(409, "ResourceConflictException")});
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json(encode(function()))});
  EXPECT_EQ(client_.create_function(creation(), test_deadline()), function());
}

TEST_F(LambdaClientTest, LeavesAloneAFunctionThatSomebodyElseHasCreated) {
  service_.script(Operation::kCreateFunction,
                  {ScriptedLambda::refuse(409, "ResourceConflictException", "Function already exist: f")});
  const auto error = error_from([&] { client_.create_function(creation(), test_deadline()); });
  EXPECT_EQ(error->kind(), ErrorKind::kConflict);
  EXPECT_THAT(error->what(), HasSubstr("409 ResourceConflictException: Function already exist: f"));

  auto other = function();
  other.code_sha256 = "other";
  service_.script(Operation::kCreateFunction, {ScriptedLambda::refuse(500, "ServiceException"),
                                               ScriptedLambda::refuse(409, "ResourceConflictException")});
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json(encode(other))});
  EXPECT_EQ(error_from([&] { client_.create_function(creation(), test_deadline()); })->kind(), ErrorKind::kConflict);
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 0U);
}

TEST_F(LambdaClientTest, IsToldThatItsCredentialsAreWrong) {
  auto options = service_.options();
  options.credentials.secret_access_key = "another";
  auto regional = service_.options();
  regional.region = "eu-west-1";
  auto unknown = service_.options();
  unknown.credentials.access_key_id = "AKIDNOBODY";
  auto slow = service_.options();
  slow.now = [] { return std::chrono::system_clock::now() - 1h; };
  for (const auto& wrong : {options, regional, unknown, slow}) {
    LambdaClient client(wrong);
    const auto error = error_from([&] { (void)client.get_function("f", test_deadline()); });
    EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized) << error->what();
    EXPECT_THAT(error->what(), Not(HasSubstr("wJalr")));
    EXPECT_EQ(client.counts().requests, 1U) << "it is no use to repeat";
  }
  EXPECT_TRUE(service_.seen().empty());
}

TEST_F(LambdaClientTest, ListsAllPages) {
  auto second = function();
  second.function_name = "g";
  service_.script(Operation::kListFunctions,
                  {ScriptedLambda::json(encode(lambda::FunctionPage{.functions = {function()}, .next_marker = "a/b"})),
                   ScriptedLambda::json(encode(lambda::FunctionPage{.functions = {second}}))});
  EXPECT_THAT(client_.list_functions(test_deadline()), ElementsAre(function(), second));
}

TEST_F(LambdaClientTest, WaitsUntilAnUpdateIsDone) {
  service_.script(Operation::kUpdateFunctionConfiguration,
                  {ScriptedLambda::refuse(409, "ResourceConflictException", "An update is in progress"),
                   ScriptedLambda::json(encode(function("Active", "InProgress")))});
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json(encode(function()))});
  const auto updated = client_.update_function_configuration("f", {.memory_mb = 256}, test_deadline());
  EXPECT_EQ(updated.last_update_status, "Successful");
  EXPECT_EQ(lambda::decode_update_function_configuration(service_.seen()[1].body).memory_mb, 256U);

  service_.script(Operation::kUpdateFunctionCode, {ScriptedLambda::json(encode(function()))});
  EXPECT_EQ(client_.update_function_code("f", {.zip = "PK"}, test_deadline()), function());
}

TEST_F(LambdaClientTest, FindsAFunctionAndSetsItUp) {
  const lambda::FunctionDescription description{.configuration = function(), .reserved_concurrency = 3};
  service_.script(Operation::kGetFunction, {ScriptedLambda::json(encode(description))});
  service_.script(Operation::kPutFunctionConcurrency,
                  {ScriptedLambda::json(encode(lambda::Concurrency{.reserved = 3}))});
  service_.script(Operation::kPutFunctionEventInvokeConfig, {ScriptedLambda::json("{}")});
  EXPECT_EQ(client_.get_function("f", test_deadline()), description);
  client_.put_function_concurrency("f", 3, test_deadline());
  client_.put_function_event_invoke_config("f", {.maximum_retry_attempts = 0}, test_deadline());
  EXPECT_EQ(lambda::decode_concurrency(service_.seen()[1].body).reserved, 3U);
  EXPECT_EQ(lambda::decode_event_invoke_config(service_.seen()[2].body).maximum_retry_attempts, 0U);
}

TEST_F(LambdaClientTest, DeletesWhatMayBeGoneAlready) {
  service_.script(Operation::kDeleteFunction, {ScriptedLambda::refuse(500, "ServiceException"),
                                               ScriptedLambda::refuse(404, "ResourceNotFoundException")});
  client_.delete_function("f", test_deadline());
  EXPECT_EQ(service_.count(Operation::kDeleteFunction), 2U);
  EXPECT_EQ(error_from([&] { client_.delete_function("f", test_deadline()); })->kind(), ErrorKind::kNotFound);
}

TEST_F(LambdaClientTest, RepeatsWhatFailedInPassing) {
  service_.script(Operation::kGetFunctionConfiguration,
                  {ScriptedLambda::refuse(500, "ServiceException"), ScriptedLambda::throttle(),
                   ScriptedLambda::refuse(503, ""), ScriptedLambda::json(encode(function()))});
  EXPECT_EQ(client_.get_function_configuration("f", test_deadline()), function());
  EXPECT_EQ(client_.counts(), (LambdaClient::Counts{.requests = 4, .retries = 3, .throttled = 1}));
}

TEST_F(LambdaClientTest, NamesTheAnswerThatItCannotRead) {
  service_.script(Operation::kGetFunctionConfiguration, {ScriptedLambda::json("<html>")});
  const auto error = error_from([&] { (void)client_.get_function_configuration("f", test_deadline()); });
  EXPECT_EQ(error->kind(), ErrorKind::kBadData);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("GetFunctionConfiguration of f"), HasSubstr("not JSON")));
}

TEST_F(LambdaClientTest, HandsOverWhatAFunctionAnswers) {
  const lambda::InvokeResponse response{.request_id = "7", .log_tail = "said\n", .payload = "{\"a\":1}"};
  service_.script(Operation::kInvoke, {ScriptedLambda::invoked(response)});
  const auto invoked = invoke(client_);
  ASSERT_TRUE(invoked.response);
  EXPECT_EQ(*invoked.response, response);
  EXPECT_EQ(invoked.attempts, 1U);
}

TEST_F(LambdaClientTest, RepeatsAnInvocationThatWasRefused) {
  service_.script(Operation::kInvoke,
                  {ScriptedLambda::throttle(), ScriptedLambda::refuse(409, "ResourceConflictException"),
                   ScriptedLambda::refuse(502, "ResourceNotReadyException"), ScriptedLambda::invoked({})});
  const auto invoked = invoke(client_);
  EXPECT_TRUE(invoked.response);
  EXPECT_EQ(invoked.attempts, 4U);
  EXPECT_EQ(client_.counts().throttled, 1U);
}

TEST_F(LambdaClientTest, SaysWhyAnInvocationWasThrottledInTheEnd) {
  service_.script(Operation::kInvoke, {ScriptedLambda::throttle()});
  const auto invoked = invoke(client_, Deadline::in(1s));
  ASSERT_TRUE(invoked.error);
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kThrottled);
  EXPECT_EQ(invoked.throttle_reason, "ReservedFunctionConcurrentInvocationLimitExceeded");
  EXPECT_THAT(invoked.error->what(), AllOf(HasSubstr("Invoke of f at"), HasSubstr("ReservedFunction")));
  EXPECT_THAT(invoked.error->remedy(), HasSubstr("reserved concurrency"));
  EXPECT_FALSE(invoked.may_have_run);
  EXPECT_GT(invoked.attempts, 1U);
  EXPECT_EQ(service_.count(Operation::kInvoke), invoked.attempts);
}

TEST_F(LambdaClientTest, DoesNotComeBackSoonerThanItIsTold) {
  service_.script(Operation::kInvoke, {ScriptedLambda::throttle(3600s)});
  const auto invoked = invoke(client_);
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kThrottled);
  EXPECT_EQ(invoked.attempts, 1U) << "an hour is past the deadline";
}

TEST_F(LambdaClientTest, DoesNotRepeatAnInvocationThatMayHaveRun) {
  service_.script(Operation::kInvoke, {ScriptedLambda::refuse(500, "ServiceException")});
  const auto invoked = invoke(client_);
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kUnavailable);
  EXPECT_TRUE(invoked.may_have_run);
  EXPECT_EQ(service_.count(Operation::kInvoke), 1U);
}

TEST_F(LambdaClientTest, WaitsForAnAnswerNoLongerThanItsDeadline) {
  service_.script(Operation::kInvoke, {service_.hold()});
  const auto invoked = invoke(client_, test_deadline(), Deadline::in(500ms));
  ASSERT_TRUE(invoked.error);
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_TRUE(invoked.may_have_run);
  EXPECT_EQ(service_.count(Operation::kInvoke), 1U);
}

TEST_F(LambdaClientTest, AsksAgainWhereAnAttemptIsNotAnsweredInTime) {
  auto options = service_.options();
  options.attempt_time = 50ms;
  LambdaClient client(options);
  service_.script(Operation::kGetFunctionConfiguration, {service_.hold(), ScriptedLambda::json(encode(function()))});
  EXPECT_EQ(client.get_function_configuration("f", test_deadline()), function());
}

TEST_F(LambdaClientTest, StopsTryingForAnInvocationThatIsForgotten) {
  auto options = service_.options();
  options.first_pause = options.longest_pause = 1h;
  LambdaClient client(options);
  service_.script(Operation::kInvoke, {ScriptedLambda::throttle()});
  std::promise<LambdaClient::Invoked> promise;
  const auto number = client.invoke({.function = "f"}, Deadline::in(10h), Deadline::in(10h),
                                    [&](LambdaClient::Invoked invoked) { promise.set_value(std::move(invoked)); });
  ASSERT_TRUE(eventually([&] { return client.counts().throttled == 1; }));
  client.forget(number);
  client.forget(number + 1);  // there is none
  const auto invoked = promise.get_future().get();
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kInterrupted);
  EXPECT_FALSE(invoked.may_have_run);
  EXPECT_EQ(service_.count(Operation::kInvoke), 1U);
}

TEST_F(LambdaClientTest, TellsAllWhatBecameOfThemWhenItIsClosed) {
  service_.script(Operation::kInvoke, {service_.hold(), service_.hold(), ScriptedLambda::throttle()});
  std::atomic<int> interrupted = 0;
  {
    auto options = service_.options();
    options.first_pause = options.longest_pause = 1h;
    LambdaClient client(options);
    for (int i = 0; i < 3; ++i) {
      client.invoke({.function = "f"}, Deadline::in(10h), Deadline::in(10h), [&](const LambdaClient::Invoked& invoked) {
        if (invoked.error->kind() == ErrorKind::kInterrupted) ++interrupted;
      });
    }
    ASSERT_TRUE(eventually([&] { return service_.held() == 2 && client.counts().throttled == 1; }));
  }
  EXPECT_EQ(interrupted, 3);
}

TEST_F(LambdaClientTest, InvokesManyAtOnce) {
  constexpr int kMany = 200;
  service_.script(Operation::kInvoke, {service_.hold()});
  std::atomic<int> answered = 0;
  for (int i = 0; i < kMany; ++i) {
    client_.invoke({.function = "f"}, test_deadline(), test_deadline(), [&](const LambdaClient::Invoked& invoked) {
      if (invoked.response && invoked.response->payload == "{}") ++answered;
    });
  }
  ASSERT_TRUE(eventually([&] { return service_.held() == kMany; }));
  service_.release({.body = "{}"});
  EXPECT_TRUE(eventually([&] { return answered == kMany; }));
}

LambdaClient::Options options_for(const Address& address) {
  return {.endpoint = address, .credentials = ScriptedLambda::credentials(), .first_pause = 2ms, .longest_pause = 10ms};
}

TEST(LambdaClientWithoutService, SaysThatNobodyAnswers) {
  Address address;
  {
    const Listener listener({.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1"});
    address = listener.address();
  }
  LambdaClient client(options_for(address));
  const auto error = error_from([&] { (void)client.get_function("f", Deadline::in(1s)); });
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("GetFunction of f at tcp:127.0.0.1:"), HasSubstr("attempts")));
  EXPECT_GT(client.counts().retries, 0U);

  const auto invoked = invoke(client, Deadline::in(1s));
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kUnavailable);
  EXPECT_GT(invoked.attempts, 1U) << "nothing was started";
  EXPECT_FALSE(invoked.may_have_run);
}

TEST(LambdaClientWithoutService, DoesNotInvokeAgainOverAConnectionThatWasClosed) {
  const RawServer server("");
  LambdaClient client(options_for(server.address()));
  const auto invoked = invoke(client);
  EXPECT_EQ(invoked.error->kind(), ErrorKind::kUnavailable);
  EXPECT_TRUE(invoked.may_have_run);
  EXPECT_EQ(server.connections(), 1);

  EXPECT_EQ(error_from([&] { (void)client.get_function("f", Deadline::in(1s)); })->kind(), ErrorKind::kUnavailable);
  EXPECT_GT(server.connections(), 2);
}

TEST(LambdaClientWithoutService, SaysThatTheAnswerIsNoHttp) {
  for (const auto* bytes : {"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"}) {
    const RawServer server(bytes);
    LambdaClient client(options_for(server.address()));
    const auto error = error_from([&] { (void)client.get_function("f", test_deadline()); });
    EXPECT_EQ(error->kind(), ErrorKind::kBadData) << error->what();
    EXPECT_EQ(server.connections(), 1);
  }
}

TEST(LambdaClientWithoutService, RefusesAnAnswerThatIsTooLarge) {
  const RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
  LambdaClient client(options_for(server.address()));
  EXPECT_EQ(error_from([&] { (void)client.get_function("f", test_deadline()); })->kind(), ErrorKind::kTooLarge);
}

TEST(LambdaEndpoint, IsAUrlOrAnAddress) {
  const Address loopback{.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1", .port = 9001};
  EXPECT_EQ(parse_lambda_endpoint("http://127.0.0.1:9001"), loopback);
  EXPECT_EQ(parse_lambda_endpoint("http://127.0.0.1:9001/"), loopback);
  EXPECT_EQ(parse_lambda_endpoint("tcp:127.0.0.1:9001"), loopback);
  EXPECT_EQ(parse_lambda_endpoint("http://[::1]").host, "::1");
  EXPECT_EQ(parse_lambda_endpoint("http://host").port, 80);
  EXPECT_EQ(parse_lambda_endpoint("unix:/a").path, "/a");
  const auto aws = parse_lambda_endpoint("https://lambda.us-east-1.amazonaws.com");
  EXPECT_EQ(aws.port, 443);
  EXPECT_EQ(aws.tls, (TlsPeer{.name = "lambda.us-east-1.amazonaws.com", .authorities = ""}));
  for (const auto* bad : {"http://", "http://a/b", "http://user@a:1", "ftp://a", "http://a:x", ""}) {
    EXPECT_EQ(error_from([&] { (void)parse_lambda_endpoint(bad); })->kind(), ErrorKind::kUsage) << bad;
  }
}

}  // namespace
}  // namespace virga
