#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/error.h"
#include "virga/net/http.h"

namespace virga {

// The messages of HTTP/1.0 and 1.1 (RFC 9112) as they arrive in pieces; no input or output of their own, and not for
// several threads at once.

/// Why a request is not served.
struct HttpRefusal {
  int status = 400;
  std::string why;
};

/// Reads one request.
class HttpRequestReader {
 public:
  explicit HttpRequestReader(const HttpLimits& limits);
  ~HttpRequestReader();
  HttpRequestReader(const HttpRequestReader&) = delete;
  HttpRequestReader& operator=(const HttpRequestReader&) = delete;

  /// Takes the next bytes and says how many of them belong to this request: all, unless it is done or refused.
  std::size_t take(std::string_view bytes);
  [[nodiscard]] bool is_done() const noexcept;
  [[nodiscard]] const std::optional<HttpRefusal>& refusal() const noexcept;
  /// Does the client wait for "100 Continue" before it sends the body?
  [[nodiscard]] bool expects_continue() const noexcept;

  // Of a request that is done.
  [[nodiscard]] bool keep_alive() const noexcept;
  [[nodiscard]] bool is_http_1_0() const noexcept;
  [[nodiscard]] HttpRequest release();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads one response; interim ones (100 Continue) are passed over.
class HttpResponseReader {
 public:
  /// `to_head`: the request was HEAD, so that no body follows whatever the header says.
  /// `on_body`, if it is there, takes the pieces of the body in place of HttpResponse::body, and may throw.
  using OnBody = std::function<void(const HttpResponse& head, std::string_view piece)>;
  HttpResponseReader(const HttpLimits& limits, bool to_head, OnBody on_body = {});
  ~HttpResponseReader();
  HttpResponseReader(const HttpResponseReader&) = delete;
  HttpResponseReader& operator=(const HttpResponseReader&) = delete;

  /// As of HttpRequestReader. Throws Error: kBadData, kTooLarge; afterwards it is of no more use.
  std::size_t take(std::string_view bytes);
  /// The server has closed the connection, which ends some responses: is_done() says whether this one.
  void end();
  [[nodiscard]] bool is_done() const noexcept;

  // Of a response that is done.
  [[nodiscard]] bool keep_alive() const noexcept;
  [[nodiscard]] HttpResponse release();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace virga
