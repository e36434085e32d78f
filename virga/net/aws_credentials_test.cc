// Against servers that answer as a container's endpoint and the metadata service do, and against botocore.
#include "virga/net/aws_credentials.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/net/aws_profile.h"
#include "virga/net/endpoint.h"
#include "virga/net/http_testing.h"
#include "virga/net/tls_testing.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using Variables = std::map<std::string, std::string>;

Environment environment_of(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto at = variables.find(name);
    return at == variables.end() ? std::nullopt : std::optional(at->second);
  };
}

std::optional<Error> error_when(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return {};
}

/// As the metadata service and a container's endpoint answer.
class RoleServer {
 public:
  RoleServer() : server_([this](const HttpRequest& request, const HttpReply& reply) { reply.send(answer(request)); }) {}

  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}", server_.address().port); }
  [[nodiscard]] int given() const { return given_; }
  void expire_at(const std::string& time) { expires_ = time; }
  void fail() { fails_ = true; }

 private:
  HttpResponse answer(const HttpRequest& request) {
    const auto header = [&](const char* name) {
      const auto* value = find_header(request.headers, name);
      return value == nullptr ? std::string() : *value;
    };
    if (fails_) return {.status = 500, .headers = {}, .body = "SECRET"};
    if (request.method == "PUT" && request.target == "/latest/api/token") return {.body = "metadata-token"};
    const bool of_metadata = request.target.starts_with("/latest/meta-data/iam/security-credentials/");
    const auto wanted = of_metadata ? header("X-aws-ec2-metadata-token") == "metadata-token"
                                    : header("Authorization") == "Bearer container-token";
    if (!wanted) return {.status = 401, .headers = {}, .body = "SECRET"};
    if (request.target.ends_with("/security-credentials/")) return {.body = "my role"};
    if (of_metadata && !request.target.ends_with("/my%20role")) return {.status = 404, .headers = {}, .body = ""};
    ++given_;
    return {.body = fmt::format(R"({{"Code": "Success", "AccessKeyId": "{}", "SecretAccessKey": "SECRET{}", )"
                                R"("Token": "session", "Expiration": "{}"}})",
                                of_metadata ? "OF-METADATA" : "OF-CONTAINER", given_.load(), expires_)};
  }

  std::atomic<int> given_ = 0;
  std::atomic<bool> fails_ = false;
  std::string expires_ = "2099-11-22T02:11:11Z";
  ServerThread server_;
};

class AwsCredentialsTest : public testing::Test {
 protected:
  AwsCredentialsTest() {
    auto name = (fs::path(testing::TempDir()) / "virga_aws_test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error("cannot create " + name, errno);
    home_ = name;
    fs::create_directories(home_ / ".aws");
  }
  ~AwsCredentialsTest() override { fs::remove_all(home_); }

  void write(const std::string& name, std::string_view text) const {
    write_file_atomically(home_ / name, as_bytes(text));
  }
  [[nodiscard]] Variables with(const Variables& more) const {
    Variables all = {{"HOME", home_.string()}, {"AWS_EC2_METADATA_DISABLED", "true"}};
    for (const auto& [name, value] : more) all[name] = value;
    return all;
  }
  [[nodiscard]] std::unique_ptr<AwsCredentials> credentials(const Variables& more) const {
    return std::make_unique<AwsCredentials>(
        AwsCredentials::Options{.environment = environment_of(with(more)), .now = now_});
  }
  [[nodiscard]] Error refusal(const Variables& more) const {
    const auto error = error_when([&] { std::ignore = credentials(more)->get(test_deadline()); });
    EXPECT_TRUE(error);
    return error.value_or(Error(ErrorKind::kInternal, ""));
  }

  fs::path home_;
  std::function<std::chrono::system_clock::time_point()> now_ = std::chrono::system_clock::now;
};

TEST_F(AwsCredentialsTest, AreThoseThatBotocoreFinds) {
  write(".aws/credentials",
        "# a comment\n[default]\naws_access_key_id = OF-DEFAULT\naws_secret_access_key=a/b+c=\n\n"
        "[other]\n  aws_access_key_id = OF-OTHER\n  aws_secret_access_key = OTHER\n  aws_session_token = TOKEN\n");
  write(".aws/config",
        "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile other]\nregion=eu-north-1\n"
        "[profile third]\naws_access_key_id = OF-CONFIG\naws_secret_access_key = CONFIG\n"
        "[profile nothing]\nregion = af-south-1\n");
  write("elsewhere", "[default]\naws_access_key_id=OF-ELSEWHERE\naws_secret_access_key=e\n");
  write("token", "Bearer container-token\n");
  const RoleServer server;
  const Variables keys = {{"AWS_ACCESS_KEY_ID", "OF-ENVIRONMENT"}, {"AWS_SECRET_ACCESS_KEY", "x"}};
  auto keys_and_token = keys;
  keys_and_token["AWS_SESSION_TOKEN"] = "t";
  keys_and_token["AWS_DEFAULT_REGION"] = "sa-east-1";
  const Variables cases[] = {
      keys,
      keys_and_token,
      {},
      {{"AWS_PROFILE", "other"}},
      {{"AWS_PROFILE", "third"}},
      {{"AWS_SHARED_CREDENTIALS_FILE", (home_ / "elsewhere").string()}},
      {{"AWS_SHARED_CREDENTIALS_FILE", "~/elsewhere"}},
      {{"AWS_PROFILE", "nothing"},
       {"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url() + "/role?a=b"},
       {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer container-token"}},
      {{"AWS_PROFILE", "nothing"},
       {"AWS_EC2_METADATA_DISABLED", "false"},
       {"AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url() + "/"}},
  };
  std::string lines;
  for (const auto& variables : cases) {
    for (const auto& [name, value] : with(variables)) lines += fmt::format("{}={}\t", name, value);
    lines.back() = '\n';
  }
  write("cases", lines);
  const auto* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(source, nullptr);
  const auto said = run_shell(
      fmt::format("python3 {}/virga/net/aws_credentials_witness.py < {}", source, (home_ / "cases").string()));
  std::string ours;
  for (const auto& variables : cases) {
    const auto found = credentials(variables)->get(test_deadline());
    ours += fmt::format("{}\t{}\t{}\t{}\n", found.access_key_id, found.secret_access_key, found.session_token,
                        aws_region(environment_of(with(variables))).value_or(""));
  }
  // The server numbers the secrets that it gives.
  const auto without_numbers = [](std::string text) {
    for (std::size_t at = 0; (at = text.find("SECRET", at)) != std::string::npos; at += 6) text.erase(at + 6, 1);
    return text;
  };
  EXPECT_EQ(without_numbers(ours), without_numbers(said)) << "is the Debian package python3-boto3 installed?";
}

TEST_F(AwsCredentialsTest, TakeAContainersTokenFromItsFileEachTime) {
  write("token", "Bearer container-token\n");
  const RoleServer server;
  const auto found = credentials({{"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url()},
                                  {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", (home_ / "token").string()}});
  EXPECT_EQ(found->get(test_deadline()).access_key_id, "OF-CONTAINER");
  EXPECT_EQ(found->source(), "the container's endpoint");
}

TEST_F(AwsCredentialsTest, AreFetchedAnewBeforeTheyExpireAndOnlyThen) {
  RoleServer server;
  server.expire_at("2026-11-22T02:00:00.5Z");
  const std::chrono::system_clock::time_point expires = std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + 2h;
  auto now = expires - 1h;
  now_ = [&now] { return now; };
  const auto found =
      credentials({{"AWS_EC2_METADATA_DISABLED", "false"}, {"AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url()}});
  EXPECT_EQ(found->get(test_deadline()).secret_access_key, "SECRET1");
  now = expires - 6min;
  EXPECT_EQ(found->get(test_deadline()).secret_access_key, "SECRET1");
  now = expires - 4min;
  server.fail();
  EXPECT_EQ(found->get(test_deadline()).secret_access_key, "SECRET1") << "still good";
  now = expires;
  const auto error = error_when([&] { std::ignore = found->get(test_deadline()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("500"), HasSubstr("metadata"), Not(HasSubstr("SECRET"))));
}

TEST_F(AwsCredentialsTest, AreFetchedAnewOnceWhenAServiceSaysThatTheyHaveExpired) {
  const RoleServer server;
  const auto found = credentials({{"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url()},
                                  {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer container-token"}});
  const auto first = found->get(test_deadline());
  found->expired(first);
  const auto second = found->get(test_deadline());
  found->expired(first);  // another thread, late
  EXPECT_EQ(found->get(test_deadline()).secret_access_key, second.secret_access_key);
  EXPECT_EQ(server.given(), 2);
}

TEST_F(AwsCredentialsTest, SayWhereTheyWereLookedFor) {
  const auto error = refusal({});
  EXPECT_EQ(error.kind(), ErrorKind::kUnauthorized);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("AWS_ACCESS_KEY_ID"), HasSubstr(home_.string() + "/.aws/credentials"),
                                  HasSubstr("AWS_EC2_METADATA_DISABLED")));
  EXPECT_THAT(error.remedy(), HasSubstr("aws configure"));
}

TEST_F(AwsCredentialsTest, RefuseWhatIsWrongAndNeverRepeatIt) {
  write(".aws/config", "[profile role]\nrole_arn = arn:aws:iam::1:role/r\n[profile half]\naws_access_key_id = ID\n");
  const std::pair<Variables, ErrorKind> cases[] = {
      {{{"AWS_ACCESS_KEY_ID", "SECRET"}}, ErrorKind::kUsage},
      {{{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "SECRET\n"}}, ErrorKind::kUsage},
      {{{"AWS_PROFILE", "nobody"}}, ErrorKind::kUsage},
      {{{"AWS_PROFILE", "half"}}, ErrorKind::kBadData},
      {{{"AWS_PROFILE", "role"}}, ErrorKind::kUnsupported},
      {{{"AWS_WEB_IDENTITY_TOKEN_FILE", "/token"}}, ErrorKind::kUnsupported},
      {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/role"}}, ErrorKind::kUsage},
      {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/role"}}, ErrorKind::kUsage},
      {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://127.0.0.1:1/role"}}, ErrorKind::kUnavailable},
      {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role"}}, ErrorKind::kUnavailable},
      {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role"},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "SECRET\r\nX: y"}},
       ErrorKind::kUsage},
  };
  for (const auto& [variables, kind] : cases) {
    const auto error = refusal(variables);
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), Not(HasSubstr("SECRET\r"))) << error.what();
    EXPECT_THAT(error.what(), Not(HasSubstr("SECRET\n")));
    EXPECT_NE(error.remedy(), "");
  }
  const RoleServer server;
  const auto error = refusal(
      {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url()}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer wrong"}});
  EXPECT_EQ(error.kind(), ErrorKind::kUnauthorized);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("401"), Not(HasSubstr("wrong")), Not(HasSubstr("SECRET"))));
}

TEST_F(AwsCredentialsTest, ContainersEndpointMaySpeakTls) {
  const RoleServer server;
  const TlsFront front(parse_endpoint(server.url()).address);
  Variables variables = {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", front.url() + "/role"},
                         {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer container-token"}};
  EXPECT_EQ(refusal(variables).kind(), ErrorKind::kUnauthorized) << "nobody knows its authority";
  variables["AWS_CA_BUNDLE"] = TestCertificates::shared().authority();
  AwsCredentials credentials({.environment = environment_of(with(variables))});
  EXPECT_EQ(credentials.get(test_deadline()).access_key_id, "OF-CONTAINER");
}

TEST_F(AwsCredentialsTest, EndpointIsTheServicesOwnBeforeThatOfAll) {
  write(
      ".aws/config",
      "[default]\nendpoint_url = http://all:1\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://s3:2\n");
  const auto endpoint = [&](const Variables& more, std::string_view service) {
    return aws_endpoint(environment_of(with(more)), service).value_or("none");
  };
  EXPECT_EQ(endpoint({}, "s3"), "http://s3:2");
  EXPECT_EQ(endpoint({}, "dynamodb"), "http://all:1");
  EXPECT_EQ(endpoint({{"AWS_ENDPOINT_URL", "http://a:3"}}, "s3"), "http://a:3");
  EXPECT_EQ(endpoint({{"AWS_ENDPOINT_URL", "http://a:3"}, {"AWS_ENDPOINT_URL_S3", "http://b:4"}}, "s3"), "http://b:4");
  EXPECT_EQ(endpoint({{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}}, "s3"), "none");
}

TEST(AwsSections, NamesTheLineAndNotItsText) {
  for (const auto* text : {"[default]\n[other\nSECRET", "\nSECRET = x", "[a]\nSECRET", "[a]\n= SECRET", "[]\n"}) {
    const auto error = error_when([&] { std::ignore = parse_aws_sections(text, "file"); });
    ASSERT_TRUE(error) << text;
    EXPECT_EQ(error->kind(), ErrorKind::kBadData);
    EXPECT_THAT(error->what(), AllOf(HasSubstr("file: line "), Not(HasSubstr("SECRET"))));
  }
}

TEST(AwsSections, ReadsWhatPeopleWrite) {
  const auto sections = parse_aws_sections(
      "\xEF\xBB\xBF[ default ]  # mine\r\nKey = value # comment\r\nkey2=a#b;c\ns3 =\n\tregion = x\n\tmore = y = "
      "z\nkey3 =\n",
      "file");
  EXPECT_EQ(sections, (AwsSections{{"default",
                                    {{"key", "value"},
                                     {"key2", "a#b;c"},
                                     {"s3", ""},
                                     {"s3.region", "x"},
                                     {"s3.more", "y = z"},
                                     {"key3", ""}}}}));
}

TEST(Endpoint, IsAUrlOfAServer) {
  const auto endpoint = parse_endpoint("http://[::1]:8080/");
  EXPECT_EQ(endpoint.address.host, "::1");
  EXPECT_EQ(endpoint.host, "[::1]:8080");
  EXPECT_EQ(parse_endpoint("http://a:80").host, "a");
  EXPECT_EQ(parse_endpoint("http://a").address.port, 80);
  for (const auto* bad :
       {"", "a:1", "http://", "http://a b", "http://a/b", "http://u@a", "http://a\r\n", "http://a?b"}) {
    EXPECT_TRUE(error_when([&] { std::ignore = parse_endpoint(bad); })) << bad;
  }
}

}  // namespace
}  // namespace virga
