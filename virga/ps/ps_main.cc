#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/base/units.h"
#include "virga/base/version.h"
#include "virga/ps/protocol.h"
#include "virga/ps/server.h"

namespace virga {
namespace {

constexpr std::string_view kHelpPage = R"(Keeps the messages of training jobs in memory: the workers of a job meet here.

Usage: virga-ps [FLAGS]

A store serves any number of jobs, none of which sees the others. It pushes a message to whoever waits
for it as soon as it is there. Nothing is written to disk: what it holds is gone with it, and a job
resumes from its checkpoint. It prints where it listens and runs until SIGINT or SIGTERM.

Examples:
  virga-ps
      for this machine, at tcp:127.0.0.1:7077
  virga-ps --listen unix:/run/user/1000/virga.sock --memory 4GiB
      for processes of this user only; a Unix socket costs less than TCP
  head -c 32 /dev/urandom | base64 > token && chmod 600 token
  virga-ps --listen tcp:0.0.0.0:7077 --token-file token
      for other machines, within a network that you trust: the token is sent as it is, not encrypted

Flags:
  --listen ADDRESS          unix:PATH or tcp:HOST:PORT; port 0 takes a free one; may be given several
                            times (default tcp:127.0.0.1:7077)
  --token-file FILE         The first line is what clients must know; needed where other machines reach
                            the store
  --memory BYTES            For messages, keys included; what does not fit is refused (default 1GiB)
  --max-connections N       Connections at a time; a worker needs two or three (default 1024)
  --version                 Print the version
  --help                    Print this page
)";

enum class Action : std::uint8_t { kServe, kHelp, kVersion };

struct Command {
  Action action = Action::kServe;
  PsServerOptions options;
};

std::string read_token(const std::string& path) {
  const auto bytes = read_file(path, 64 << 10);
  auto token = std::string(as_text(bytes));
  token.resize(std::min(token.size(), token.find('\n')));
  if (token.ends_with('\r')) token.pop_back();
  if (token.empty()) throw Error(ErrorKind::kUsage, path + ": the first line, which is the token, is empty");
  return token;
}

unsigned parse_count(std::string_view text, std::string_view flag) {
  unsigned count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count == 0) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is not a whole number from 1 on", flag, text));
  }
  return count;
}

std::uint64_t parse_memory(std::string_view text) {
  const auto bytes = parse_bytes(text, "--memory");
  if (const auto limit = memory_limit(); limit != 0 && bytes > limit) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("--memory: {} is more than the {} that there are", format_bytes(bytes), format_bytes(limit)),
        "leave some for the system and for others");
  }
  return bytes;
}

[[noreturn]] void refuse(const std::string& word) {
  const auto near =
      nearest_word(word, {"--listen", "--token-file", "--memory", "--max-connections", "--version", "--help"});
  throw Error(ErrorKind::kUsage, fmt::format("unknown {} '{}'", word.starts_with('-') ? "flag" : "argument", word),
              near.empty() ? "virga-ps --help lists the flags" : fmt::format("did you mean {}?", near));
}

Command parse_command(const std::vector<std::string>& arguments) {
  Command command;
  auto& options = command.options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto equals = arguments[i].starts_with("--") ? arguments[i].find('=') : std::string::npos;
    const auto flag = arguments[i].substr(0, equals);
    const auto value = [&]() -> std::string {
      if (equals != std::string::npos) return arguments[i].substr(equals + 1);
      if (i + 1 == arguments.size()) throw Error(ErrorKind::kUsage, flag + " needs a value", "see virga-ps --help");
      return arguments[++i];
    };
    if (flag == "--help" || flag == "-h") {
      command.action = Action::kHelp;
      return command;
    }
    if (flag == "--version") {
      command.action = Action::kVersion;
    } else if (flag == "--listen") {
      options.listen.push_back(value());
    } else if (flag == "--token-file") {
      options.token = read_token(value());
    } else if (flag == "--memory") {
      options.memory_bytes = parse_memory(value());
    } else if (flag == "--max-connections") {
      options.max_connections = parse_count(value(), flag);
    } else {
      refuse(flag);
    }
  }
  if (options.listen.empty()) options.listen = {"tcp:127.0.0.1:7077"};
  return command;
}

void print(std::FILE* to, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

/// Before there are other threads, which inherit that the signals are left to wait_for_signal().
sigset_t block_signals() {
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

int serve(const PsServerOptions& options) {
  const auto signals = block_signals();
  const PsServer server(options);
  print(stdout, fmt::format("virga-ps listens on {}\n", fmt::join(server.addresses(), ", ")));
  int received = 0;
  ::sigwait(&signals, &received);
  return 0;
}

int run(const std::vector<std::string>& arguments) {
  try {
    const auto command = parse_command(arguments);
    if (command.action == Action::kServe) return serve(command.options);
    print(stdout, command.action == Action::kHelp ? std::string(kHelpPage) : created_by() + "\n");
    return 0;
  } catch (const Error& error) {
    auto text = fmt::format("virga-ps: error: {}\n", error.what());
    if (!error.remedy().empty()) text += fmt::format("  remedy: {}\n", error.remedy());
    print(stderr, text);
    return exit_code(error.kind());
  }
}

}  // namespace
}  // namespace virga

int main(int argc, char** argv) {
  virga::keep_freed_memory();
  return virga::run({argv + 1, argv + argc});
}
