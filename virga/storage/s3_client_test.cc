// Against OpenStack Swift, which verifies signatures; against a server of ours for what Swift cannot be made to do.
#include "virga/storage/s3_client.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/net/http_testing.h"
#include "virga/net/sigv4.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Wait soon() { return {.deadline = test_deadline()}; }

std::shared_ptr<AwsCredentials> credentials_from(const Environment& environment) {
  return std::make_shared<AwsCredentials>(AwsCredentials::Options{.environment = environment});
}

S3Client::Options swift_options(std::string_view path) {
  const auto environment = Swift::shared().environment();
  return {.place = parse_s3_uri(fmt::format("s3://{}", path), environment),
          .credentials = credentials_from(environment),
          .first_pause = 5ms};
}

void put(S3Client& client, const std::string& key, std::string_view text) {
  const S3Client::Put object{.key = key, .parts = {as_bytes(text)}};
  client.put({&object, 1}, soon());
}

std::string get(S3Client& client, const std::string& key) {
  const auto bytes = client.get(key, 1 << 30, soon());
  return bytes ? std::string(as_text(*bytes)) : "nothing";
}

std::optional<Error> error_when(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return {};
}

std::string pattern(std::size_t bytes) {
  std::string text(bytes, ' ');
  std::iota(text.begin(), text.end(), '\0');
  for (std::size_t i = 0; i < bytes; i += 256) text[i] = static_cast<char>(i >> 12U);
  return text;
}

TEST(S3Client, StoresManyObjectsAtATimeAndLists) {
  auto& swift = Swift::shared();
  auto options = swift_options(swift.make_bucket() + "/some/where");
  options.page_objects = 7;
  S3Client client(options);
  std::vector<S3Client::Put> objects;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) keys.push_back(fmt::format("k/{:02}", i));
  for (std::size_t i = 0; i < 40; ++i) {
    objects.push_back({.key = keys[i], .parts = {as_bytes("some"), {}, as_bytes(keys[i])}});
  }
  client.put(objects, soon());
  keys.emplace_back("k/nowhere");
  std::set<std::size_t> seen;
  client.get_all(
      keys, 100,
      [&](std::size_t index, const Bytes& bytes) {
        EXPECT_EQ(as_text(bytes), "some" + keys[index]);
        seen.insert(index);
      },
      soon());
  EXPECT_EQ(seen.size(), 40U);
  const auto listed = client.list("k/", "", soon());
  ASSERT_EQ(listed.size(), 40U);
  EXPECT_EQ(listed[39], (S3Object{.key = "k/39", .bytes = 8}));
  // Of these, six for the pages of the list.
  EXPECT_EQ(client.counts(), (S3Client::Counts{.writes = 46, .reads = 41, .bytes_sent = 320, .bytes_received = 320}));
  EXPECT_EQ(client.list("k/", "k/10", soon()).size(), 10U);
  client.remove(keys, soon());
  EXPECT_TRUE(client.list("", "", soon()).empty());
}

TEST(S3Client, PutsABigObjectInParts) {
  auto options = swift_options(Swift::shared().make_bucket());
  options.part_bytes = 5 << 20;
  S3Client client(options);
  const auto text = pattern((11 << 20) + 12345);
  const S3Client::Put object{.key = "big", .parts = {as_bytes(text).first(6 << 20), as_bytes(text).subspan(6 << 20)}};
  client.put({&object, 1}, soon());
  EXPECT_EQ(client.head("big", soon()), text.size());
  EXPECT_TRUE(get(client, "big") == text);
  Bytes out(1000);
  client.get_range("big", (5 << 20) - 500, out, soon());
  EXPECT_EQ(as_text(out), text.substr((5 << 20) - 500, 1000));
}

TEST(S3Client, AgreesWithBoto3) {
  auto& swift = Swift::shared();
  const auto bucket = swift.make_bucket();
  S3Client client(swift_options(bucket + "/p"));
  const std::vector<std::string> keys = {"a b", "ü/é", "x%2e+&=?#", "a..b/c.", "~-_!*'()"};
  for (const auto& key : keys) put(client, key, key);
  std::string variables;
  for (const auto& [name, value] : swift.variables()) variables += fmt::format("{}='{}' ", name, value);
  const auto said =
      run_shell(fmt::format("{} python3 -c \"import boto3\n"
                            "s3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1')\n"
                            "for o in s3.list_objects_v2(Bucket='{}')['Contents']:\n"
                            "  print(o['Key'], s3.get_object(Bucket='{}', Key=o['Key'])['Body'].read().decode())\n"
                            "s3.put_object(Bucket='{}', Key='p/of boto', Body=b'3')\"",
                            variables, swift.endpoint(), bucket, bucket, bucket));
  for (const auto& key : keys) EXPECT_THAT(said, HasSubstr(fmt::format("p/{} {}\n", key, key)));
  EXPECT_EQ(get(client, "of boto"), "3");
}

TEST(S3Client, NamesTheBucketInTheHostIfAsked) {
  auto& swift = Swift::shared();
  const auto bucket = swift.make_bucket();
  auto options = swift_options(bucket);
  options.place =
      parse_s3_uri(fmt::format("s3://{}/p?style=virtual&endpoint=http://s3.localhost:{}", bucket, swift.address().port),
                   swift.environment());
  EXPECT_EQ(options.place.endpoint.host, fmt::format("{}.s3.localhost:{}", bucket, swift.address().port));
  options.place.endpoint.address = swift.address();  // whose name nobody knows here
  S3Client client(options);
  put(client, "a/b", "text");
  EXPECT_EQ(get(client, "a/b"), "text");
  EXPECT_EQ(client.list("", "", soon()).size(), 1U);
  S3Client by_path(swift_options(bucket + "/p"));
  EXPECT_EQ(get(by_path, "a/b"), "text");
}

TEST(S3Client, SaysWhatS3Refuses) {
  auto& swift = Swift::shared();
  const auto bucket = swift.make_bucket();
  auto variables = swift.variables();
  variables["AWS_SECRET_ACCESS_KEY"] = "WRONG";
  auto options = swift_options(bucket + "/p");
  options.credentials = credentials_from(Swift::environment_of(variables));
  S3Client client(options);
  auto error = error_when([&] { put(client, "key", "text"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("S3 PutObject"), HasSubstr(bucket + "/p/key"), HasSubstr(swift.host()),
                                   HasSubstr("SignatureDoesNotMatch"), Not(HasSubstr("WRONG"))));
  EXPECT_THAT(error->remedy(), HasSubstr("secret"));
  EXPECT_EQ(client.counts().retries, 0U);

  S3Client nowhere(swift_options("no-such-bucket"));
  for (const auto& work :
       std::initializer_list<std::function<void()>>{[&] { put(nowhere, "key", "text"); }, [&] { get(nowhere, "key"); },
                                                    [&] { std::ignore = nowhere.list("", "", soon()); }}) {
    error = error_when(work);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error->what(), HasSubstr("NoSuchBucket"));
    EXPECT_THAT(error->remedy(), HasSubstr("aws s3 mb"));
  }
}

TEST(S3Client, TakesTheServicesClockWhereItsOwnIsWrong) {
  auto options = swift_options(Swift::shared().make_bucket());
  options.now = [] { return std::chrono::system_clock::now() - 3h; };
  S3Client client(options);
  put(client, "key", "text");
  EXPECT_EQ(get(client, "key"), "text");
  EXPECT_EQ(client.counts().retries, 1U);
}

TEST(S3Client, GivesUpWhenNobodyAnswers) {
  auto& swift = Swift::shared();
  auto options = swift_options(swift.make_bucket());
  options.most_attempts = 3;
  S3Client client(options);
  swift.kill();
  const auto error = error_when([&] { put(client, "key", "text"); });
  swift.restart();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("PutObject"), HasSubstr("/key"), HasSubstr("(3 attempts)")));
  EXPECT_EQ(client.counts().retries, 2U);
}

/// Runs `work` in a thread of its own, and `mend` as soon as the client has tried again.
void when_it_tries_again(const S3Client& client, const std::function<void()>& work, const std::function<void()>& mend) {
  std::optional<Error> error;
  std::jthread worker([&] { error = error_when(work); });
  EXPECT_TRUE(eventually([&] { return client.counts().retries > 0; }));
  mend();
  worker.join();
  EXPECT_FALSE(error) << error->what();
}

TEST(S3Client, GoesOnWhenTheServiceIsBack) {
  auto& swift = Swift::shared();
  auto options = swift_options(swift.make_bucket());
  options.most_attempts = 100;
  options.longest_pause = 50ms;
  S3Client client(options);
  put(client, "key", "text");
  swift.kill();
  when_it_tries_again(
      client, [&] { EXPECT_EQ(get(client, "key"), "text"); }, [&] { swift.restart(); });
}

TEST(S3Client, TriesAgainWhereNoAnswerComesInTime) {
  auto& swift = Swift::shared();
  auto options = swift_options(swift.make_bucket());
  options.attempt_time = 200ms;
  options.most_attempts = 100;
  options.longest_pause = 50ms;
  S3Client client(options);
  swift.pause();
  when_it_tries_again(
      client, [&] { put(client, "key", "text"); }, [&] { swift.resume(); });
  EXPECT_EQ(get(client, "key"), "text");
}

TEST(S3Client, TriesAgainWhileTheServiceCannotStore) {
  auto& swift = Swift::shared();
  auto options = swift_options(swift.make_bucket());
  options.most_attempts = 1000;
  options.longest_pause = 50ms;
  S3Client client(options);
  swift.kill_object_server();
  when_it_tries_again(
      client, [&] { put(client, "key", "text"); }, [&] { swift.restart_object_server(); });
  EXPECT_EQ(get(client, "key"), "text");
}

TEST(S3Client, CanBeInterrupted) {
  auto& swift = Swift::shared();
  S3Client client(swift_options(swift.make_bucket()));
  swift.pause();
  std::stop_source stop;
  std::optional<Error> error;
  std::jthread worker([&] {
    const std::string text = "text";
    const S3Client::Put object{.key = "key", .parts = {as_bytes(text)}};
    error = error_when([&] { client.put({&object, 1}, {.deadline = test_deadline(), .stop = stop.get_token()}); });
  });
  EXPECT_TRUE(eventually([&] { return client.counts().writes > 0; }));
  stop.request_stop();
  worker.join();
  swift.resume();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kInterrupted);
}

/// A service that answers as the test says; it keeps what it was asked.
class ScriptedS3 {
 public:
  using Script = std::function<HttpResponse(const HttpRequest& request, int number)>;
  explicit ScriptedS3(Script script)
      : server_([this, script = std::move(script)](const HttpRequest& request, const HttpReply& reply) {
          reply.send(script(request, ++requests_));
        }) {}

  [[nodiscard]] int requests() const { return requests_; }
  [[nodiscard]] std::size_t connections() { return server_.server().connections(); }
  [[nodiscard]] Address address() const { return server_.address(); }
  [[nodiscard]] S3Client::Options options() const {
    return options(fmt::format("http://127.0.0.1:{}", server_.address().port));
  }
  [[nodiscard]] static S3Client::Options options(const std::string& endpoint) {
    const auto environment = Swift::environment_of({{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "SECRET"}});
    return {.place = parse_s3_uri("s3://bucket?endpoint=" + endpoint, environment),
            .credentials = credentials_from(environment),
            .first_pause = 1ms,
            .longest_pause = 10ms};
  }

 private:
  std::atomic<int> requests_ = 0;
  ServerThread server_;
};

HttpResponse refusal(int status, const std::string& code, std::vector<HttpHeader> headers = {}) {
  return {.status = status,
          .headers = std::move(headers),
          .body = fmt::format(
              "<?xml version=\"1.0\"?>\n<Error><Code>{}</Code><Message>as the test\nsays</Message></Error>", code)};
}

TEST(S3Client, IsPatientWithAServiceThatAsksForIt) {
  ScriptedS3 s3([](const HttpRequest&, int number) {
    if (number == 3) return refusal(429, "TooManyRequests");
    return number <= 20 ? refusal(503, "SlowDown") : HttpResponse{.body = "text"};
  });
  S3Client client(s3.options());
  EXPECT_EQ(get(client, "key"), "text");
  EXPECT_EQ(client.counts().throttled, 20U);
  EXPECT_EQ(client.counts().retries, 20U);
}

TEST(S3Client, SaysThatItWasThrottledWhenTimeIsUp) {
  ScriptedS3 s3([](const HttpRequest&, int) { return refusal(503, "SlowDown", {{"Retry-After", "60"}}); });
  S3Client client(s3.options());
  const auto error = error_when([&] { put(client, "key", "text"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kThrottled);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("503 SlowDown: as the test says")));
  EXPECT_EQ(s3.requests(), 1) << "a minute is more than it may wait";
}

TEST(S3Client, KeepsItsConnectionsAndToTheNumberOfRequests) {
  ScriptedS3 s3([](const HttpRequest& request, int) { return HttpResponse{.body = request.target}; });
  auto options = s3.options();
  options.most_under_way = 3;
  S3Client client(options);
  std::vector<std::string> keys;
  for (int i = 0; i < 50; ++i) keys.push_back(fmt::format("{}", i));
  for (int i = 0; i < 2; ++i) {
    std::size_t seen = 0;
    client.get_all(
        keys, 100,
        [&](std::size_t index, const Bytes& bytes) {
          EXPECT_EQ(as_text(bytes), "/bucket/" + keys[index]);
          ++seen;
        },
        soon());
    EXPECT_EQ(seen, 50U);
  }
  EXPECT_LE(s3.connections(), 3U);
}

TEST(S3Client, RenewsCredentialsThatHaveExpiredOnce) {
  for (const bool is_mended : {true, false}) {
    std::atomic<int> given = 0;
    const ServerThread role([&](const HttpRequest&, const HttpReply& reply) {
      reply.send({.body = fmt::format(R"({{"AccessKeyId": "id{}", "SecretAccessKey": "s", "Token": "t"}})", ++given)});
    });
    ScriptedS3 s3([&](const HttpRequest& request, int) {
      const bool is_new = find_header(request.headers, "Authorization")->find("Credential=id2/") != std::string::npos;
      return is_new && is_mended ? HttpResponse{.body = "text"} : refusal(400, "ExpiredToken");
    });
    auto options = s3.options();
    options.credentials = credentials_from(Swift::environment_of(
        {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", fmt::format("http://127.0.0.1:{}", role.address().port)}}));
    S3Client client(options);
    const auto error = error_when([&] { EXPECT_EQ(get(client, "key"), "text"); });
    EXPECT_EQ(given, 2);
    EXPECT_EQ(error.has_value(), !is_mended);
    if (error) {
      EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
    }
  }
}

TEST(S3Client, LooksAtTheChecksumThatTheServiceGives) {
  ScriptedS3 s3([](const HttpRequest& request, int number) {
    if (request.method == "PUT") {
      const auto* sum = find_header(request.headers, "x-amz-checksum-crc32c");
      return sum != nullptr && *sum == "4waSgw==" ? HttpResponse{} : refusal(400, "BadDigest");
    }
    return HttpResponse{.headers = {{"x-amz-checksum-crc32c", "4waSgw=="}},
                        .body = number < 4 ? "123456780" : "123456789"};
  });
  S3Client client(s3.options());
  put(client, "key", "123456789");  // whose CRC-32C is 0xE3069283
  EXPECT_EQ(get(client, "key"), "123456789");
  EXPECT_EQ(client.counts().retries, 2U);
}

TEST(S3Client, RefusesAnswersThatAreNotS3s) {
  const std::pair<HttpResponse, ErrorKind> cases[] = {
      {{.body = "<html>hello"}, ErrorKind::kBadData},
      {{.body = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"}, ErrorKind::kBadData},
      {{.status = 301, .headers = {{"x-amz-bucket-region", "eu-west-1"}}}, ErrorKind::kUsage},
      {{.status = 400,
        .headers = {},
        .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"},
       ErrorKind::kUsage},
      {{.status = 501, .headers = {}, .body = "no XML"}, ErrorKind::kUnsupported},
      {{.status = 507, .headers = {}, .body = ""}, ErrorKind::kIo},
  };
  for (const auto& [answer, kind] : cases) {
    ScriptedS3 s3([&answer = answer](const HttpRequest&, int) { return answer; });
    S3Client client(s3.options());
    const auto error = error_when([&] { std::ignore = client.list("", "", soon()); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), kind) << error->what();
    EXPECT_THAT(error->what(), HasSubstr("ListObjectsV2"));
    if (kind == ErrorKind::kUsage) {
      EXPECT_THAT(error->remedy(), HasSubstr("eu-west-1"));
    }
  }
  ScriptedS3 without_ranges([](const HttpRequest&, int) { return HttpResponse{.body = "0123456789"}; });
  S3Client client(without_ranges.options());
  Bytes out(4);
  EXPECT_EQ(error_when([&] { client.get_range("key", 2, out, soon()); })->kind(), ErrorKind::kBadData);
  out.resize(10);
  EXPECT_EQ(error_when([&] { client.get_range("key", 2, out, soon()); })->kind(), ErrorKind::kBadData);
}

/// An upload in parts whose end goes as the test says.
ScriptedS3::Script upload_that(const std::function<HttpResponse(int attempt)>& end, std::atomic<int>& aborted) {
  auto attempts = std::make_shared<int>(0);
  return [=, &aborted](const HttpRequest& request, int) -> HttpResponse {
    if (request.target.ends_with("?uploads=")) {
      return {.body = "<InitiateMultipartUploadResult><UploadId>a/b+c</UploadId></InitiateMultipartUploadResult>"};
    }
    if (request.method == "HEAD") return {.headers = {}, .body = std::string(11, 'x')};
    EXPECT_THAT(request.target, HasSubstr("uploadId=a%2Fb%2Bc"));
    if (request.method == "PUT") return {.headers = {{"ETag", "\"tag\""}}};
    if (request.method == "DELETE") ++aborted;
    return request.method == "POST" ? end(++*attempts) : HttpResponse{.status = 204};
  };
}

TEST(S3Client, EndsAnUploadInPartsOnceAndClearsUpWhatFails) {
  const HttpResponse done{.body = "\n<CompleteMultipartUploadResult/>"};
  const auto put_in_parts = [&](const std::function<HttpResponse(int)>& end, std::atomic<int>& aborted) {
    ScriptedS3 s3(upload_that(end, aborted));
    auto options = s3.options();
    options.part_bytes = 4;
    S3Client client(options);
    return error_when([&] { put(client, "key", "12345678901"); });
  };
  std::atomic<int> aborted = 0;
  EXPECT_FALSE(put_in_parts([&](int) { return HttpResponse(done); }, aborted));
  // It had worked, but nobody was told.
  EXPECT_FALSE(put_in_parts(
      [&](int n) { return n == 1 ? refusal(500, "InternalError") : refusal(404, "NoSuchUpload"); }, aborted));
  EXPECT_EQ(aborted, 0);
  // 200 came before it failed.
  const auto error = put_in_parts([&](int) { return refusal(200, "InternalError"); }, aborted);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_EQ(aborted, 1);
}

TEST(S3Uri, SaysWhereAPlaceIs) {
  const auto environment =
      Swift::environment_of({{"AWS_REGION", "eu-west-1"}, {"AWS_ENDPOINT_URL_S3", "http://of.environment:9000"}});
  const auto place = parse_s3_uri("s3://my-bucket/a/b/", environment);
  EXPECT_EQ(place.bucket, "my-bucket");
  EXPECT_EQ(place.prefix, "a/b/");
  EXPECT_EQ(place.region, "eu-west-1");
  EXPECT_TRUE(place.path_style);
  EXPECT_EQ(place.endpoint.host, "of.environment:9000");
  EXPECT_EQ(place.uri, "s3://my-bucket/a/b");
  EXPECT_EQ(place.path_of("x y"), "/my-bucket/a/b/x%20y");
  const auto given =
      parse_s3_uri("s3://my-bucket?endpoint=http%3A%2F%2F[::1]:1&region=us-west-2&style=path", environment);
  EXPECT_EQ(given.prefix, "");
  EXPECT_EQ(given.endpoint.address.host, "::1");
  EXPECT_EQ(given.region, "us-west-2");
  EXPECT_TRUE(given.signs_bodies);
  EXPECT_FALSE(parse_s3_uri("s3://my-bucket?endpoint=https://host", environment).signs_bodies);
  for (const auto& one : {place, given, parse_s3_uri("s3://my-bucket/a?style=virtual&bodies=unsigned", environment),
                          parse_s3_uri("s3://my-bucket/a?endpoint=https://host&bodies=signed", environment)}) {
    const auto again = parse_s3_uri(full_s3_uri(one), Swift::environment_of({}));
    EXPECT_EQ(again.endpoint, one.endpoint);
    EXPECT_EQ(again.region, one.region);
    EXPECT_EQ(again.prefix, one.prefix);
    EXPECT_EQ(again.path_style, one.path_style);
    EXPECT_EQ(again.signs_bodies, one.signs_bodies);
  }
}

TEST(S3Uri, IsRefusedWithoutRepeatingWhatMayBeSecret) {
  const auto environment = Swift::environment_of({{"AWS_REGION", "eu-west-1"}});
  for (const auto* uri :
       {"s3://", "s3://ab", "s3://Bucket", "s3://bucket-", "s3://a..b", "s3://key:SECRET@bucket/a", "s3://bucket/../a",
        "s3://bucket//a", "s3://bucket?secret=SECRET", "s3://bucket?endpoint=http://user:SECRET@host",
        "s3://bucket?style=SECRET", "s3://bucket?bodies=SECRET", "s3://bucket?region=a&region=b",
        "s3://bucket?endpoint=", "s3://bucket?endpoint=%zz", "s3://bucket?endpoint=http://host&region=a/b"}) {
    const auto error = error_when([&] { std::ignore = parse_s3_uri(uri, environment); });
    ASSERT_TRUE(error) << uri;
    EXPECT_EQ(error->kind(), ErrorKind::kUsage) << uri;
    EXPECT_THAT(error->what(), Not(HasSubstr("SECRET")));
    EXPECT_NE(error->remedy(), "");
  }
  EXPECT_EQ(error_when([&] { std::ignore = parse_s3_uri("s3://bucket", Swift::environment_of({})); })->kind(),
            ErrorKind::kUsage);
}

TEST(S3Uri, IsThatOfAwsOverTlsUnlessAnEndpointIsNamed) {
  const auto environment = Swift::environment_of({{"AWS_REGION", "eu-west-1"}, {"AWS_CA_BUNDLE", "/roots.pem"}});
  const auto place = parse_s3_uri("s3://bucket/a", environment);
  EXPECT_EQ(place.endpoint.host, "bucket.s3.eu-west-1.amazonaws.com");
  EXPECT_EQ(place.endpoint.address.host, place.endpoint.host);
  EXPECT_EQ(place.endpoint.address.port, 443);
  EXPECT_EQ(place.endpoint.address.tls, (TlsPeer{.name = place.endpoint.host, .authorities = "/roots.pem"}));
  EXPECT_EQ(
      full_s3_uri(place),
      "s3://bucket/a?endpoint=https://s3.eu-west-1.amazonaws.com&region=eu-west-1&style=virtual&bodies=unsigned&ca="
      "/roots.pem");
  EXPECT_EQ(parse_s3_uri(full_s3_uri(place), Swift::environment_of({})).endpoint, place.endpoint);
  EXPECT_EQ(parse_s3_uri("s3://my.bucket", environment).endpoint.host, "s3.eu-west-1.amazonaws.com")
      << "a certificate for *.s3... is for no name with another dot";

  const auto moved = parse_s3_uri("s3://bucket?endpoint=https://host:9000&ca=/a.pem&via=10.0.0.1", environment);
  EXPECT_EQ(moved.endpoint.host, "host:9000");
  EXPECT_EQ(moved.endpoint.address.host, "10.0.0.1");
  EXPECT_EQ(moved.endpoint.address.tls, (TlsPeer{.name = "host", .authorities = "/a.pem"}));
  for (const auto* uri : {"s3://bucket?endpoint=http://host&ca=/a.pem", "s3://bucket?ca=a.pem", "s3://bucket?ca="}) {
    EXPECT_EQ(error_when([&] { std::ignore = parse_s3_uri(uri, environment); })->kind(), ErrorKind::kUsage) << uri;
  }
}

TEST(S3Client, SpeaksTls) {
  const auto bucket = Swift::shared().make_bucket();
  const auto client = Swift::shared().client(bucket + "/a" + Swift::over_tls());
  const auto text = pattern((3 << 20) + 12345);
  const S3Client::Put object{.key = "key", .parts = {as_bytes(text).first(1 << 20), as_bytes(text).subspan(1 << 20)}};
  client->put({&object, 1}, soon());
  EXPECT_TRUE(get(*client, "key") == text);
  const auto unknown = Swift::over_tls().substr(0, Swift::over_tls().find("&ca="));
  const auto error = error_when([&] { (void)Swift::shared().client(bucket + unknown)->head("key", soon()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized) << error->what();
  EXPECT_THAT(error->what(), HasSubstr("its certificate is signed by nobody whom"));
  EXPECT_THAT(error->what(), Not(HasSubstr("attempts"))) << "what stays as it is is not tried again";
}

TEST(S3Client, SignsABodyUnlessItGoesThroughTlsOrIsNotToBeSigned) {
  struct Seen {
    std::string method, body_hash, signed_headers;
    bool operator==(const Seen&) const = default;
  };
  std::vector<Seen> seen;
  ScriptedS3 s3([&](const HttpRequest& request, int) {
    const auto& authorization = *find_header(request.headers, "Authorization");
    const auto from = authorization.find("SignedHeaders=") + 14;
    seen.push_back({request.method, *find_header(request.headers, "X-Amz-Content-Sha256"),
                    authorization.substr(from, authorization.find(',', from) - from)});
    return HttpResponse{.body = request.method == "GET" ? "text" : ""};
  });
  const TlsFront front(s3.address());
  const std::string text = "text";
  const S3Client::Put object{.key = "key", .parts = {as_bytes(text)}};
  for (const auto& options : {s3.options(), s3.options(front.url() + "&ca=" + TestCertificates::shared().authority()),
                              s3.options(fmt::format("http://127.0.0.1:{}&bodies=unsigned", s3.address().port))}) {
    S3Client client(options);
    client.put({&object, 1}, soon());
    EXPECT_EQ(get(client, "key"), text);
  }
  const std::string of_get = "host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date";
  const std::string of_put = "host;x-amz-checksum-crc32c;x-amz-content-sha256;x-amz-date";
  EXPECT_THAT(seen, testing::ElementsAre(Seen{"PUT", sha256_hex(text), of_put}, Seen{"GET", sha256_hex(""), of_get},
                                         Seen{"PUT", "UNSIGNED-PAYLOAD", of_put}, Seen{"GET", sha256_hex(""), of_get},
                                         Seen{"PUT", "UNSIGNED-PAYLOAD", of_put}, Seen{"GET", sha256_hex(""), of_get}));
}

}  // namespace
}  // namespace virga
