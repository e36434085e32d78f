#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "virga/net/http.h"

namespace virga {

// The first bytes of messages, up to the empty line; the body follows them on the wire.

/// "Not Found"; "Unknown" for a status without a name.
[[nodiscard]] std::string_view reason_of(int status) noexcept;

struct HttpResponseForm {
  bool keep_alive = true;
  bool to_http_1_0 = false;
  std::time_t date = 0;
};
/// Content-Length, Connection and Date are ours, whatever `response` says. Bytes that would end a line are replaced by
/// spaces, so that a header's value cannot become a header.
[[nodiscard]] std::string response_head(const HttpResponse& response, const HttpResponseForm& form);
/// Does an answer of that status have a body?
[[nodiscard]] bool may_have_body(int status) noexcept;

/// With `host` and Content-Length unless `request` has them; the body has `body_bytes`. Throws Error(kBadData) for what
/// cannot be sent.
[[nodiscard]] std::string request_head(const HttpRequest& request, const std::string& host, std::size_t body_bytes);

}  // namespace virga
