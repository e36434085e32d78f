#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace virga {

// HTTP/1.1 messages as the server, the client and request signing see them.

struct HttpHeader {
  std::string name;  ///< in any case
  std::string value;
  bool operator==(const HttpHeader&) const = default;
};

/// Names of headers have no case.
[[nodiscard]] bool is_same_header(std::string_view name, std::string_view other) noexcept;
/// The value of the first header of that name, whatever its case; nothing if there is none.
[[nodiscard]] const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name) noexcept;

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, percent-encoded, as on the wire
  std::vector<HttpHeader> headers;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::vector<HttpHeader> headers;
  std::string body;
};

/// What a peer may send; what exceeds it is refused (431, 413) and the connection is closed.
struct HttpLimits {
  std::size_t header_bytes = std::size_t{32} << 10;
  std::size_t body_bytes = std::size_t{8} << 20;
};

/// Decodes %XX. Throws Error(kBadData) for what is not.
[[nodiscard]] std::string percent_decode(std::string_view text);
/// Encodes all but A-Z a-z 0-9 - . _ ~ (RFC 3986), and '/' where `keep_slash`.
[[nodiscard]] std::string percent_encode(std::string_view text, bool keep_slash = false);

[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;  ///< without the query
[[nodiscard]] std::vector<HttpHeader> query_of(std::string_view target);   ///< names and values, decoded, in order

}  // namespace virga
