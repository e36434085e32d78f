#include "virga/net/http_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/optional.hpp>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

/// What a Content-Length may reserve before any byte of the body has arrived.
constexpr std::size_t kFirstReserve = 64 << 10;

/// A body in a string that grows with what arrives, or handed over piece by piece.
struct GrowingBody {
  struct value_type {
    std::string text;
    std::function<void(std::string_view)> take;
  };
  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(http::header<isRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>& length, error_code& error) {
      error = {};
      if (!length || body_.take) return;
      body_.text.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, kFirstReserve)));
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, error_code& error) {
      error = {};
      std::size_t count = 0;
      for (auto at = boost::asio::buffer_sequence_begin(buffers); at != boost::asio::buffer_sequence_end(buffers);
           ++at) {
        const std::string_view piece(static_cast<const char*>(at->data()), at->size());
        if (body_.take) {
          body_.take(piece);
        } else {
          body_.text.append(piece);
        }
        count += at->size();
      }
      return count;
    }
    void finish(error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

/// One message, over Beast's parser, which is stepped by hand: it counts neither the bytes of a header that comes in
/// pieces nor those of a chunk's extension, and mixes trailers with the header.
template <bool isRequest>
class MessageReader {
 public:
  using Parser = http::parser<isRequest, GrowingBody>;

  explicit MessageReader(const HttpLimits& limits) : limits_(limits) {
    parser_.header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(limits.header_bytes, 1U << 30U)));
    parser_.body_limit(limits.body_bytes);
  }

  /// Sets `error` for what is wrong; `on_header` is called once the header is there, and may set it too.
  template <typename OnHeader>
  std::size_t take(std::string_view bytes, error_code& error, const OnHeader& on_header) {
    const bool was_empty = pending_.empty();
    if (!was_empty) pending_.append(bytes);
    const std::string_view all = was_empty ? bytes : std::string_view(pending_);
    const auto used = step(all, error, on_header);
    const auto left = all.size() - used;
    if (parser_.is_done()) {
      pending_ = {};
      return bytes.size() - left;  // what is left has come just now: before, the message was not complete
    }
    if (!error && left > limits_.header_bytes) error = http::error::header_limit;
    if (was_empty) {
      pending_.assign(all.substr(used));
    } else {
      pending_.erase(0, used);
    }
    return bytes.size();
  }

  [[nodiscard]] Parser& parser() noexcept { return parser_; }
  [[nodiscard]] const Parser& parser() const noexcept { return parser_; }

  [[nodiscard]] std::vector<HttpHeader> headers() const {
    std::vector<HttpHeader> headers;
    for (const auto& field : parser_.get()) {
      headers.push_back({.name = std::string(field.name_string()), .value = std::string(field.value())});
    }
    return headers;
  }

 private:
  template <typename OnHeader>
  std::size_t step(std::string_view bytes, error_code& error, const OnHeader& on_header) {
    std::size_t used = 0;
    while (!parser_.is_done() && used < bytes.size()) {
      const bool in_header = !parser_.is_header_done();
      const auto count = parser_.put(boost::asio::buffer(bytes.data() + used, bytes.size() - used), error);
      used += count;
      if (in_header) {
        header_bytes_ += count;
        const auto seen = header_bytes_ + (parser_.is_header_done() ? 0 : bytes.size() - used);
        if ((!error || error == http::error::need_more) && seen > limits_.header_bytes) {
          error = http::error::header_limit;
        }
        if (!error && parser_.is_header_done()) on_header(error);
      }
      if (error == http::error::need_more) {
        error = {};
        break;
      }
      if (error) break;
    }
    return used;
  }

  const HttpLimits limits_;
  Parser parser_;
  std::string pending_;  // what the parser could not use yet
  std::size_t header_bytes_ = 0;
};

std::size_t count_of(const http::fields& fields, http::field name) {
  return static_cast<std::size_t>(std::distance(fields.equal_range(name).first, fields.equal_range(name).second));
}

}  // namespace

class HttpRequestReader::Impl {
 public:
  explicit Impl(const HttpLimits& limits) : limits_(limits), reader_(limits) {}

  std::size_t take(std::string_view bytes) {
    if (refusal_ || is_done_) return 0;
    // Some clients end a body with a line too many.
    const auto blank = has_begun_ ? 0 : std::min(bytes.find_first_not_of("\r\n"), bytes.size());
    bytes.remove_prefix(blank);
    if (bytes.empty()) return blank;
    has_begun_ = true;
    error_code error;
    const auto used = reader_.take(bytes, error, [&](error_code& wrong) { check_header(wrong); });
    if (error && !refusal_) refusal_ = refusal_for(error);
    is_done_ = !refusal_ && reader_.parser().is_done();
    return blank + used;
  }

  [[nodiscard]] bool is_done() const noexcept { return is_done_; }
  [[nodiscard]] const std::optional<HttpRefusal>& refusal() const noexcept { return refusal_; }
  [[nodiscard]] bool expects_continue() const noexcept { return expects_continue_ && !is_done_; }
  [[nodiscard]] bool keep_alive() const noexcept { return reader_.parser().keep_alive(); }
  [[nodiscard]] bool is_http_1_0() const noexcept { return reader_.parser().get().version() == 10; }
  [[nodiscard]] HttpRequest release() {
    request_.body = std::move(reader_.parser().get().body().text);
    return std::move(request_);
  }

 private:
  void check_header(error_code& error) {
    const auto& message = reader_.parser().get();
    const auto refuse = [&](int status, std::string why) {
      refusal_ = HttpRefusal{.status = status, .why = std::move(why)};
      error = http::error::bad_field;
    };
    request_ = {.method = std::string(message.method_string()),
                .target = std::string(message.target()),
                .headers = reader_.headers(),
                .body = {}};
    const auto hosts = count_of(message, http::field::host);
    if (hosts > 1 || (hosts == 0 && message.version() == 11)) return refuse(400, "one Host header is needed");
    if (const auto codings = count_of(message, http::field::transfer_encoding); codings > 0) {
      // Where a body ends must not be a matter of opinion.
      if (message.version() == 10) return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
      if (codings > 1 || !boost::beast::iequals(message[http::field::transfer_encoding], "chunked")) {
        return refuse(501, "the only Transfer-Encoding that is understood is chunked");
      }
    }
    if (const auto* expected = find_header(request_.headers, "Expect");
        expected != nullptr && message.version() == 11) {
      if (!boost::beast::iequals(*expected, "100-continue")) return refuse(417, "what is expected is not understood");
      expects_continue_ = true;
    }
  }

  [[nodiscard]] HttpRefusal refusal_for(const error_code& error) const {
    if (error == http::error::header_limit) {
      return {.status = 431, .why = fmt::format("the header has more than {} bytes", limits_.header_bytes)};
    }
    if (error == http::error::body_limit) {
      return {.status = 413, .why = fmt::format("the body has more than {} bytes", limits_.body_bytes)};
    }
    if (error == http::error::bad_version) return {.status = 505, .why = "not HTTP/1.1 or HTTP/1.0"};
    return {.status = 400, .why = "not an HTTP request: " + error.message()};
  }

  const HttpLimits limits_;
  MessageReader<true> reader_;
  HttpRequest request_;
  std::optional<HttpRefusal> refusal_;
  bool has_begun_ = false;
  bool expects_continue_ = false;
  bool is_done_ = false;
};

HttpRequestReader::HttpRequestReader(const HttpLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
HttpRequestReader::~HttpRequestReader() = default;
std::size_t HttpRequestReader::take(std::string_view bytes) { return impl_->take(bytes); }
bool HttpRequestReader::is_done() const noexcept { return impl_->is_done(); }
const std::optional<HttpRefusal>& HttpRequestReader::refusal() const noexcept { return impl_->refusal(); }
bool HttpRequestReader::expects_continue() const noexcept { return impl_->expects_continue(); }
bool HttpRequestReader::keep_alive() const noexcept { return impl_->keep_alive(); }
bool HttpRequestReader::is_http_1_0() const noexcept { return impl_->is_http_1_0(); }
HttpRequest HttpRequestReader::release() { return impl_->release(); }

class HttpResponseReader::Impl {
 public:
  Impl(const HttpLimits& limits, bool to_head, OnBody on_body)
      : limits_(limits), to_head_(to_head), on_body_(std::move(on_body)) {
    begin();
  }

  std::size_t take(std::string_view bytes) {
    std::size_t used = 0;
    while (!is_done_ && used < bytes.size()) {
      error_code error;
      used += reader_->take(bytes.substr(used), error, [&](error_code& wrong) { check_header(wrong); });
      if (error) throw error_for(error);
      if (!reader_->parser().is_done()) break;
      if (response_.status / 100 == 1) {
        if (++interim_ > kMostInterim) throw Error(ErrorKind::kBadData, "the server sends interim answers without end");
        begin();
      } else {
        is_done_ = true;
      }
    }
    return used;
  }

  void end() {
    if (is_done_ || !reader_->parser().is_header_done()) return;
    error_code error;
    reader_->parser().put_eof(error);
    is_done_ = !error && reader_->parser().is_done();
  }

  [[nodiscard]] bool is_done() const noexcept { return is_done_; }
  [[nodiscard]] bool keep_alive() const noexcept { return reader_->parser().keep_alive(); }
  [[nodiscard]] HttpResponse release() {
    response_.body = std::move(reader_->parser().get().body().text);
    return std::move(response_);
  }

 private:
  static constexpr int kMostInterim = 100;

  void begin() {
    reader_.emplace(limits_);
    if (to_head_) reader_->parser().skip(true);
    if (!on_body_) return;
    reader_->parser().get().body().take = [this](std::string_view piece) { on_body_(response_, piece); };
  }

  void check_header(error_code& error) {
    const auto& message = reader_->parser().get();
    response_ = {.status = static_cast<int>(message.result_int()), .headers = reader_->headers(), .body = {}};
    if (response_.status < 100 || response_.status > 599 || response_.status == 101) error = http::error::bad_status;
    const auto codings = count_of(message, http::field::transfer_encoding);
    if (codings > 1 || (codings == 1 && !boost::beast::iequals(message[http::field::transfer_encoding], "chunked"))) {
      error = http::error::bad_transfer_encoding;
    }
  }

  [[nodiscard]] Error error_for(const error_code& error) const {
    if (error == http::error::header_limit) {
      return {ErrorKind::kTooLarge,
              fmt::format("the header of the answer has more than {} bytes", limits_.header_bytes)};
    }
    if (error == http::error::body_limit) {
      return {ErrorKind::kTooLarge, fmt::format("the body of the answer has more than {} bytes", limits_.body_bytes)};
    }
    return {ErrorKind::kBadData, "the answer is not HTTP: " + error.message(), "check that an HTTP server runs there"};
  }

  const HttpLimits limits_;
  const bool to_head_;
  const OnBody on_body_;
  std::optional<MessageReader<false>> reader_;
  HttpResponse response_;
  int interim_ = 0;
  bool is_done_ = false;
};

HttpResponseReader::HttpResponseReader(const HttpLimits& limits, bool to_head, OnBody on_body)
    : impl_(std::make_unique<Impl>(limits, to_head, std::move(on_body))) {}
HttpResponseReader::~HttpResponseReader() = default;
std::size_t HttpResponseReader::take(std::string_view bytes) { return impl_->take(bytes); }
void HttpResponseReader::end() { impl_->end(); }
bool HttpResponseReader::is_done() const noexcept { return impl_->is_done(); }
bool HttpResponseReader::keep_alive() const noexcept { return impl_->keep_alive(); }
HttpResponse HttpResponseReader::release() { return impl_->release(); }

}  // namespace virga
