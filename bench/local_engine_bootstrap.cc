// A function for bench/local_engine.py that is next to nothing itself: one process, one connection, no library.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

std::int64_t now_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int connect_to_engine() {
  const char* given = std::getenv("AWS_LAMBDA_RUNTIME_API");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  const std::string address = given == nullptr ? "" : given;
  const auto colon = address.find(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
  ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) std::_Exit(1);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

struct Answer {
  std::string head, body;
};

Answer call(int socket, const std::string& request) {
  if (::write(socket, request.data(), request.size()) != static_cast<ssize_t>(request.size())) std::_Exit(2);
  std::string text;
  std::size_t end = std::string::npos;
  std::size_t length = 0;
  while (end == std::string::npos || text.size() < end + 4 + length) {
    char buffer[4096];
    const auto count = ::read(socket, buffer, sizeof buffer);
    if (count <= 0) std::_Exit(0);
    text.append(buffer, static_cast<std::size_t>(count));
    if (end != std::string::npos) continue;
    end = text.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    const char* field = ::strcasestr(text.c_str(), "\r\ncontent-length:");
    if (field != nullptr) length = std::strtoul(field + 17, nullptr, 10);
  }
  return {text.substr(0, end + 2), text.substr(end + 4)};
}

std::string header(const Answer& answer, const std::string& name) {
  const char* field = ::strcasestr(answer.head.c_str(), ("\r\n" + name + ": ").c_str());
  if (field == nullptr) return "";
  field += name.size() + 4;
  return {field, std::strcspn(field, "\r")};
}

/// "NAME":NUMBER
std::int64_t number(const std::string& event, const std::string& name) {
  const auto at = event.find("\"" + name + "\":");
  return at == std::string::npos ? 0 : std::strtoll(event.c_str() + at + name.size() + 3, nullptr, 10);
}

void wait_ms(std::int64_t time) {
  const timespec pause{.tv_sec = time / 1000, .tv_nsec = time % 1000 * 1'000'000};
  ::nanosleep(&pause, nullptr);
}

void burn_ms(std::int64_t time) {
  for (const auto end = now_ns(CLOCK_MONOTONIC) + time * 1'000'000; now_ns(CLOCK_MONOTONIC) < end;) {
  }
}

void allocate_without_end() {
  for (std::uint64_t megabytes = 1;; ++megabytes) {
    auto* piece = static_cast<volatile char*>(std::malloc(1 << 20));
    for (int i = 0; i < 1 << 20; i += 4096) piece[i] = 1;
    char line[64];
    const int size = std::snprintf(line, sizeof line, "holds %lu\n", static_cast<unsigned long>(megabytes));
    if (::write(1, line, static_cast<std::size_t>(size)) < 0) std::_Exit(3);
  }
}

}  // namespace

int main() {
  const int socket = connect_to_engine();
  const std::string base = "/2018-06-01/runtime/invocation/";
  for (;;) {
    const auto event = call(socket, "GET " + base + "next HTTP/1.1\r\nHost: engine\r\n\r\n");
    const auto delivered = now_ns(CLOCK_REALTIME);
    const auto& text = event.body;
    if (const auto time = number(text, "sleep_ms"); time > 0) wait_ms(time);
    if (const auto time = number(text, "burn_ms"); time > 0) burn_ms(time);
    if (number(text, "eat") != 0) allocate_without_end();
    const auto body = "{\"delivered_ns\":" + std::to_string(delivered) + "}";
    (void)call(socket, "POST " + base + header(event, "Lambda-Runtime-Aws-Request-Id") +
                           "/response HTTP/1.1\r\nHost: engine\r\nContent-Length: " + std::to_string(body.size()) +
                           "\r\n\r\n" + body);
  }
}
