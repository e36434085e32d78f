#include "virga/engine/lambda_types.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga::lambda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

CreateFunctionRequest good_request() {
  return {.function_name = "virga-7",
          .role = "arn:aws:iam::123456789012:role/virga",
          .zip = std::string("PK\3\4\0\xff", 6),
          .description = "a run",
          .timeout = std::chrono::seconds(900),
          .memory_mb = 708,
          .tmp_mb = 600,
          .environment = {{"VIRGA_TOKEN", "s3cret"}},
          .architectures = {"arm64"},
          .publish = true,
          .tags = {{"run", "7"}}};
}

FunctionConfiguration some_function() {
  return {.function_name = "virga-7",
          .function_arn = "arn:aws:lambda:us-east-1:123456789012:function:virga-7",
          .role = "arn:aws:iam::123456789012:role/virga",
          .handler = "bootstrap",
          .description = "a run",
          .code_size = 4'000'000'000,
          .code_sha256 = "tbD+1c7rkVuQCRBCFRqaeZe5OQMYvyNg0zwbRFHYIxo=",
          .timeout = std::chrono::seconds(60),
          .memory_mb = 708,
          .tmp_mb = 512,
          .environment = {{"A1", "b"}},
          .last_modified = "2025-01-31T12:00:00.000+0000",
          .revision_id = "a1b2",
          .state = "Pending",
          .state_reason = "The function is being created.",
          .state_reason_code = "Creating",
          .last_update_status = "InProgress",
          .last_update_status_reason = "soon"};
}

std::string complaint(const std::function<void()>& decode) {
  try {
    decode();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    return error.what();
  }
  return "none";
}

TEST(LambdaTypes, ComeBackAsTheyWere) {
  EXPECT_EQ(decode_create_function(encode(good_request())), good_request());
  EXPECT_EQ(decode_function_configuration(encode(some_function())), some_function());

  const UpdateFunctionConfigurationRequest update{.runtime = "provided.al2",
                                                  .handler = "h",
                                                  .timeout = std::chrono::seconds(4),
                                                  .memory_mb = 256,
                                                  .tmp_mb = 1024,
                                                  .environment = Variables{},
                                                  .revision_id = "r"};
  EXPECT_EQ(decode_update_function_configuration(encode(update)), update);
  EXPECT_EQ(decode_update_function_configuration("{}"), UpdateFunctionConfigurationRequest{});

  const UpdateFunctionCodeRequest code{
      .zip = "PK", .publish = true, .dry_run = true, .architectures = {{"x86_64"}}, .revision_id = "r"};
  EXPECT_EQ(decode_update_function_code(encode(code)), code);

  const FunctionDescription description{.configuration = some_function(),
                                        .code_location = "http://127.0.0.1/zip",
                                        .tags = {{"a", "b"}},
                                        .reserved_concurrency = 0};
  EXPECT_EQ(decode_function_description(encode(description)), description);

  const FunctionPage page{.functions = {some_function(), some_function()}, .next_marker = "virga-7"};
  EXPECT_EQ(decode_function_page(encode(page)), page);

  EXPECT_EQ(decode_concurrency(encode(Concurrency{.reserved = 7})), Concurrency{.reserved = 7});
  EXPECT_EQ(decode_concurrency("{}"), Concurrency{});

  const EventInvokeConfig config{.maximum_retry_attempts = 0,
                                 .maximum_event_age = std::chrono::seconds(60),
                                 .function_arn = "arn",
                                 .last_modified = std::chrono::seconds(1'700'000'000)};
  EXPECT_EQ(decode_event_invoke_config(encode(config)), config);

  const FunctionError error{.error_type = "T", .error_message = "m", .stack_trace = {"a", "b"}};
  EXPECT_EQ(decode_function_error(encode(error)), error);
}

TEST(LambdaTypes, ReadWhatAwsWrites) {
  const auto function = decode_function_configuration(R"({
    "FunctionName": "my-function", "FunctionArn": "arn:aws:lambda:us-west-2:123456789012:function:my-function",
    "Runtime": "provided.al2023", "Role": "arn:aws:iam::123456789012:role/lambda-role", "Handler": "bootstrap",
    "CodeSize": 304, "Description": "", "Timeout": 3, "MemorySize": 128,
    "LastModified": "2023-08-22T20:18:05.000+0000", "CodeSha256": "YFgDgEKG3ugvF1+pX64gV6tu9qNuIYNUdgJm8nCxsm4=",
    "Version": "$LATEST", "VpcConfig": {"SubnetIds": [], "VpcId": null, "Ipv6AllowedForDualStack": false},
    "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "88ebe1e1-bfdf-4dc3-84de-3017268fa1ff",
    "State": "Active", "StateReason": null, "LastUpdateStatus": "Successful", "PackageType": "Zip",
    "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"}, "SomethingNew": [{"a": 1}]})");
  EXPECT_EQ(function.function_name, "my-function");
  EXPECT_EQ(function.code_size, 304U);
  EXPECT_EQ(function.state, "Active");
  EXPECT_EQ(decode_event_invoke_config(R"({"LastModified": 1573686021.479, "MaximumRetryAttempts": 1})").last_modified,
            std::chrono::seconds(1'573'686'021));
}

TEST(LambdaTypes, SayWhichMembersAreNotUnderstood) {
  const auto request = decode_create_function(R"({"FunctionName": "f", "Role": "r", "Layers": ["arn:x"],
    "VpcConfig": {}, "KMSKeyArn": "", "Code": {"S3Bucket": "b", "S3Key": "k"}, "SnapStart": null})");
  EXPECT_THAT(request.others, ElementsAre("Layers", "Code.S3Bucket", "Code.S3Key"));
}

TEST(LambdaTypes, NameTheMemberThatIsWrong) {
  EXPECT_THAT(complaint([] { (void)decode_create_function("[]"); }), HasSubstr("not an object"));
  EXPECT_THAT(complaint([] { (void)decode_create_function("{\"FunctionName\""); }), HasSubstr("not JSON"));
  EXPECT_THAT(complaint([] { (void)decode_create_function("{}"); }), HasSubstr("Code is missing"));
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"FunctionName": 7})"); }),
              HasSubstr("FunctionName is not a string"));
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"Code": {"ZipFile": "*"}})"); }),
              HasSubstr("Code.ZipFile is not base64"));
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"Environment": {"Variables": {"A": 1}}})"); }),
              HasSubstr("Environment.Variables.A is not a string"));
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"Timeout": -1})"); }),
              HasSubstr("Timeout is not a whole number"));
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"MemorySize": 4294967296})"); }),
              HasSubstr("MemorySize is too large"));
  EXPECT_THAT(complaint([] { (void)decode_function_configuration("{}"); }), HasSubstr("FunctionName is missing"));
  EXPECT_THAT(complaint([] { (void)decode_function_page("{}"); }), HasSubstr("Functions"));
  EXPECT_THAT(complaint([] { (void)decode_concurrency(std::string(100'000, '[')); }), HasSubstr("nested"));
  EXPECT_THAT(complaint([] { (void)decode_concurrency(std::string(kMostApiRequestBytes + 1, ' ')); }),
              HasSubstr("is the most"));
}

TEST(LambdaTypesTest, AZipIsFoundWhereverItStands) {
  // "PK" is UEs= in base64.
  const auto zip = [](const char* text) { return decode_create_function(text).zip; };
  EXPECT_EQ(zip("{\"Code\" : { \"ZipFile\"\t:\n \"UEs=\" } , \"Timeout\": 3}"), "PK");
  EXPECT_EQ(zip(R"({"Code":{"ZipFile":"UEs="},"Description":"\"ZipFile\":\"AAAA\""})"), "PK");
  EXPECT_EQ(zip(R"({"Environment":{"Variables":{"ZipFile":"AAAA"}},"Code":{"ZipFile":"UEs="}})"), "PK");
  EXPECT_EQ(zip(R"({"Code":{"ZipFile":"\u0055Es="}})"), "PK");
  const auto variable = decode_create_function(R"({"Environment":{"Variables":{"ZipFile":"UEs="}},"Code":{}})");
  EXPECT_EQ(variable.zip, "");
  EXPECT_EQ(variable.environment.at("ZipFile"), "UEs=");
  EXPECT_EQ(decode_update_function_code(R"({"Publish":true,"ZipFile":"UEs="})").zip, "PK");
  EXPECT_THAT(complaint([] { (void)decode_create_function(R"({"Code":{"ZipFile":"UEs="})"); }),
              HasSubstr("is not JSON"));
}

TEST(LambdaTypes, TakeAnyErrorOfAFunction) {
  EXPECT_EQ(decode_function_error("plain text").error_message, "plain text");
  EXPECT_EQ(decode_function_error("").error_message, "");
  EXPECT_EQ(decode_function_error("{\"errorMessage\": 7}").error_message, "{\"errorMessage\": 7}");
  EXPECT_EQ(decode_function_error("{\"errorMessage\": \"m\", \"stackTrace\": [1, \"a\"]}").stack_trace.size(), 1U);
  EXPECT_EQ(decode_function_error(std::string(1'000'000, 'x')).error_message.size(), kMostFunctionErrorBytes);
}

template <typename Change>
std::optional<std::string> objection_to(const Change& change) {
  auto request = good_request();
  change(request);
  return objection(request);
}

TEST(LambdaLimits, AreCheckedBeforeAFunctionIsMade) {
  EXPECT_EQ(objection(good_request()), std::nullopt);
  EXPECT_THAT(objection_to([](auto& r) { r.function_name = "a b"; }), Optional(HasSubstr("'functionName'")));
  EXPECT_THAT(objection_to([](auto& r) { r.function_name = std::string(65, 'a'); }),
              Optional(HasSubstr("'functionName'")));
  EXPECT_THAT(objection_to([](auto& r) { r.role.clear(); }), Optional(HasSubstr("'role'")));
  EXPECT_THAT(objection_to([](auto& r) { r.package_type = "Image"; }), Optional(HasSubstr("'packageType'")));
  EXPECT_THAT(
      objection_to([](auto& r) { r.memory_mb = 127; }),
      Optional(std::string("Value '127' at 'memorySize' failed to satisfy constraint: Member must have value greater "
                           "than or equal to 128")));
  EXPECT_THAT(objection_to([](auto& r) { r.memory_mb = 10'241; }), Optional(HasSubstr("'memorySize'")));
  EXPECT_THAT(objection_to([](auto& r) { r.timeout = std::chrono::seconds(0); }), Optional(HasSubstr("'timeout'")));
  EXPECT_THAT(objection_to([](auto& r) { r.timeout = std::chrono::seconds(901); }), Optional(HasSubstr("'timeout'")));
  EXPECT_THAT(objection_to([](auto& r) { r.tmp_mb = 511; }), Optional(HasSubstr("'ephemeralStorage.size'")));
  EXPECT_THAT(objection_to([](auto& r) { r.zip.clear(); }), Optional(HasSubstr("no code")));
  EXPECT_THAT(objection_to([](auto& r) { r.zip.resize(kMostZipBytes + 1); }), Optional(HasSubstr("52428801 bytes")));
  EXPECT_THAT(objection_to([](auto& r) { r.handler = "a b"; }), Optional(HasSubstr("'handler'")));
  EXPECT_THAT(objection_to([](auto& r) {
                r.architectures = {"x86_64", "arm64"};
              }),
              Optional(HasSubstr("'architectures'")));
  EXPECT_THAT(objection_to([](auto& r) {
                r.environment = {{"1A", ""}};
              }),
              Optional(HasSubstr("'environment.variables'")));
  EXPECT_THAT(objection_to([](auto& r) {
                r.environment = {{"AWS_REGION", ""}};
              }),
              Optional(HasSubstr("AWS_REGION is reserved")));
  EXPECT_THAT(objection_to([](auto& r) {
                r.environment = {{"AB", std::string(1, '\0')}};
              }),
              Optional(HasSubstr("zero")));
  EXPECT_EQ(objection_to([](auto& r) { r.environment = {{"AB", std::string(4094, 'x')}}; }), std::nullopt);
  EXPECT_THAT(objection_to([](auto& r) {
                r.environment = {{"AB", std::string(4095, 'x')}};
              }),
              Optional(HasSubstr("4097 bytes")));
}

TEST(LambdaLimits, AreCheckedBeforeAFunctionIsUpdated) {
  EXPECT_EQ(objection(UpdateFunctionConfigurationRequest{}), std::nullopt);
  EXPECT_THAT(objection(UpdateFunctionConfigurationRequest{.memory_mb = 64}), Optional(HasSubstr("'memorySize'")));
  EXPECT_THAT(objection(UpdateFunctionConfigurationRequest{.environment = Variables{{"A", "b"}}}),
              Optional(HasSubstr("'environment.variables'")));
  EXPECT_EQ(objection(UpdateFunctionCodeRequest{.zip = "PK"}), std::nullopt);
  EXPECT_THAT(objection(UpdateFunctionCodeRequest{}), Optional(HasSubstr("no code")));
}

}  // namespace
}  // namespace virga::lambda
