#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/net/http_reader.h"
#include "virga/net/sigv4.h"
#include "virga/net/sigv4_canonical.h"

namespace virga {
namespace {

const Credentials kCredentials = {.access_key_id = "AKIDEXAMPLE",
                                  .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                  .session_token = {}};
const SigningScope kScope = {.region = "us-east-1", .service = "service"};

std::optional<Credentials> find(std::string_view id) {
  return id == kCredentials.access_key_id ? std::optional(kCredentials) : std::nullopt;
}

/// A request from outside is verified or refused; once signed it is verified, and with another body refused.
void verify_and_sign(HttpRequest request, SigV4Path path) {
  const auto time = *parse_iso_basic("20150830T123600Z");
  if (const auto refusal = verify(request, find, kScope, time, path)) {
    check(refusal->status >= 400 && !refusal->code.empty() && !refusal->message.empty(), "a refusal says nothing");
  }
  std::erase_if(request.headers,
                [](const HttpHeader& header) { return is_same_header(header.name, "X-Amz-Content-Sha256"); });
  try {
    sign(request, kCredentials, kScope, time, path);
  } catch (const Error&) {
    return;  // its query is not percent-encoded
  }
  const auto refusal = verify(request, find, kScope, time, path);
  const bool is_presigned = refusal && refusal->message.starts_with("Presigned");
  check(!refusal || is_presigned, "what was signed is refused");
  request.body += "x";
  check(verify(request, find, kScope, time, path).has_value(), "another body is taken");
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  virga::HttpRequestReader reader({.header_bytes = 4096, .body_bytes = 4096});
  reader.take(bytes);
  if (reader.is_done()) {
    auto request = reader.release();
    if (virga::find_header(request.headers, "Host") == nullptr) request.headers.push_back({"Host", "a"});
    virga::verify_and_sign(request, virga::SigV4Path::kEncodedAgain);
    virga::verify_and_sign(request, virga::SigV4Path::kAsSent);
  }
  try {
    const auto decoded = virga::base64_decode(bytes);
    virga::check(virga::base64_encode(decoded) == bytes, "base64 changed on its way");
  } catch (const virga::Error&) {
  }
  return 0;
}
