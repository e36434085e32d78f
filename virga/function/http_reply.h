#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "virga/net/http.h"

namespace virga {

/// What a server answered to one request.
struct HttpReply {
  int status = 0;
  std::vector<HttpHeader> headers;  ///< names in lower case
  std::string body;                 ///< its beginning, if it is longer than its reader keeps
  std::uint64_t body_bytes = 0;     ///< all of it
  bool keeps_connection = true;     ///< may the next request use the same connection?
  bool operator==(const HttpReply&) const = default;

  /// The value of the first header of that name (lower case); nothing if there is none.
  [[nodiscard]] const std::string* header(std::string_view name) const noexcept;
};

constexpr std::size_t kMostReplyHeadBytes = std::size_t{32} << 10;  ///< status line and headers, or trailers
constexpr std::uint64_t kMostReplyBodyBytes = std::uint64_t{64} << 20;

/// Reads one reply of HTTP/1.1 (RFC 9112) or 1.0 from bytes that come in pieces; no input or output of its own. Interim
/// replies (1xx) are passed over. A body has a length, comes in chunks, or ends with the connection; codings other than
/// chunked are refused, as are lengths that contradict each other and folded headers.
class HttpReplyReader {
 public:
  /// Keeps the first `most_kept` bytes of the body, and only counts the rest.
  explicit HttpReplyReader(std::size_t most_kept) : most_kept_(most_kept) {}

  /// Takes the next bytes, but none after the end of the reply; gives how many it took. Throws Error(kBadData) for what
  /// is no reply, or exceeds the limits above.
  std::size_t take(std::string_view bytes);
  /// No more bytes come. Throws Error(kBadData) if the reply is cut off.
  void end();

  [[nodiscard]] bool is_complete() const noexcept { return state_ == State::kComplete; }
  /// As far as it has come.
  [[nodiscard]] const HttpReply& reply() const noexcept { return reply_; }

 private:
  enum class State : std::uint8_t {
    kStatus,
    kHeader,
    kBody,
    kToTheEnd,
    kChunkSize,
    kChunk,
    kChunkEnd,
    kTrailer,
    kComplete
  };

  [[nodiscard]] std::size_t take_body(std::string_view bytes);
  void take_line(std::string_view line);
  void take_status(std::string_view line);
  void take_header(std::string_view line);
  void take_chunk_size(std::string_view line);
  void end_of_headers();

  const std::size_t most_kept_;
  State state_ = State::kStatus;
  HttpReply reply_;
  std::string line_;            // begun, not ended
  std::size_t head_bytes_ = 0;  // of lines since the last limit began
  std::uint64_t left_ = 0;      // of the body, or of the chunk
};

}  // namespace virga
