#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/net/address.h"
#include "virga/net/http.h"

namespace virga {

/// An HTTP/1.1 client of one server. Connections are kept and used again; as many requests may be under way at once as
/// are sent. Over TLS where the server's address says so. Works on the thread that runs `context`; send() may be called
/// from any.
class HttpClient {
 public:
  struct Options {
    HttpLimits limits = {};
    std::size_t most_idle = 64;  ///< connections kept open for the next request
    std::chrono::milliseconds connect_time{10'000};
  };
  struct Outcome {
    std::optional<HttpResponse> response;
    /// If there is none: kUnavailable, kDeadlineExceeded, kBadData, kTooLarge; of TLS: kUnauthorized, kUnsupported.
    std::optional<Error> error;
    bool sent = false;  ///< then: may the server have got the request?
  };
  using Done = std::function<void(Outcome)>;
  /// What a request may have besides; the bytes and what `on_body` refers to stay until `done` is called.
  struct Extras {
    std::vector<ByteView> body;  ///< sent in place of the request's own, which is empty then
    /// Takes the body of the answer as it arrives, in place of HttpResponse::body, which stays empty; `head` is the
    /// answer without it. Called on the context's thread; an Error that it throws ends the request.
    std::function<void(const HttpResponse& head, std::string_view piece)> on_body;
  };
  class Pending;
  /// A request that may be under way.
  using Ticket = std::weak_ptr<Pending>;

  /// Throws what TlsClient does.
  HttpClient(boost::asio::io_context& context, Address server, Options options);
  /// Requests under way end with kUnavailable: `done` is called from here. To be called on the thread that runs the
  /// context, or when none does; the context is still there.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Sends `request` (Host and Content-Length are added unless there) and calls `done` once, on the context's thread
  /// (never from within send()); it may send again, may end the client, must not throw. A request that cannot be sent
  /// as it is ends with kBadData. Where a kept connection turns out to be closed before a byte of an answer, a request
  /// that `may_repeat`, or of which nothing was sent, is sent once more on a new one.
  Ticket send(HttpRequest request, Deadline deadline, bool may_repeat, Done done);
  Ticket send(HttpRequest request, Extras extras, Deadline deadline, bool may_repeat, Done done);
  /// Ends a request that is under way with kInterrupted: `done` is called from here. On the context's thread.
  static void cancel(const Ticket& ticket);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// One request on a connection of its own, waiting for the answer. Throws Error as in Outcome. The host of `server` had
/// better be a number: a name is looked up by the system, which may take longer than `deadline`.
[[nodiscard]] HttpResponse http_request(const Address& server, const HttpRequest& request, Deadline deadline,
                                        const HttpLimits& limits = {});

}  // namespace virga
