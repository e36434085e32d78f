#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "virga/base/error.h"
#include "virga/net/http_reader.h"
#include "virga/net/http_writer.h"

namespace virga {
namespace {

constexpr HttpLimits kLimits = {.header_bytes = 500, .body_bytes = 200};

void check_limits(const std::vector<HttpHeader>& headers, const std::string& body) {
  std::size_t bytes = 0;
  for (const auto& header : headers) bytes += header.name.size() + header.value.size();
  check(bytes <= kLimits.header_bytes && body.size() <= kLimits.body_bytes, "a limit was broken");
}

bool operator==(const HttpRequest& a, const HttpRequest& b) {
  return a.method == b.method && a.target == b.target && a.headers == b.headers && a.body == b.body;
}

/// What became of the first request in `bytes`, which come in pieces: how many belong to it, and what it says.
struct Outcome {
  std::size_t used = 0;
  int refused = 0;
  std::optional<HttpRequest> request;
};

Outcome read_request(std::string_view bytes, std::size_t piece) {
  HttpRequestReader reader(kLimits);
  Outcome outcome;
  while (!bytes.empty() && !reader.is_done() && !reader.refusal()) {
    const auto part = bytes.substr(0, piece);
    const auto used = reader.take(part);
    check(used == part.size() || reader.is_done() || reader.refusal(), "bytes were left without a reason");
    outcome.used += used;
    bytes.remove_prefix(used);
  }
  if (reader.refusal()) outcome.refused = reader.refusal()->status;
  if (!reader.is_done()) return outcome;
  check(!reader.refusal() && !reader.expects_continue(), "a request is both done and not");
  static_cast<void>(reader.keep_alive());
  outcome.request = reader.release();
  check_limits(outcome.request->headers, outcome.request->body);
  return outcome;
}

/// The same request is read from the same bytes, however they are cut; and from what a client sends for it.
void read_requests(std::string_view bytes) {
  const auto whole = read_request(bytes, bytes.size());
  const auto cut = read_request(bytes, 1);
  check(whole.request.has_value() == cut.request.has_value(), "pieces make a difference to what is taken");
  if (!whole.request) return;  // in pieces, a header that is wrong may be refused only when it is complete
  check(*whole.request == *cut.request && whole.used == cut.used, "pieces make a difference");
  auto sent = *whole.request;
  std::erase_if(sent.headers, [](const HttpHeader& header) {
    return is_same_header(header.name, "Content-Length") || is_same_header(header.name, "Transfer-Encoding") ||
           is_same_header(header.name, "Expect");
  });
  try {
    const auto head = request_head(sent, "host", sent.body.size());
    const auto again = read_request(head + sent.body, 64);
    check(again.refused == 431 || (again.request && again.request->method == sent.method &&
                                   again.request->target == sent.target && again.request->body == sent.body),
          "a request changed on its way");
  } catch (const Error&) {
    // Beast takes some bytes that we do not send.
  }
}

void read_response(std::string_view bytes, std::size_t piece, bool to_head) {
  HttpResponseReader reader(kLimits, to_head);
  try {
    while (!bytes.empty() && !reader.is_done()) {
      const auto part = bytes.substr(0, piece);
      const auto used = reader.take(part);
      check(used == part.size() || reader.is_done(), "bytes were left without a reason");
      bytes.remove_prefix(used);
    }
    reader.end();
  } catch (const Error&) {
    return;
  }
  if (!reader.is_done()) return;
  static_cast<void>(reader.keep_alive());
  const auto response = reader.release();
  check_limits(response.headers, response.body);
  static_cast<void>(response_head(response, {}));
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  virga::read_requests(bytes);
  virga::read_response(bytes, size, /*to_head=*/false);
  virga::read_response(bytes, 1, /*to_head=*/false);
  virga::read_response(bytes, 7, /*to_head=*/true);
  return 0;
}
