// Against AWS's published test suite and examples ("AKIDEXAMPLE"), botocore and curl.
#include "virga/net/sigv4.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/net/http_testing.h"
#include "virga/net/sigv4_canonical.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const Credentials kCredentials = {.access_key_id = "AKIDEXAMPLE",
                                  .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                  .session_token = {}};
const SigningScope kScope = {.region = "us-east-1", .service = "service"};
const auto kTime = *parse_iso_basic("20150830T123600Z");

FindCredentials knows(const Credentials& credentials) {
  return [credentials](std::string_view id) {
    return id == credentials.access_key_id ? std::optional(credentials) : std::nullopt;
  };
}

std::string authorization_of(const HttpRequest& request) { return *find_header(request.headers, "Authorization"); }

struct Vector {
  std::string name;
  HttpRequest request;
  std::string signed_headers;
  std::string signature;
};

HttpRequest suite_request(std::string method, std::string target, std::vector<HttpHeader> more = {},
                          std::string body = {}) {
  more.insert(more.begin(), {.name = "Host", .value = "example.amazonaws.com"});
  return {
      .method = std::move(method), .target = std::move(target), .headers = std::move(more), .body = std::move(body)};
}

const std::string kUnreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const std::string kSlash = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

const Vector kSuite[] = {
    {"get-vanilla", suite_request("GET", "/"), "host;x-amz-date", kSlash},
    {"get-vanilla-query", suite_request("GET", "/?"), "host;x-amz-date", kSlash},
    {"get-vanilla-empty-query-key", suite_request("GET", "/?Param1=value1"), "host;x-amz-date",
     "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
    {"get-vanilla-query-order-key-case", suite_request("GET", "/?Param2=value2&Param1=value1"), "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-order-encoded", suite_request("GET", "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1"),
     "host;x-amz-date", "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
    {"get-vanilla-query-unreserved", suite_request("GET", "/?" + kUnreserved + "=" + kUnreserved), "host;x-amz-date",
     "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {"get-vanilla-utf8-query", suite_request("GET", "/?\xE1\x88\xB4=bar"), "host;x-amz-date",
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-unreserved", suite_request("GET", "/" + kUnreserved), "host;x-amz-date",
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8", suite_request("GET", "/\xE1\x88\xB4"), "host;x-amz-date",
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-relative", suite_request("GET", "/example/.."), "host;x-amz-date", kSlash},
    {"get-relative-relative", suite_request("GET", "/example1/example2/../.."), "host;x-amz-date", kSlash},
    {"get-slash", suite_request("GET", "//"), "host;x-amz-date", kSlash},
    {"get-slash-dot-slash", suite_request("GET", "/./"), "host;x-amz-date", kSlash},
    {"get-slashes", suite_request("GET", "//example//"), "host;x-amz-date",
     "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
    {"get-slash-pointless-dot", suite_request("GET", "/./example"), "host;x-amz-date",
     "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
    {"get-space", suite_request("GET", "/example space/"), "host;x-amz-date",
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-header-key-duplicate",
     suite_request("GET", "/", {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}}),
     "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"get-header-value-multiline", suite_request("GET", "/", {{"My-Header1", "value1\n  value2\n     value3"}}),
     "host;my-header1;x-amz-date", "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
    {"get-header-value-order",
     suite_request(
         "GET", "/",
         {{"My-Header1", "value4"}, {"My-Header1", "value1"}, {"My-Header1", "value3"}, {"My-Header1", "value2"}}),
     "host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {"get-header-value-trim", suite_request("GET", "/", {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}),
     "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"post-vanilla", suite_request("POST", "/"), "host;x-amz-date",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-vanilla-query", suite_request("POST", "/?Param1=value1"), "host;x-amz-date",
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-header-key-sort", suite_request("POST", "/", {{"My-Header1", "value1"}}), "host;my-header1;x-amz-date",
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {"post-header-value-case", suite_request("POST", "/", {{"My-Header1", "VALUE1"}}), "host;my-header1;x-amz-date",
     "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {"post-x-www-form-urlencoded",
     suite_request("POST", "/", {{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", "13"}},
                   "Param1=value1"),
     "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    {"post-x-www-form-urlencoded-parameters",
     suite_request("POST", "/", {{"Content-Type", "application/x-www-form-urlencoded; charset=utf8"}}, "Param1=value1"),
     "content-type;host;x-amz-date", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"}};

TEST(SigV4, SignsTheSuiteOfAwsAndVerifiesIt) {
  for (auto [name, request, signed_headers, signature] : kSuite) {
    sign(request, kCredentials, kScope, kTime);
    EXPECT_EQ(authorization_of(request),
              fmt::format("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                          "SignedHeaders={}, Signature={}",
                          signed_headers, signature))
        << name;
    EXPECT_EQ(*find_header(request.headers, "X-Amz-Date"), "20150830T123600Z");
    EXPECT_FALSE(verify(request, knows(kCredentials), kScope, kTime)) << name;
  }
}

TEST(SigV4, SignsASessionToken) {
  auto credentials = kCredentials;
  credentials.session_token =
      "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwt"
      "hAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVX"
      "AkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
      "";
  auto request = suite_request("POST", "/");
  sign(request, credentials, kScope, kTime);
  EXPECT_THAT(authorization_of(request),
              HasSubstr("SignedHeaders=host;x-amz-date;x-amz-security-token, "
                        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"));
  EXPECT_FALSE(verify(request, knows(credentials), kScope, kTime));

  // The suite's post-sts-header-after: the token was added to a request that was signed without it.
  auto after = suite_request("POST", "/");
  sign(after, kCredentials, kScope, kTime);
  after.headers.push_back({"X-Amz-Security-Token", credentials.session_token});
  EXPECT_FALSE(verify(after, knows(credentials), kScope, kTime));
}

TEST(SigV4, SignsTheExamplesOfS3) {
  const Credentials credentials = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                   .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                   .session_token = {}};
  const SigningScope scope = {.region = "us-east-1", .service = "s3"};
  const auto time = *parse_iso_basic("20130524T000000Z");
  const HttpHeader host = {"Host", "examplebucket.s3.amazonaws.com"};
  const std::pair<HttpRequest, std::string> examples[] = {
      {{.target = "/test.txt", .headers = {host, {"Range", "bytes=0-9"}}},
       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {{.method = "PUT",
        .target = "/test%24file.text",
        .headers = {host, {"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        .body = "Welcome to Amazon S3."},
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      {{.target = "/?lifecycle", .headers = {host}},
       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      {{.target = "/?max-keys=2&prefix=J", .headers = {host}},
       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}};
  for (auto [request, signature] : examples) {
    sign(request, credentials, scope, time, SigV4Path::kAsSent);
    EXPECT_THAT(authorization_of(request), testing::EndsWith("Signature=" + signature)) << request.target;
    EXPECT_FALSE(verify(request, knows(credentials), scope, time, SigV4Path::kAsSent)) << request.target;
  }
}

TEST(SigV4, AgreesWithBotocore) {
  struct Case {
    std::string service, method, host, target, token, body;
    std::vector<HttpHeader> headers;
  };
  const std::string function = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af";
  const Case cases[] = {
      {"lambda", "GET", "127.0.0.1:9001", "/2015-03-31/functions/", "", "", {}},
      {"lambda",
       "POST",
       "127.0.0.1:9001",
       function + "/invocations?Qualifier=%24LATEST",
       "",
       "{\"a\": \"\xE1\x88\xB4\"}",
       {{"X-Amz-Invocation-Type", "RequestResponse"},
        {"X-Amz-Log-Type", "Tail"},
        {"Content-Type", "application/json"}}},
      {"lambda",
       "DELETE",
       "lambda.us-east-1.amazonaws.com",
       "/2015-03-31/functions/a//b/../c?z=1&a=2&a=1&b",
       "token/+=",
       "",
       {{"User-Agent", "test"}, {"X-Odd", "  a   b  "}}},
      {"dynamodb", "POST", "localhost:8000", "/", "token", "{}", {{"X-Amz-Target", "DynamoDB_20120810.ListTables"}}},
      {"s3", "PUT", "localhost:9000", "/bucket/a%20b//c/../d%24", "", "body", {{"x-amz-meta-a", "1"}}},
      {"s3", "GET", "localhost:9000", "/bucket?list-type=2&prefix=a%2Fb%20c&delimiter=%2F", "token", "", {}}};
  std::string lines;
  for (const auto& one : cases) {
    lines +=
        fmt::format("{}\t{}\thttp://{}{}\t{}\t{}", one.service, one.method, one.host, one.target, one.token, one.body);
    for (const auto& header : one.headers) lines += fmt::format("\t{}={}", header.name, header.value);
    lines += "\n";
  }
  const char* sources = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  const auto script = std::string(sources != nullptr ? sources : ".") + "/virga/net/sigv4_witness.py";
  std::istringstream output(run_shell(fmt::format("/usr/bin/python3 {} <<'END'\n{}END\n", script, lines)));
  for (const auto& one : cases) {
    std::string line;
    ASSERT_TRUE(std::getline(output, line));
    const auto tab = line.find('\t');
    const auto time = parse_iso_basic(line.substr(0, tab));
    ASSERT_TRUE(time) << "botocore (Debian: python3-boto3) says: " << line;
    const auto path = one.service == "s3" ? SigV4Path::kAsSent : SigV4Path::kEncodedAgain;
    const SigningScope scope = {.region = "us-east-1", .service = one.service};
    auto credentials = kCredentials;
    credentials.session_token = one.token;
    HttpRequest request = {.method = one.method, .target = one.target, .headers = one.headers, .body = one.body};
    request.headers.push_back({"Host", one.host});
    sign(request, credentials, scope, *time, path);
    EXPECT_EQ(authorization_of(request), line.substr(tab + 1)) << one.target;
    EXPECT_FALSE(verify(request, knows(credentials), scope, *time, path)) << one.target;
  }
}

TEST(SigV4, TakesWhatCurlSigns) {
  const SigningScope scope = {.region = "us-east-1", .service = "lambda"};
  const ServerThread server([&](const HttpRequest& request, const HttpReply& reply) {
    const auto refusal = verify(request, knows(kCredentials), scope, std::chrono::system_clock::now());
    reply.send({.status = refusal ? refusal->status : 200, .body = refusal ? refusal->code : "welcome"});
  });
  const auto curl = [&](const std::string& secret) {
    return run_shell(
        fmt::format("curl --silent --show-error --max-time 20 --aws-sigv4 aws:amz:us-east-1:lambda "
                    "--user 'AKIDEXAMPLE:{}' -H 'X-Amz-Invocation-Type: Event' -d '{{}}' "
                    "'http://127.0.0.1:{}/2015-03-31/functions/f/invocations?Qualifier=1'",
                    secret, server.address().port));
  };
  EXPECT_EQ(curl(kCredentials.secret_access_key), "welcome");
  EXPECT_EQ(curl("guessed"), "InvalidSignatureException");
}

/// Why a signed request is refused once `spoil` has changed it.
SignatureRefusal refusal_of(const std::function<void(HttpRequest&)>& spoil, std::chrono::seconds later = 0s,
                            const SigningScope& scope = kScope, const Credentials& known = kCredentials) {
  auto request = suite_request("POST", "/path?a=b", {{"X-Amz-Log-Type", "Tail"}, {"X-Free", "1"}}, "body");
  sign(request, kCredentials, kScope, kTime);
  spoil(request);
  return verify(request, knows(known), scope, kTime + later).value_or(SignatureRefusal{200, "none", "taken"});
}

void set(HttpRequest& request, const std::string& name, const std::string& value) {
  std::erase_if(request.headers, [&](const HttpHeader& header) { return is_same_header(header.name, name); });
  request.headers.push_back({name, value});
}
void replace(HttpRequest& request, const std::string& old, const std::string& with) {
  auto text = authorization_of(request);
  const auto at = text.find(old);
  ASSERT_NE(at, std::string::npos) << old;
  set(request, "Authorization", text.replace(at, old.size(), with));
}
void remove(HttpRequest& request, const std::string& name) {
  std::erase_if(request.headers, [&](const HttpHeader& header) { return is_same_header(header.name, name); });
}

TEST(SigV4, RefusesWhatWasChangedAfterSigning) {
  const std::function<void(HttpRequest&)> changes[] = {
      [](HttpRequest& request) { request.method = "PUT"; },
      [](HttpRequest& request) { request.target = "/other?a=b"; },
      [](HttpRequest& request) { request.target = "/path?a=c"; },
      [](HttpRequest& request) { request.target = "/path"; },
      [](HttpRequest& request) { request.body = "b0dy"; },
      [](HttpRequest& request) { request.body.clear(); },
      [](HttpRequest& request) { set(request, "Host", "elsewhere"); },
      [](HttpRequest& request) { set(request, "X-Amz-Date", "20150830T123601Z"); },
      [](HttpRequest& request) { set(request, "X-Amz-Log-Type", "None"); },
      [](HttpRequest& request) { remove(request, "X-Free"); },
      [](HttpRequest& request) {
        request.headers.push_back({"X-Free", "2"});
      },
      [](HttpRequest& request) { replace(request, ";x-free", ""); },
      [](HttpRequest& request) { replace(request, "Signature=", "Signature=0"); },
      [](HttpRequest& request) {
        auto text = authorization_of(request);
        text.back() = text.back() == '0' ? '1' : '0';
        set(request, "Authorization", text);
      }};
  for (const auto& change : changes) {
    const auto refusal = refusal_of(change);
    EXPECT_EQ(refusal.code, "InvalidSignatureException") << &change - changes;
    EXPECT_EQ(refusal.status, 403);
    EXPECT_THAT(refusal.message, StartsWith("The request signature we calculated does not match the signature you "));
  }
  EXPECT_EQ(refusal_of([](HttpRequest&) {}).code, "none");
  EXPECT_EQ(refusal_of([](HttpRequest& request) { set(request, "User-Agent", "proxy"); }).code, "none");
}

TEST(SigV4, RefusesWhatIsNotSigned) {
  auto refusal = refusal_of([](HttpRequest& request) { replace(request, "host;", ""); });
  EXPECT_EQ(refusal.message, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  refusal = refusal_of([](HttpRequest& request) { replace(request, ";x-amz-date", ""); });
  EXPECT_EQ(refusal.message, "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization.");
  refusal = refusal_of([](HttpRequest& request) { set(request, "X-Amz-Invocation-Type", "Event"); });
  EXPECT_EQ(refusal.message, "'x-amz-invocation-type' must be a 'SignedHeader' in the AWS Authorization.");
  EXPECT_EQ(refusal.code, "InvalidSignatureException");
}

TEST(SigV4, RefusesAnAuthorizationThatIsNone) {
  auto refusal = refusal_of([](HttpRequest& request) { remove(request, "Authorization"); });
  EXPECT_EQ(refusal.status, 403);
  EXPECT_EQ(refusal.code, "MissingAuthenticationTokenException");
  EXPECT_EQ(refusal.message, "Missing Authentication Token");

  refusal = refusal_of([](HttpRequest& request) {
    remove(request, "X-Amz-Date");
    set(request, "Authorization", "Basic c2VjcmV0");
  });
  EXPECT_EQ(refusal.code, "IncompleteSignatureException");
  EXPECT_THAT(refusal.message,
              AllOf(StartsWith("Authorization header requires 'Credential' parameter. Authorization header requires "
                               "'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. "
                               "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "),
                    Not(HasSubstr("c2VjcmV0"))));

  const std::function<void(HttpRequest&)> changes[] = {
      [](HttpRequest& request) { set(request, "Authorization", ""); },
      [](HttpRequest& request) { set(request, "Authorization", "AWS4-HMAC-SHA256"); },
      [](HttpRequest& request) { set(request, "Authorization", "AWS4-HMAC-SHA256 , ,"); },
      [](HttpRequest& request) { set(request, "Authorization", "AWS4-HMAC-SHA256 nonsense"); },
      [](HttpRequest& request) { replace(request, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"); },
      [](HttpRequest& request) { replace(request, "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"); },
      [](HttpRequest& request) { replace(request, "Credential=", "Credential=a/"); },
      [](HttpRequest& request) { replace(request, "/aws4_request", ""); },
      [](HttpRequest& request) { replace(request, "SignedHeaders=", "Signature="); },
      [](HttpRequest& request) { replace(request, "Signature=", "Signed="); },
      [](HttpRequest& request) {
        request.headers.push_back({"Authorization", authorization_of(request)});
      },
      [](HttpRequest& request) {
        request.headers.push_back({"X-Amz-Date", "20150830T123600Z"});
      },
      [](HttpRequest& request) { remove(request, "X-Amz-Date"); },
      [](HttpRequest& request) { set(request, "X-Amz-Date", "20150830T1236Z"); },
      [](HttpRequest& request) { set(request, "X-Amz-Date", "20150230T123600Z"); },
      [](HttpRequest& request) { set(request, "X-Amz-Date", "2015083xT123600Z"); },
      [](HttpRequest& request) { request.target += "&X-Amz-Signature=0&X-Amz-Algorithm=AWS4-HMAC-SHA256"; }};
  for (const auto& change : changes) {
    const auto got = refusal_of(change);
    EXPECT_EQ(got.code, "IncompleteSignatureException") << &change - changes << ": " << got.message;
    EXPECT_EQ(got.status, 400);
  }
  EXPECT_EQ(refusal_of([](HttpRequest& request) { request.target += "%"; }).code, "MalformedQueryString");
}

TEST(SigV4, RefusesWhomItDoesNotKnow) {
  const auto unchanged = [](HttpRequest&) {};
  auto refusal = refusal_of([](HttpRequest& request) { replace(request, "AKIDEXAMPLE", "AKIDSOMEONE"); });
  EXPECT_EQ(refusal.status, 403);
  EXPECT_EQ(refusal.code, "UnrecognizedClientException");
  EXPECT_EQ(refusal.message, "The security token included in the request is invalid.");

  auto with_token = kCredentials;
  with_token.session_token = "token";
  EXPECT_EQ(refusal_of(unchanged, 0s, kScope, with_token).code, "UnrecognizedClientException");
  EXPECT_EQ(
      refusal_of([](HttpRequest& request) { set(request, "X-Amz-Security-Token", "other"); }, 0s, kScope, with_token)
          .code,
      "UnrecognizedClientException");
  EXPECT_EQ(refusal_of([](HttpRequest& request) { set(request, "X-Amz-Security-Token", "token"); }).code,
            "UnrecognizedClientException");

  auto other_secret = kCredentials;
  other_secret.secret_access_key = "another";
  EXPECT_EQ(refusal_of(unchanged, 0s, kScope, other_secret).code, "InvalidSignatureException");
}

TEST(SigV4, RefusesAnotherScope) {
  const auto unchanged = [](HttpRequest&) {};
  auto refusal = refusal_of(unchanged, 0s, {.region = "eu-west-1", .service = "service"});
  EXPECT_EQ(refusal.message, "Credential should be scoped to a valid region, not 'us-east-1'.");
  EXPECT_EQ(refusal.code, "InvalidSignatureException");
  refusal = refusal_of(unchanged, 0s, {.region = "us-east-1", .service = "lambda"});
  EXPECT_EQ(refusal.message, "Credential should be scoped to correct service: 'lambda'.");
  refusal = refusal_of([](HttpRequest& request) { replace(request, "aws4_request", "aws5_request"); });
  EXPECT_EQ(refusal.message,
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.");
  refusal = refusal_of([](HttpRequest& request) { replace(request, "20150830/", "20150829/"); });
  EXPECT_THAT(refusal.message, StartsWith("Date in Credential scope does not match YYYYMMDD"));
}

TEST(SigV4, RefusesASignatureOfAnotherTime) {
  const auto unchanged = [](HttpRequest&) {};
  EXPECT_EQ(refusal_of(unchanged, 300s).code, "none");
  EXPECT_EQ(refusal_of(unchanged, -300s).code, "none");
  auto refusal = refusal_of(unchanged, 301s);
  EXPECT_EQ(refusal.code, "InvalidSignatureException");
  EXPECT_EQ(refusal.message,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)");
  refusal = refusal_of(unchanged, -301s);
  EXPECT_EQ(
      refusal.message,
      "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)");
}

TEST(SigV4, RefusesADateThatIsFarAway) {
  for (const auto* year : {"0000", "1600", "2415", "9999"}) {
    const auto refusal = refusal_of([&](HttpRequest& request) {
      set(request, "X-Amz-Date", year + std::string("0830T123600Z"));
      replace(request, "/20150830/", fmt::format("/{}0830/", year));
    });
    EXPECT_THAT(refusal.message, StartsWith(*year < '2' ? "Signature expired: " : "Signature not yet current: "));
  }
}

TEST(SigV4, TakesAnUnsignedBodyForS3Alone) {
  auto request = suite_request("PUT", "/a", {{"X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"}}, "body");
  sign(request, kCredentials, kScope, kTime, SigV4Path::kAsSent);
  request.body = "another";
  EXPECT_FALSE(verify(request, knows(kCredentials), kScope, kTime, SigV4Path::kAsSent));
  const auto refusal = verify(request, knows(kCredentials), kScope, kTime);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->code, "XAmzContentSHA256Mismatch");

  auto claimed = suite_request("PUT", "/a", {}, "body");
  sign(claimed, kCredentials, kScope, kTime, SigV4Path::kAsSent);
  claimed.body = "another";
  const auto got = verify(claimed, knows(kCredentials), kScope, kTime, SigV4Path::kAsSent);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->code, "XAmzContentSHA256Mismatch");
  EXPECT_EQ(got->status, 400);
}

TEST(SigV4, SignsAnew) {
  auto request = suite_request("GET", "/");
  auto with_token = kCredentials;
  with_token.session_token = "old";
  sign(request, with_token, kScope, kTime - 600s);
  sign(request, kCredentials, kScope, kTime);
  EXPECT_THAT(authorization_of(request), HasSubstr(kSlash));
}

TEST(Base64, ReadsWhatItHasWritten) {
  // RFC 4648, section 10.
  const std::pair<std::string_view, std::string_view> known[] = {{"", ""},
                                                                 {"f", "Zg=="},
                                                                 {"fo", "Zm8="},
                                                                 {"foo", "Zm9v"},
                                                                 {"foob", "Zm9vYg=="},
                                                                 {"fooba", "Zm9vYmE="},
                                                                 {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : known) {
    EXPECT_EQ(base64_encode(bytes), text);
    EXPECT_EQ(base64_decode(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(base64_decode(base64_encode(all)), all);
  EXPECT_EQ(sha256_base64(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Base64, RefusesWhatIsNone) {
  for (const auto* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zm9v\n", "Zm 9v", "Zm-v", "Zh==", "Zm9="}) {
    EXPECT_THROW(static_cast<void>(base64_decode(text)), Error) << text;
  }
}

}  // namespace
}  // namespace virga
