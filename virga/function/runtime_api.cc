#include "virga/function/runtime_api.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kVersionPath = "/2018-06-01/runtime";
constexpr auto kPlatformTime = 30s;  // for the platform to take a request, and to answer it
constexpr auto kRemedy = "the platform ends functions that leave, and starts others; see its log";
constexpr std::size_t kReadBytes = std::size_t{16} << 10;
constexpr std::size_t kMostIdBytes = 200;

std::string_view excerpt(std::string_view text) { return text.substr(0, 300); }

/// The first of June 2018: a deadline before this version of the protocol says nothing. (@vercel/fun always sends
/// 5000.)
constexpr std::uint64_t kProtocolUnixMs = 1'527'811'200'000;

/// Ids stand in paths.
bool is_request_id(std::string_view id) noexcept {
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' ||
           c == '.';
  };
  return !id.empty() && id.size() <= kMostIdBytes && id != "." && id != ".." && std::ranges::all_of(id, is_plain);
}

}  // namespace

std::string encode_function_error(const FunctionError& error) {
  const nlohmann::json body = {
      {"errorMessage", error.message}, {"errorType", error.type}, {"stackTrace", nlohmann::json::array()}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Deadline deadline_of(std::uint64_t unix_ms, std::chrono::system_clock::time_point now) {
  constexpr auto kMost = std::chrono::duration_cast<std::chrono::milliseconds>(24h);
  const auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const auto since = static_cast<std::uint64_t>(std::max<std::int64_t>(now_ms, 0));
  const auto left = std::min(unix_ms - std::min(unix_ms, since), static_cast<std::uint64_t>(kMost.count()));
  return Deadline::in(std::chrono::milliseconds(left));
}

RuntimeApi::RuntimeApi(std::string_view host_and_port) {
  try {
    address_ = parse_address(fmt::format("tcp:{}", host_and_port));
  } catch (const Error& error) {
    throw Error(ErrorKind::kUsage, fmt::format("AWS_LAMBDA_RUNTIME_API: {}", error.what()),
                "it is HOST:PORT, for example 127.0.0.1:9001, and set by the platform");
  }
}

std::optional<Invocation> RuntimeApi::next() {
  const Request request{.method = "GET", .path = "/invocation/next", .waits = true};
  auto reply = ask(request);
  if (reply.status == 403 || reply.status == 410) return std::nullopt;
  if (reply.status != 200) fail_platform(request, reply);
  const auto* id = reply.header("lambda-runtime-aws-request-id");
  if (id == nullptr || !is_request_id(*id)) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: the invocation has no id that can be used", name_of(request)),
                kRemedy);
  }
  Invocation invocation{.request_id = *id, .event = std::move(reply.body), .event_bytes = reply.body_bytes};
  if (const auto* text = reply.header("lambda-runtime-deadline-ms")) {
    std::uint64_t unix_ms = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), unix_ms);
    if (error != std::errc() || end != text->data() + text->size()) {
      throw Error(ErrorKind::kBadData,
                  fmt::format("{}: the deadline \"{}\" is no number of milliseconds", name_of(request), excerpt(*text)),
                  kRemedy);
    }
    if (unix_ms >= kProtocolUnixMs) invocation.deadline = deadline_of(unix_ms, std::chrono::system_clock::now());
  }
  return invocation;
}

bool RuntimeApi::respond(const std::string& request_id, std::string_view answer) {
  return post(fmt::format("/invocation/{}/response", request_id), answer, "");
}

bool RuntimeApi::fail(const std::string& request_id, const FunctionError& error) {
  return post(fmt::format("/invocation/{}/error", request_id), encode_function_error(error), error.type);
}

void RuntimeApi::fail_init(const FunctionError& error) {
  // Whether the platform takes note or not, this function ends.
  static_cast<void>(post("/init/error", encode_function_error(error), error.type));
}

bool RuntimeApi::post(const std::string& path, std::string_view body, const std::string& error_type) {
  const Request request{.method = "POST", .path = path, .body = body, .error_type = error_type};
  const auto reply = ask(request);
  if (reply.status >= 200 && reply.status < 300) return true;
  if (reply.status >= 400 && reply.status < 500) return false;
  fail_platform(request, reply);
}

HttpReply RuntimeApi::ask(const Request& request) {
  auto bytes = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\n", request.method, kVersionPath, request.path,
                           to_string(address_).substr(4));
  if (request.method == "POST") {
    bytes += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", request.body.size());
  }
  if (!request.error_type.empty()) {
    bytes += fmt::format("Lambda-Runtime-Function-Error-Type: {}\r\n", request.error_type);
  }
  bytes += "\r\n";
  bytes += request.body;
  // A connection that was kept may have been closed by the platform at any time, also while the request was on its way.
  if (socket_) {
    if (auto reply = try_ask(request, bytes)) return *std::move(reply);
  }
  connect();
  if (auto reply = try_ask(request, bytes)) return *std::move(reply);
  throw Error(ErrorKind::kUnavailable,
              fmt::format("{}: the platform closed the connection without an answer", name_of(request)), kRemedy);
}

void RuntimeApi::connect() {
  socket_ = {};
  socket_ = connect_to(address_, nullptr, Deadline::in(kPlatformTime));
  if (!socket_) {
    throw Error(ErrorKind::kDeadlineExceeded,
                fmt::format("AWS_LAMBDA_RUNTIME_API: {}: no connection within {} s", to_string(address_),
                            std::chrono::seconds(kPlatformTime).count()),
                kRemedy);
  }
}

/// Nothing: the connection was closed before an answer began. What closes it in the middle of one is an error.
std::optional<HttpReply> RuntimeApi::try_ask(const Request& request, std::string_view bytes) {
  auto socket = std::exchange(socket_, {});  // back again if it can be used again
  auto deadline = Deadline::in(kPlatformTime);
  const auto wait_for = [&](short events) {
    if (wait_ready(socket.get(), events, nullptr, deadline) == Woken::kReady) return;
    throw Error(ErrorKind::kDeadlineExceeded,
                fmt::format("{}: the platform is silent for {} s", name_of(request),
                            std::chrono::seconds(kPlatformTime).count()),
                kRemedy);
  };
  while (!bytes.empty()) {
    const auto sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    if (sent < 0 && errno == EAGAIN) wait_for(POLLOUT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) break;  // there may be an answer all the same
  }
  if (request.waits) {
    while (wait_ready(socket.get(), POLLIN, nullptr, Deadline::in(1h)) != Woken::kReady) continue;
  }
  deadline = Deadline::in(kPlatformTime);
  HttpReplyReader reader(kMostEventBytes);
  std::array<char, kReadBytes> buffer;
  for (bool heard = false; !reader.is_complete(); heard = true) {
    wait_for(POLLIN);
    const auto count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count <= 0 && !heard) return std::nullopt;
    try {
      if (count <= 0) {
        reader.end();
        socket = {};
        break;
      }
      const std::string_view part(buffer.data(), static_cast<std::size_t>(count));
      if (reader.take(part) < part.size()) socket = {};  // nobody asked for more than a reply
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("{}: {}", name_of(request), error.what()), kRemedy);
    }
  }
  if (reader.reply().keeps_connection) socket_ = std::move(socket);
  return reader.reply();
}

void RuntimeApi::fail_platform(const Request& request, const HttpReply& reply) const {
  throw Error(
      reply.status >= 500 ? ErrorKind::kUnavailable : ErrorKind::kBadData,
      fmt::format("{}: the platform answers with status {}: {}", name_of(request), reply.status, excerpt(reply.body)),
      kRemedy);
}

std::string RuntimeApi::name_of(const Request& request) const {
  return fmt::format("{} {}{} at {}", request.method, kVersionPath, request.path, to_string(address_));
}

}  // namespace virga
