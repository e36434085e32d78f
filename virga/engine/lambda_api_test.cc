#include "virga/engine/lambda_api.h"

#include <gmock/gmock.h>

namespace virga::lambda {
namespace {

using testing::HasSubstr;

constexpr std::array kOperations = {Operation::kCreateFunction,
                                    Operation::kGetFunction,
                                    Operation::kGetFunctionConfiguration,
                                    Operation::kListFunctions,
                                    Operation::kUpdateFunctionConfiguration,
                                    Operation::kUpdateFunctionCode,
                                    Operation::kDeleteFunction,
                                    Operation::kInvoke,
                                    Operation::kPutFunctionConcurrency,
                                    Operation::kGetFunctionConcurrency,
                                    Operation::kDeleteFunctionConcurrency,
                                    Operation::kPutFunctionEventInvokeConfig,
                                    Operation::kGetFunctionEventInvokeConfig,
                                    Operation::kDeleteFunctionEventInvokeConfig};

TEST(LambdaApi, FindsAnOperationAgainByItsRequest) {
  for (const auto operation : kOperations) {
    const bool has_function = operation != Operation::kCreateFunction && operation != Operation::kListFunctions;
    const auto request = request_for(operation, has_function ? "virga-7" : "", "{}", "Qualifier=v1");
    const Call call{.operation = operation, .function = has_function ? "virga-7" : "", .qualifier = "v1"};
    EXPECT_EQ(call_of(request.method, request.target), call) << to_string(operation);
  }
}

TEST(LambdaApi, KnowsThePathsOfAws) {
  const auto operation = [](std::string_view method, std::string_view target) -> std::string_view {
    const auto call = call_of(method, target);
    return call ? to_string(call->operation) : "none";
  };
  EXPECT_EQ(operation("POST", "/2015-03-31/functions"), "CreateFunction");
  EXPECT_EQ(operation("POST", "/2015-03-31/functions/"), "CreateFunction");
  EXPECT_EQ(operation("GET", "/2015-03-31/functions/?MaxItems=50"), "ListFunctions");
  EXPECT_EQ(operation("POST", "/2015-03-31/functions/f/invocations"), "Invoke");
  EXPECT_EQ(operation("PUT", "/2017-10-31/functions/f/concurrency"), "PutFunctionConcurrency");
  EXPECT_EQ(operation("PUT", "/2019-09-25/functions/f/event-invoke-config"), "PutFunctionEventInvokeConfig");
  EXPECT_EQ(operation("PUT", "/2015-03-31/functions/f/concurrency"), "none");
  EXPECT_EQ(operation("PATCH", "/2015-03-31/functions/f"), "none");
  EXPECT_EQ(operation("GET", "/2015-03-31/functions/f/g/h"), "none");
  EXPECT_EQ(operation("GET", "/"), "none");
  EXPECT_EQ(operation("GET", ""), "none");
}

TEST(LambdaApi, TakesAFunctionByItsNameOrArn) {
  const FunctionReference plain{.name = "f", .qualifier = ""};
  const FunctionReference qualified{.name = "f", .qualifier = "$LATEST"};
  EXPECT_EQ(parse_function_reference("f"), plain);
  EXPECT_EQ(parse_function_reference("f:$LATEST"), qualified);
  EXPECT_EQ(parse_function_reference("123456789012:function:f"), plain);
  EXPECT_EQ(parse_function_reference("arn:aws:lambda:us-east-1:123456789012:function:f"), plain);
  EXPECT_EQ(parse_function_reference("arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST"), qualified);
  for (const auto* bad : {"", ":", "a b", "f:", "f:a:b", "arn:aws:s3:us-east-1:123456789012:function:f", "../f", "f/g",
                          "a:b:function:f", "arn:aws:lambda:us-east-1:123456789012:function:"}) {
    EXPECT_EQ(parse_function_reference(bad), std::nullopt) << bad;
  }
  const auto call =
      call_of("GET", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af");
  ASSERT_TRUE(call);
  EXPECT_EQ(call->function, "f");
  EXPECT_THROW((void)call_of("GET", "/2015-03-31/functions/%2e%2e%2fetc"), Error);
  EXPECT_THROW((void)call_of("GET", "/2015-03-31/functions/%zz"), Error);
}

TEST(LambdaApi, CarriesAnInvocationThereAndBack) {
  const InvokeRequest request{.function = "f",
                              .qualifier = "$LATEST",
                              .type = InvocationType::kEvent,
                              .log_tail = true,
                              .client_context = R"({"custom":{}})",
                              .payload = "{}"};
  EXPECT_EQ(decode_invoke_request(encode(request)), request);
  EXPECT_EQ(decode_invoke_request({.method = "POST", .target = "/2015-03-31/functions/f/invocations"}),
            InvokeRequest{.function = "f"})
      << "all is optional";

  const InvokeResponse response{.status = 200,
                                .request_id = "7",
                                .function_error = "Unhandled",
                                .log_tail = "said\n",
                                .executed_version = "$LATEST",
                                .payload = "{}"};
  EXPECT_EQ(decode_invoke_response(encode(response)), response);
}

TEST(LambdaApi, RefusesAnInvocationThatIsNone) {
  const auto complaint = [](std::string name, std::string value) {
    HttpRequest request{.method = "POST", .target = "/2015-03-31/functions/f/invocations"};
    request.headers = {{.name = std::move(name), .value = std::move(value)}};
    try {
      (void)decode_invoke_request(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(complaint("X-Amz-Invocation-Type", "Later"), HasSubstr("X-Amz-Invocation-Type"));
  EXPECT_THAT(complaint("X-Amz-Log-Type", "All"), HasSubstr("X-Amz-Log-Type"));
  EXPECT_THAT(complaint("X-Amz-Client-Context", "*"), HasSubstr("base64"));
  EXPECT_THAT(complaint("X-Amz-Client-Context", std::string(3584, 'A')), HasSubstr("3583"));
  EXPECT_THROW((void)decode_invoke_response({.headers = {{.name = "X-Amz-Log-Result", .value = "*"}}}), Error);
  EXPECT_THROW((void)decode_invoke_response({.body = std::string(kMostResponseBytes + 1, 'x')}), Error);
}

TEST(LambdaApi, CarriesAnErrorThereAndBack) {
  const ServiceError throttled{.status = 429,
                               .code = "TooManyRequestsException",
                               .message = "Rate Exceeded.",
                               .reason = "ReservedFunctionConcurrentInvocationLimitExceeded",
                               .retry_after = std::chrono::seconds(2)};
  EXPECT_EQ(error_of(response_of(throttled)), throttled);
  const ServiceError missing{.status = 404, .code = "ResourceNotFoundException", .message = "Function not found: f"};
  EXPECT_THAT(response_of(missing).body, HasSubstr("\"Message\":\"Function not found: f\""));
  EXPECT_EQ(error_of(response_of(missing)), missing);
}

TEST(LambdaApi, UnderstandsErrorsThatItDoesNotKnow) {
  EXPECT_EQ(error_of({.status = 502, .body = "<html>\nBad gateway"}).message, "<html> Bad gateway");
  EXPECT_EQ(error_of({.status = 400, .headers = {{.name = "X-AMZN-ERRORTYPE", .value = "A:http://b"}}}).code, "A");
  EXPECT_EQ(error_of({.status = 400, .body = R"({"message": "\u001b[31m"})"}).message, " [31m");
  EXPECT_EQ(error_of({.status = 500, .body = std::string(100'000, 'x')}).message.size(), 2000U);
  EXPECT_EQ(error_of({.status = 429, .headers = {{.name = "Retry-After", .value = "soon"}}}).retry_after, std::nullopt);
}

TEST(LambdaApi, SortsErrorsIntoKinds) {
  const auto kind = [](int status, std::string code = {}) {
    return kind_of({.status = status, .code = std::move(code)});
  };
  EXPECT_EQ(kind(429), ErrorKind::kThrottled);
  EXPECT_EQ(kind(400, "ThrottlingException"), ErrorKind::kThrottled);
  EXPECT_EQ(kind(403, "InvalidSignatureException"), ErrorKind::kUnauthorized);
  EXPECT_EQ(kind(400, "UnrecognizedClientException"), ErrorKind::kUnauthorized);
  EXPECT_EQ(kind(404, "ResourceNotFoundException"), ErrorKind::kNotFound);
  EXPECT_EQ(kind(409, "ResourceConflictException"), ErrorKind::kConflict);
  EXPECT_EQ(kind(413, "RequestTooLargeException"), ErrorKind::kTooLarge);
  EXPECT_EQ(kind(400, "CodeStorageExceededException"), ErrorKind::kTooLarge);
  EXPECT_EQ(kind(400, "InvalidParameterValueException"), ErrorKind::kUsage);
  EXPECT_EQ(kind(502, "ResourceNotReadyException"), ErrorKind::kUnavailable);
  EXPECT_EQ(kind(500, "ServiceException"), ErrorKind::kUnavailable);
  EXPECT_EQ(kind(301), ErrorKind::kBadData);
}

}  // namespace
}  // namespace virga::lambda
