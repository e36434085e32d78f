#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/bytes.h"
#include "virga/net/http.h"

namespace virga {

// AWS Signature Version 4 (AWS documentation, "Create a signed AWS API request").

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  ///< empty: none
};

struct SigningScope {
  std::string region;
  std::string service;  ///< "lambda", "s3", "dynamodb"
};

/// How the path goes into the canonical request: S3 takes it as it is on the wire, all others encode it once more.
enum class SigV4Path : std::uint8_t { kEncodedAgain, kAsSent };

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

/// Adds X-Amz-Date, X-Amz-Content-Sha256 (of the body, for S3), X-Amz-Security-Token (if there is one) and
/// Authorization to `request`, which has its Host header; those that are there are replaced, so that a request can be
/// signed anew. An X-Amz-Content-Sha256 of UNSIGNED-PAYLOAD stays: the body is not signed then, which S3 alone takes.
/// `time`: wall clock, whole seconds count. Throws Error(kBadData) for a query that is not percent-encoded.
void sign(HttpRequest& request, const Credentials& credentials, const SigningScope& scope,
          std::chrono::system_clock::time_point time, SigV4Path path = SigV4Path::kEncodedAgain);
/// The same, of a body whose SHA-256 (64 lower-case hexadecimal digits) is known.
void sign(HttpRequest& request, std::string_view body_sha256, const Credentials& credentials, const SigningScope& scope,
          std::chrono::system_clock::time_point time, SigV4Path path = SigV4Path::kEncodedAgain);

/// Why a signature was refused, in the words of AWS.
struct SignatureRefusal {
  int status = 403;
  std::string
      code;  ///< "MissingAuthenticationTokenException", "UnrecognizedClientException", "InvalidSignatureException", ...
  std::string message;
};
/// The credentials that belong to an access key id; nothing if it is not known.
using FindCredentials = std::function<std::optional<Credentials>(std::string_view access_key_id)>;

/// Nothing if the request was signed with credentials that `find` knows, for that scope, at most five minutes from
/// `time`, over its host, date, body and all its X-Amz- headers; else why not. Compares in constant time. Signatures in
/// an Authorization header only: presigned requests are refused. Throws only what `find` throws.
[[nodiscard]] std::optional<SignatureRefusal> verify(const HttpRequest& request, const FindCredentials& find,
                                                     const SigningScope& scope,
                                                     std::chrono::system_clock::time_point time,
                                                     SigV4Path path = SigV4Path::kEncodedAgain);

/// SHA-256 as 64 lower-case hexadecimal digits.
[[nodiscard]] std::string sha256_hex(std::string_view bytes);
/// Of the parts, one after the other.
[[nodiscard]] std::string sha256_hex(std::span<const ByteView> parts);
/// As CodeSha256 has it.
[[nodiscard]] std::string sha256_base64(std::string_view bytes);
[[nodiscard]] std::string base64_encode(std::string_view bytes);
/// Throws Error(kBadData).
[[nodiscard]] std::string base64_decode(std::string_view text);

}  // namespace virga
