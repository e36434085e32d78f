#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/channel/redis_client.h"
#include "virga/net/tls_testing.h"

namespace virga {

/// A Redis server of its own, that can be killed and started anew at the same address. Answers from construction on; it
/// and its folder are gone at the end.
class RedisServer {
 public:
  enum class Listens : std::uint8_t { kUnix, kTcp, kTls };

  /// An empty `password`: everybody may use it. `flags`: as redis-server takes them, "--maxmemory", "10mb". kTls: TCP
  /// with the certificate "good" of TestCertificates.
  explicit RedisServer(Listens listens = Listens::kUnix, std::string password = "sesame",
                       std::vector<std::string> flags = {})
      : listens_(listens), password_(std::move(password)), flags_(std::move(flags)) {
    auto name = (std::filesystem::temp_directory_path() / "virga-redis-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    folder_ = name;
    start();
  }
  ~RedisServer() {
    kill();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// Answers when it returns; it holds nothing.
  void start() {
    constexpr int kTries = 20;  // somebody else may take the port in between
    for (int i = 0; i < kTries && pid_ < 0; ++i) {
      if (listens_ != Listens::kUnix && port_ == 0) port_ = free_port();
      launch();
      if (!answers() && pid_ < 0) port_ = 0;
    }
    check(pid_ > 0, "redis-server starts: the tests need the Debian package redis-server");
  }
  /// As by kill -9; what it held is gone.
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  /// It stops doing anything, but stays.
  void stop() const { ::kill(pid_, SIGSTOP); }
  void go_on() const { ::kill(pid_, SIGCONT); }

  [[nodiscard]] bool runs() const { return pid_ > 0; }
  [[nodiscard]] pid_t process() const { return pid_; }
  [[nodiscard]] RedisPlace place() const {
    if (listens_ == Listens::kUnix) return parse_redis_uri("redis:unix:" + socket_path());
    if (listens_ == Listens::kTls) {
      return parse_redis_uri("rediss://127.0.0.1:" + std::to_string(port_) +
                             "?ca=" + TestCertificates::shared().authority());
    }
    return parse_redis_uri("redis://127.0.0.1:" + std::to_string(port_));
  }
  [[nodiscard]] std::string uri() const { return to_string(place()); }
  [[nodiscard]] const std::string& password() const { return password_; }
  [[nodiscard]] std::shared_ptr<RedisClient> client() const {
    return std::make_shared<RedisClient>(place(), password_);
  }
  /// What it answers to one command.
  RespValue ask(std::initializer_list<std::string_view> command) const {
    RespRequest request;
    request.command(command);
    return client()->ask(request, "a test", {Deadline::in(std::chrono::seconds(20))});
  }

 private:
  [[nodiscard]] std::string socket_path() const { return folder_ / "socket"; }

  static std::uint16_t free_port() {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(name);
    check(::bind(socket, reinterpret_cast<sockaddr*>(&name), size) == 0, "a port is free");
    check(::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) == 0, "a socket has a name");
    ::close(socket);
    return ntohs(name.sin_port);
  }

  void launch() {
    std::vector<std::string> arguments{"redis-server", "--save", "",          "--appendonly", "no",           "--dir",
                                       folder_,        "--bind", "127.0.0.1", "--logfile",    folder_ / "log"};
    const auto add = [&](const std::string& flag, const std::string& value) {
      arguments.push_back(flag);
      arguments.push_back(value);
    };
    if (listens_ == Listens::kTls) {
      const auto& certificates = TestCertificates::shared();
      add("--port", "0");
      add("--tls-port", std::to_string(port_));
      add("--tls-cert-file", certificates.file("good.pem"));
      add("--tls-key-file", certificates.file("good.key"));
      add("--tls-ca-cert-file", certificates.authority());
      add("--tls-auth-clients", "no");
    } else {
      add("--port", std::to_string(port_));
    }
    if (listens_ == Listens::kUnix) add("--unixsocket", socket_path());
    if (!password_.empty()) add("--requirepass", password_);
    arguments.insert(arguments.end(), flags_.begin(), flags_.end());
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }

  /// Waits for it; forgets it if it has ended.
  bool answers() {
    RedisClient client(place(), password_);
    RespRequest ping;
    ping.command({"PING"});
    for (;;) {
      if (::waitpid(pid_, nullptr, WNOHANG) != 0) {
        pid_ = -1;
        return false;
      }
      try {
        static_cast<void>(client.ask(ping, "a greeting", {Deadline::in(std::chrono::seconds(20))}));
        return true;
      } catch (const Error&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
  }

  const Listens listens_;
  const std::string password_;
  const std::vector<std::string> flags_;
  std::filesystem::path folder_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace virga
