#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/function/http_reply.h"
#include "virga/net/address.h"
#include "virga/net/descriptor.h"

namespace virga {

/// An event that the platform hands to the function.
struct Invocation {
  std::string request_id;
  std::optional<Deadline> deadline;  ///< then the platform ends the function; none if it did not say
  std::string event;                 ///< its beginning, if it exceeds kMostEventBytes
  std::uint64_t event_bytes = 0;     ///< all of it
};

/// What is kept of an event.
constexpr std::size_t kMostEventBytes = std::size_t{64} << 10;

/// Why an invocation, or the start of the function, failed.
struct FunctionError {
  std::string type;  ///< "Virga.BadPayload"
  std::string message;
  bool operator==(const FunctionError&) const = default;
};
/// The body that says so: {"errorMessage":...,"errorType":...,"stackTrace":[]}. Bytes that are no UTF-8 are replaced.
[[nodiscard]] std::string encode_function_error(const FunctionError& error);

/// The monotonic moment of `unix_ms` (milliseconds of wall-clock time since 1970), read off while it is `now`: not
/// before now, and at most a day later.
[[nodiscard]] Deadline deadline_of(std::uint64_t unix_ms, std::chrono::system_clock::time_point now);

/// A function's side of the AWS Lambda Runtime API, version 2018-06-01: fetches one invocation after the other and
/// answers each. One thread; blocking. Requests share a connection; one that the platform has closed meanwhile is
/// replaced, once a request.
///
/// All but the constructor throw Error, naming the platform and the request: kUnavailable (cannot connect; the
/// connection was lost; the platform has failed, status 5xx), kDeadlineExceeded (it does not answer within 30 s),
/// kBadData (it answers what the protocol does not know, or refuses the request as malformed).
class RuntimeApi {
 public:
  /// `host_and_port` is the value of AWS_LAMBDA_RUNTIME_API, as in 127.0.0.1:9001. Throws Error(kUsage). Connects with
  /// the first request.
  explicit RuntimeApi(std::string_view host_and_port);

  /// The next invocation, which may be a long time in coming: this wait has no end, but a platform whose machine is
  /// gone is found out by TCP. Nothing: the platform ends this function (403, 410).
  [[nodiscard]] std::optional<Invocation> next();

  /// Answers an invocation. False: the platform does not wait for this answer any longer (4xx: its time was over, or it
  /// has been answered), or takes none that is so large.
  [[nodiscard]] bool respond(const std::string& request_id, std::string_view answer);
  [[nodiscard]] bool fail(const std::string& request_id, const FunctionError& error);
  /// The function cannot start.
  void fail_init(const FunctionError& error);

 private:
  struct Request {
    std::string method;
    std::string path;
    std::string_view body = {};
    std::string error_type = {};
    bool waits = false;  // as long as it takes for the answer to begin
  };

  [[nodiscard]] HttpReply ask(const Request& request);
  [[nodiscard]] std::optional<HttpReply> try_ask(const Request& request, std::string_view bytes);
  [[nodiscard]] bool post(const std::string& path, std::string_view body, const std::string& error_type);
  void connect();
  [[noreturn]] void fail_platform(const Request& request, const HttpReply& reply) const;
  [[nodiscard]] std::string name_of(const Request& request) const;

  Address address_;
  Descriptor socket_;
};

}  // namespace virga
