#include "virga/net/sigv4.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/sigv4_canonical.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using std::chrono::system_clock;

/// How far a signature's date may be from ours.
constexpr auto kSkew = 5min;
constexpr auto kTerminator = "aws4_request";

/// Left out by those who sign: proxies and HTTP libraries change them on the way.
constexpr std::array<std::string_view, 7> kNotSigned = {"authorization",     "connection", "content-length", "expect",
                                                        "transfer-encoding", "user-agent", "x-amzn-trace-id"};

void remove_header(HttpRequest& request, std::string_view name) {
  std::erase_if(request.headers, [&](const HttpHeader& header) { return is_same_header(header.name, name); });
}

void set_header(HttpRequest& request, std::string_view name, std::string value) {
  remove_header(request, name);
  request.headers.push_back({.name = std::string(name), .value = std::move(value)});
}

std::vector<std::string> headers_to_sign(const HttpRequest& request) {
  std::vector<std::string> names;
  for (const auto& header : request.headers) {
    auto name = to_lower(header.name);
    if (std::ranges::find(kNotSigned, name) == kNotSigned.end()) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

// What is refused, thrown inside verify() and returned by it.

SignatureRefusal incomplete(std::string message) {
  return {.status = 400, .code = "IncompleteSignatureException", .message = std::move(message)};
}
SignatureRefusal invalid(std::string message) {
  return {.status = 403, .code = "InvalidSignatureException", .message = std::move(message)};
}
SignatureRefusal mismatch() {
  return invalid(
      "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
      "and signing method. Consult the service documentation for details.");
}
SignatureRefusal unrecognized() {
  return {.status = 403,
          .code = "UnrecognizedClientException",
          .message = "The security token included in the request is invalid."};
}

/// What an Authorization header says.
struct Authorization {
  std::string_view access_key_id;
  std::string_view day;
  std::string_view region;
  std::string_view service;
  std::string_view terminator;
  std::vector<std::string> signed_headers;
  std::string_view signature;
  std::string_view date;  // of the request, "20150830T123600Z"
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  const auto first = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

/// The value of a header that may be there once.
const std::string* single_header(const HttpRequest& request, std::string_view name) {
  const auto count = std::ranges::count_if(request.headers,
                                           [&](const HttpHeader& header) { return is_same_header(header.name, name); });
  if (count > 1) throw incomplete(fmt::format("'{}' stands in the request more than once.", name));
  return find_header(request.headers, name);
}

bool is_presigned(const HttpRequest& request) {
  try {
    return std::ranges::any_of(query_of(request.target), [](const HttpHeader& parameter) {
      return is_same_header(parameter.name, "X-Amz-Signature") || is_same_header(parameter.name, "X-Amz-Algorithm");
    });
  } catch (const Error& error) {
    throw SignatureRefusal{.status = 400, .code = "MalformedQueryString", .message = error.what()};
  }
}

/// The parts of an Authorization header that is AWS's; none if it is another's.
std::map<std::string_view, std::string_view> parts_of(std::string_view header, const std::string& hashed) {
  std::map<std::string_view, std::string_view> parts;
  if (!header.starts_with(kSigV4Algorithm)) return parts;
  header.remove_prefix(kSigV4Algorithm.size());
  if (!header.starts_with(' ') && !header.starts_with('\t')) return parts;
  for (auto piece : split(header, ',')) {
    piece = trimmed(piece);
    if (piece.empty()) continue;
    const auto equals = piece.find('=');
    if (equals == std::string_view::npos) {
      throw incomplete("A part of the Authorization header is not a valid key=value pair (missing equal-sign)." +
                       hashed);
    }
    if (!parts.emplace(piece.substr(0, equals), piece.substr(equals + 1)).second) {
      throw incomplete(fmt::format("Authorization header has more than one '{}' parameter.", piece.substr(0, equals)) +
                       hashed);
    }
  }
  return parts;
}

Authorization parse_authorization(const HttpRequest& request) {
  const auto* header = single_header(request, "Authorization");
  if (header == nullptr) {
    throw SignatureRefusal{
        .status = 403, .code = "MissingAuthenticationTokenException", .message = "Missing Authentication Token"};
  }
  // The header itself is not repeated: it may hold another service's password.
  const auto hashed =
      fmt::format(" (Hashed with SHA-256 and encoded with Base64) Authorization={}", sha256_base64(*header));
  auto parts = parts_of(*header, hashed);
  std::string missing;
  for (const auto* name : {"Credential", "Signature", "SignedHeaders"}) {
    if (parts[name].empty()) missing += fmt::format("Authorization header requires '{}' parameter. ", name);
  }
  const auto* date = single_header(request, "X-Amz-Date");
  if (date == nullptr) date = single_header(request, "Date");
  if (date == nullptr) {
    missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
  }
  if (!missing.empty()) throw incomplete(missing.substr(0, missing.size() - 1) + hashed);
  const auto credential = split(parts["Credential"], '/');
  if (credential.size() != 5) {
    throw incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term." +
                     hashed);
  }
  Authorization found = {.access_key_id = credential[0],
                         .day = credential[1],
                         .region = credential[2],
                         .service = credential[3],
                         .terminator = credential[4],
                         .signed_headers = {},
                         .signature = parts["Signature"],
                         .date = trimmed(*date)};
  for (const auto name : split(parts["SignedHeaders"], ';')) found.signed_headers.emplace_back(name);
  return found;
}

void check_scope(const Authorization& found, const SigningScope& scope) {
  std::string wrong;
  if (found.region != scope.region) {
    wrong += fmt::format("Credential should be scoped to a valid region, not '{}'. ", found.region);
  }
  if (found.service != scope.service) {
    wrong += fmt::format("Credential should be scoped to correct service: '{}'. ", scope.service);
  }
  if (found.terminator != kTerminator) {
    wrong += fmt::format("Credential should be scoped with a valid terminator: '{}', not '{}'. ", kTerminator,
                         found.terminator);
  }
  if (found.day != found.date.substr(0, 8)) {
    wrong += fmt::format(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from "
        "'{}'. ",
        found.day, found.date.substr(0, 8), found.date);
  }
  if (wrong.empty()) return;
  wrong.pop_back();
  throw invalid(wrong);
}

void check_date(const Authorization& found, std::chrono::sys_seconds now) {  // the clock's own unit ends in 2262
  const auto date = parse_iso_basic(found.date);
  if (!date) throw incomplete(fmt::format("Date must be in ISO-8601 'basic format'. Got '{}'.", found.date));
  if (*date < now - kSkew) {
    throw invalid(fmt::format("Signature expired: {} is now earlier than {} ({} - 5 min.)", found.date,
                              iso_basic(now - kSkew), iso_basic(now)));
  }
  if (*date > now + kSkew) {
    throw invalid(fmt::format("Signature not yet current: {} is still later than {} ({} + 5 min.)", found.date,
                              iso_basic(now + kSkew), iso_basic(now)));
  }
}

void check_signed_headers(const HttpRequest& request, const std::vector<std::string>& names) {
  const auto is_signed = [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); };
  if (!is_signed("host")) throw invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  if (find_header(request.headers, "X-Amz-Date") == nullptr && !is_signed("date")) {
    throw invalid("'Date' must be a 'SignedHeader' in the AWS Authorization.");
  }
  for (const auto& header : request.headers) {
    const auto name = to_lower(header.name);
    // A session token is compared by itself; some add it after signing.
    if (name.starts_with("x-amz-") && name != "x-amz-security-token" && !is_signed(name)) {
      throw invalid(fmt::format("'{}' must be a 'SignedHeader' in the AWS Authorization.", name));
    }
  }
  for (const auto& name : names) {
    // An absent header would be signed as if it were empty.
    if (find_header(request.headers, name) == nullptr) throw mismatch();
  }
}

/// As it stands in the canonical request: of the body that has arrived, not of the one that is claimed.
std::string payload_hash(const HttpRequest& request, SigV4Path path) {
  const auto* claimed = single_header(request, "X-Amz-Content-Sha256");
  // S3 alone knows bodies that are not signed.
  if (claimed != nullptr && *claimed == kUnsignedPayload && path == SigV4Path::kAsSent) return *claimed;
  auto hash = sha256_hex(request.body);
  if (claimed != nullptr && *claimed != hash) {
    throw SignatureRefusal{.status = 400,
                           .code = "XAmzContentSHA256Mismatch",
                           .message = "The provided 'x-amz-content-sha256' header does not match what was computed."};
  }
  return hash;
}

void verify_or_throw(const HttpRequest& request, const FindCredentials& find, const SigningScope& scope,
                     system_clock::time_point time, SigV4Path path) {
  if (is_presigned(request)) {
    throw incomplete("Presigned requests are not taken here: sign with an Authorization header.");
  }
  const auto found = parse_authorization(request);
  check_date(found, std::chrono::floor<std::chrono::seconds>(time));
  check_scope(found, scope);
  const auto credentials = find(found.access_key_id);
  if (!credentials) throw unrecognized();
  const auto* token = single_header(request, "X-Amz-Security-Token");
  if (!equal_in_constant_time(token != nullptr ? std::string_view(*token) : "", credentials->session_token)) {
    throw unrecognized();
  }
  check_signed_headers(request, found.signed_headers);
  const auto canonical = canonical_request(request, found.signed_headers, payload_hash(request, path), path);
  const auto signature = signature_of(canonical, credentials->secret_access_key, found.date, scope);
  if (!equal_in_constant_time(signature, found.signature)) throw mismatch();
}

}  // namespace

void sign(HttpRequest& request, const Credentials& credentials, const SigningScope& scope,
          system_clock::time_point time, SigV4Path path) {
  const auto* claimed = find_header(request.headers, "X-Amz-Content-Sha256");
  const bool is_unsigned = claimed != nullptr && *claimed == kUnsignedPayload;
  sign(request, is_unsigned ? "" : sha256_hex(request.body), credentials, scope, time, path);
}

void sign(HttpRequest& request, std::string_view body_sha256, const Credentials& credentials, const SigningScope& scope,
          system_clock::time_point time, SigV4Path path) {
  check(find_header(request.headers, "Host") != nullptr, "a request is signed before it has its Host header");
  const auto date = iso_basic(time);
  set_header(request, "X-Amz-Date", date);
  remove_header(request, "X-Amz-Security-Token");
  if (!credentials.session_token.empty()) set_header(request, "X-Amz-Security-Token", credentials.session_token);
  const auto* claimed = find_header(request.headers, "X-Amz-Content-Sha256");
  const bool is_unsigned = claimed != nullptr && *claimed == kUnsignedPayload;
  const auto hash = is_unsigned ? std::string(kUnsignedPayload) : std::string(body_sha256);
  if (claimed != nullptr || path == SigV4Path::kAsSent) set_header(request, "X-Amz-Content-Sha256", hash);
  const auto names = headers_to_sign(request);
  const auto signature =
      signature_of(canonical_request(request, names, hash, path), credentials.secret_access_key, date, scope);
  set_header(request, "Authorization",
             fmt::format("{} Credential={}/{}/{}/{}/{}, SignedHeaders={}, Signature={}", kSigV4Algorithm,
                         credentials.access_key_id, date.substr(0, 8), scope.region, scope.service, kTerminator,
                         join_names(names), signature));
}

std::optional<SignatureRefusal> verify(const HttpRequest& request, const FindCredentials& find,
                                       const SigningScope& scope, system_clock::time_point time, SigV4Path path) {
  try {
    verify_or_throw(request, find, scope, time, path);
  } catch (const SignatureRefusal& refusal) {
    return refusal;
  }
  return {};
}

}  // namespace virga
