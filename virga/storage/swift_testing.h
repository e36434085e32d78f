#pragma once

// The S3 of the tests: OpenStack Swift with its s3api, which verifies signatures. It runs on loopback, in a folder of
// its own, for as long as the test program.

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "virga/base/environment.h"
#include "virga/base/error.h"
#include "virga/net/http_client.h"
#include "virga/net/sigv4.h"
#include "virga/net/socket.h"
#include "virga/net/tls_testing.h"
#include "virga/storage/s3_client.h"

namespace virga {

class Swift {
 public:
  /// Is ready when it returns. Throws what is missing or wrong.
  Swift() {
    for (const auto& [program, package] :
         {std::pair("/usr/bin/swift-proxy-server", "swift-proxy"),
          std::pair("/usr/bin/swift-account-server", "swift-account"),
          std::pair("/usr/bin/swift-container-server", "swift-container"),
          std::pair("/usr/bin/swift-object-server", "swift-object"), std::pair("/usr/bin/memcached", "memcached")}) {
      if (::access(program, X_OK) == 0) continue;
      throw Error(ErrorKind::kNotFound, fmt::format("{} is missing", program),
                  fmt::format("install the Debian package {}", package));
    }
    auto name = testing::TempDir() + "virga_swift.XXXXXX";
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    folder_ = name;
    try {
      choose_ports();
      launch();
      for (const auto* server : {"account", "container", "object", "proxy"}) start(server);
      for (const auto* server : {"account", "container", "object"}) wait_for_port(server);
      wait_until_ready();
    } catch (...) {
      clean_up();
      throw;
    }
  }
  ~Swift() { clean_up(); }
  Swift(const Swift&) = delete;
  Swift& operator=(const Swift&) = delete;

  /// The one of this test program, started by who asks first.
  static Swift& shared() {
    static Swift swift;
    return swift;
  }

  [[nodiscard]] Address address() const {
    return {.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1", .port = ports_.at("proxy")};
  }
  [[nodiscard]] std::string host() const { return fmt::format("127.0.0.1:{}", ports_.at("proxy")); }
  [[nodiscard]] std::string endpoint() const { return "http://" + host(); }
  [[nodiscard]] static Credentials credentials() {
    return {.access_key_id = "test:tester", .secret_access_key = "testing", .session_token = {}};
  }
  /// For a program that is to use it.
  [[nodiscard]] std::map<std::string, std::string> variables() const {
    return {{"AWS_ACCESS_KEY_ID", credentials().access_key_id},
            {"AWS_SECRET_ACCESS_KEY", credentials().secret_access_key},
            {"AWS_ENDPOINT_URL_S3", endpoint()},
            {"AWS_REGION", "us-east-1"},
            {"AWS_EC2_METADATA_DISABLED", "true"}};
  }
  [[nodiscard]] Environment environment() const { return environment_of(variables()); }
  [[nodiscard]] static Environment environment_of(std::map<std::string, std::string> variables) {
    return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
      const auto at = variables.find(name);
      return at == variables.end() ? std::nullopt : std::optional(at->second);
    };
  }

  /// An empty bucket that nobody else has.
  std::string make_bucket() {
    auto name = fmt::format("bucket-{}", ++buckets_);
    HttpRequest request{
        .method = "PUT", .target = "/" + name, .headers = {{.name = "Host", .value = host()}}, .body = {}};
    sign(request, credentials(), {.region = "us-east-1", .service = "s3"}, std::chrono::system_clock::now(),
         SigV4Path::kAsSent);
    const auto response = http_request(address(), request, Deadline::in(std::chrono::seconds(20)));
    if (response.status != 200) {
      throw Error(ErrorKind::kUnavailable, fmt::format("swift makes no bucket: {} {}", response.status, response.body));
    }
    return name;
  }

  /// Of "BUCKET/PREFIX"; with a query, another endpoint too.
  [[nodiscard]] std::shared_ptr<S3Client> client(const std::string& path) const {
    return std::make_shared<S3Client>(S3Client::Options{
        .place = parse_s3_uri("s3://" + path, environment()),
        .credentials = std::make_shared<AwsCredentials>(AwsCredentials::Options{.environment = environment()}),
        .first_pause = std::chrono::milliseconds(5)});
  }

  /// A query by which it is reached over TLS, through a front that ends with the test program.
  static std::string over_tls() {
    static const TlsFront front(shared().address());
    return "?endpoint=" + front.url() + "&ca=" + TestCertificates::shared().authority();
  }

  /// Nobody answers any more, as by kill -9; what it holds stays.
  void kill() { stop("proxy"); }
  void restart() {
    start("proxy");
    wait_until_ready();
  }
  /// It takes connections, and answers nothing.
  void pause() const { ::kill(servers_.at("proxy"), SIGSTOP); }
  void resume() const { ::kill(servers_.at("proxy"), SIGCONT); }
  /// The front stays, and answers 503.
  void kill_object_server() { stop("object"); }
  void restart_object_server() {
    start("object");
    wait_for_port("object");
  }

 private:
  void choose_ports() {
    std::vector<std::unique_ptr<Listener>> taken;  // each for as long as the others are looked for
    for (const auto* server : {"proxy", "account", "container", "object", "memcached"}) {
      taken.push_back(
          std::make_unique<Listener>(Address{.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1"}));
      ports_[server] = taken.back()->address().port;
    }
  }

  void launch() {
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody writes to it
    check(source != nullptr, "VIRGA_SOURCE_DIR is set");
    std::vector<std::string> arguments = {"/usr/bin/python3", fmt::format("{}/virga/storage/swift_testing.py", source),
                                          folder_.string()};
    for (const auto* server : {"proxy", "account", "container", "object", "memcached"}) {
      arguments.push_back(std::to_string(ports_.at(server)));
    }
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::array<int, 2> ends{};
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "a pipe can be made");
    link_ = Descriptor(ends[0]);
    const Descriptor theirs(ends[1]);
    const auto log = (folder_ / "launcher.out").string();
    launcher_ = ::fork();
    check(launcher_ >= 0, "a process can be made");
    if (launcher_ == 0) {
      ::dup2(theirs.get(), STDIN_FILENO);
      ::dup2(theirs.get(), STDOUT_FILENO);
      ::dup2(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }

  std::string command(const std::string& line) {
    check(::send(link_.get(), (line + "\n").data(), line.size() + 1, MSG_NOSIGNAL) >= 0, "swift takes commands");
    std::string answer;
    for (char c = 0; ::recv(link_.get(), &c, 1, 0) == 1 && c != '\n';) answer += c;
    return answer;
  }
  void start(const std::string& server) {
    if (servers_.contains(server)) return;
    const auto answer = command("start " + server);
    if (!answer.starts_with("started ")) throw failure("launcher", "starts no " + server);
    servers_[server] = static_cast<pid_t>(std::stol(answer.substr(answer.rfind(' '))));
  }
  void stop(const std::string& server) {
    if (servers_.erase(server) == 1) (void)command("kill " + server);
  }

  void wait_for_port(const std::string& server) const {
    wait_for(server, [&] {
      (void)connect_to({.kind = Address::Kind::kTcp, .path = {}, .host = "127.0.0.1", .port = ports_.at(server)},
                       nullptr, Deadline::in(std::chrono::seconds(5)));
      return true;
    });
  }
  void wait_until_ready() const {
    wait_for("proxy", [&] {
      return http_request(address(), {.target = "/healthcheck"}, Deadline::in(std::chrono::seconds(5))).status == 200;
    });
  }
  template <typename Condition>
  void wait_for(const std::string& server, const Condition& condition) const {
    const auto deadline = Deadline::in(std::chrono::seconds(60));
    while (!deadline.passed()) {
      try {
        if (condition()) return;
      } catch (const Error&) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw failure(server, "does not answer");
  }

  [[nodiscard]] Error failure(const std::string& who, const std::string& why) const {
    const std::ifstream log(folder_ / (who + ".out"));
    std::ostringstream text;
    text << log.rdbuf();
    return {ErrorKind::kUnavailable, fmt::format("swift: {} {}: {}", who, why, text.str())};
  }

  void clean_up() {
    if (servers_.contains("proxy")) resume();
    link_ = Descriptor();  // at the end of its input the launcher kills its children and ends
    if (launcher_ > 0) ::waitpid(launcher_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path folder_;
  std::map<std::string, std::uint16_t> ports_;
  std::map<std::string, pid_t> servers_;
  Descriptor link_;
  pid_t launcher_ = -1;
  int buckets_ = 0;
};

}  // namespace virga
