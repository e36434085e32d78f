#include "virga/function/platform_testing.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

std::size_t content_length(const std::string& headers) {
  const auto at = headers.find("Content-Length: ");
  std::size_t length = 0;
  if (at != std::string::npos) std::from_chars(headers.data() + at + 16, headers.data() + headers.size(), length);
  return length;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ScriptedPlatform::ScriptedPlatform(std::vector<Reply> script)
    : script_(std::move(script)), listener_(parse_address("tcp:127.0.0.1:0")), thread_([this] { run(); }) {}

ScriptedPlatform::~ScriptedPlatform() {
  stop_.notify();
  thread_.join();
}

std::string ScriptedPlatform::address() const { return to_string(listener_.address()).substr(4); }

std::vector<ScriptedPlatform::Request> ScriptedPlatform::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

/// False: it is to stop, or nothing has come for a minute.
bool ScriptedPlatform::wait_for(int socket, short events) {
  return wait_ready(socket, events, &stop_, Deadline::in(60s)) == Woken::kReady;
}

void ScriptedPlatform::run() {
  for (const auto& reply : script_) {
    Request request;
    while (!read_request(request)) {
      socket_ = {};
      if (!wait_for(listener_.descriptor(), POLLIN)) return;
      socket_ = listener_.accept();
      ++connections_;
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    write(reply.bytes);
    if (reply.closes) socket_ = {};
  }
  // Silent, but there, until somebody wants no more of it.
  static_cast<void>(wait_for(-1, 0));
}

/// False: there is no connection, or it is over.
bool ScriptedPlatform::read_request(Request& request) {
  if (!socket_) return false;
  std::string text;
  for (;;) {
    const auto end = text.find("\r\n\r\n");
    if (end != std::string::npos) {
      const auto line = text.find("\r\n");
      request = {.line = text.substr(0, line - std::string_view(" HTTP/1.1").size()),
                 .headers = text.substr(line + 2, end - line),
                 .body = text.substr(end + 4),
                 .connection = connections_};
      if (request.body.size() >= content_length(request.headers)) return true;
    }
    if (!wait_for(socket_.get(), POLLIN)) return false;
    std::array<char, 4096> buffer;
    const auto count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (count <= 0) return false;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

void ScriptedPlatform::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    if (sent < 0 && errno == EAGAIN && wait_for(socket_.get(), POLLOUT)) continue;
    if (sent < 0 && errno != EINTR) return;
  }
}

ScriptedPlatform::Reply reply_of(int status, const std::string& body, const std::string& headers) {
  return {.bytes = fmt::format("HTTP/1.1 {} Some Words\r\n{}Content-Length: {}\r\n\r\n{}", status, headers, body.size(),
                               body)};
}

ScriptedPlatform::Reply event_of(const std::string& id, const std::string& body, std::chrono::milliseconds time) {
  const auto end = std::chrono::system_clock::now().time_since_epoch() + time;
  return reply_of(200, body,
                  fmt::format("Lambda-Runtime-Aws-Request-Id: {}\r\nLambda-Runtime-Deadline-Ms: {}\r\n", id,
                              std::chrono::duration_cast<std::chrono::milliseconds>(end).count()));
}

std::filesystem::path virga_function_program() {
  const char* folder = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return std::filesystem::path(folder == nullptr ? "." : folder) / "virga-function";
}

FunctionEnd run_function(const std::vector<std::string>& arguments, const std::vector<std::string>& variables,
                         const std::filesystem::path& program) {
  const FunctionFolder folder;
  const auto out = (folder.path() / "out").string();
  const auto err = (folder.path() / "err").string();
  std::vector<std::string> command = {program.empty() ? virga_function_program().string() : program.string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto environment = variables;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_CREAT | O_WRONLY, 0600);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_CREAT | O_WRONLY, 0600);
  pid_t process = -1;
  const int error = ::posix_spawn(&process, command[0].c_str(), &actions, nullptr, pointers(command).data(),
                                  pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw system_error("cannot start " + command[0], error);
  int status = 0;
  struct rusage usage {};
  while (::wait4(process, &status, 0, &usage) < 0 && errno == EINTR) continue;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return {.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
          .cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime),
          .out = std::string(as_text(read_file(out, 1 << 20))),
          .err = std::string(as_text(read_file(err, 1 << 20)))};
}

FunctionFolder::FunctionFolder() {
  auto name = testing::TempDir() + "virga_function_test.XXXXXX";
  check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
  path_ = name;
}

FunctionFolder::~FunctionFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace virga
