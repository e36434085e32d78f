#include "virga/storage/s3_answers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "virga/storage/xml.h"

namespace virga {
namespace {

constexpr std::size_t kLongestMessage = 300;

std::string printable(std::string_view text) {
  std::string result(text.substr(0, kLongestMessage));
  std::ranges::replace_if(
      result, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; }, ' ');
  return result;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

[[noreturn]] void refuse(const char* why) {
  throw Error(ErrorKind::kBadData, fmt::format("the answer is not what S3 sends: {}", why),
              "check that the endpoint is that of an S3 service");
}

bool is_one_of(std::string_view code, std::initializer_list<std::string_view> codes) {
  return std::ranges::find(codes, code) != codes.end();
}

bool is_throttled(const S3Refusal& refusal) {
  return refusal.status == 429 ||
         is_one_of(refusal.code, {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded",
                                  "RequestThrottled", "TooManyRequests", "BandwidthLimitExceeded", "Busy"});
}

/// The bytes that arrived were not those that were sent.
bool is_damaged(const S3Refusal& refusal) {
  return is_one_of(refusal.code,
                   {"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "XAmzContentChecksumMismatch"});
}

}  // namespace

S3Refusal read_s3_refusal(const HttpResponse& head, std::string_view body) {
  S3Refusal refusal{.status = head.status};
  try {
    read_xml(body, [&](std::string_view path, const std::string& text) {
      if (path == "Error/Code") refusal.code = printable(text);
      if (path == "Error/Message") refusal.message = printable(text);
      if (path == "Error/Region") refusal.region = printable(text);
    });
  } catch (const Error&) {
    // Something between, a proxy for instance, has answered.
  }
  if (const auto* region = find_header(head.headers, "x-amz-bucket-region")) refusal.region = printable(*region);
  if (const auto* after = find_header(head.headers, "Retry-After")) {
    constexpr std::uint64_t kLongest = 60;
    if (const auto seconds = parse_number(*after))
      refusal.retry_after = std::chrono::seconds(std::min(*seconds, kLongest));
  }
  return refusal;
}

ErrorKind kind_of(const S3Refusal& refusal) noexcept {
  const auto& code = refusal.code;
  if (is_throttled(refusal)) return ErrorKind::kThrottled;
  if (is_damaged(refusal)) return ErrorKind::kUnavailable;
  if (is_one_of(code, {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
                       "InvalidBucketName", "KeyTooLongError", "TemporaryRedirect"}) ||
      refusal.status / 100 == 3) {
    return ErrorKind::kUsage;
  }
  if (is_one_of(code, {"RequestTimeout", "OperationAborted", "InternalError"})) return ErrorKind::kUnavailable;
  if (is_one_of(code, {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})) return ErrorKind::kUnauthorized;
  if (is_one_of(code, {"EntityTooLarge", "QuotaExceeded"}) || refusal.status == 413) return ErrorKind::kTooLarge;
  switch (refusal.status) {
    case 401:
    case 403:
      return ErrorKind::kUnauthorized;
    case 404:
      return ErrorKind::kNotFound;
    case 409:
    case 412:
      return ErrorKind::kConflict;
    case 416:
      return ErrorKind::kCorrupt;
    case 501:
      return ErrorKind::kUnsupported;
    case 507:
      return ErrorKind::kIo;
    default:
      return refusal.status >= 500 ? ErrorKind::kUnavailable : ErrorKind::kBadData;
  }
}

bool may_pass(const S3Refusal& refusal) noexcept { return is_retryable(kind_of(refusal)); }

S3ListPage read_s3_list(std::string_view body) {
  S3ListPage page;
  bool is_list = false, is_truncated = false;
  std::optional<std::string> key;
  std::optional<std::uint64_t> bytes;
  read_xml(body, [&](std::string_view path, const std::string& text) {
    constexpr std::string_view kRoot = "ListBucketResult";
    if (path == kRoot) is_list = true;
    if (!path.starts_with("ListBucketResult/")) return;
    path.remove_prefix(kRoot.size() + 1);
    if (path == "IsTruncated") is_truncated = text == "true";
    if (path == "NextContinuationToken") page.next = text;
    if (path == "Contents/Key") key = text;
    if (path == "Contents/Size") bytes = parse_number(text);
    if (path != "Contents") return;
    if (!key || !bytes) refuse("an object without key or size");
    page.objects.push_back({.key = *std::exchange(key, std::nullopt), .bytes = *bytes});
    bytes.reset();
  });
  if (!is_list) refuse("no ListBucketResult");
  if (is_truncated && page.next.empty()) refuse("a list goes on, but does not say where");
  if (!is_truncated) page.next.clear();
  return page;
}

std::string read_s3_upload_id(std::string_view body) {
  std::string id;
  read_xml(body, [&](std::string_view path, const std::string& text) {
    if (path == "InitiateMultipartUploadResult/UploadId") id = text;
  });
  if (id.empty() || id.size() > 4096) refuse("no UploadId");
  return id;
}

std::optional<S3Refusal> read_s3_completion(std::string_view body) {
  bool is_done = false;
  S3Refusal refusal{.status = 500};
  read_xml(body, [&](std::string_view path, const std::string& text) {
    if (path == "CompleteMultipartUploadResult") is_done = true;
    if (path == "Error/Code") refusal.code = printable(text);
    if (path == "Error/Message") refusal.message = printable(text);
  });
  if (is_done) return {};
  if (refusal.code.empty()) refuse("no CompleteMultipartUploadResult");
  return refusal;
}

}  // namespace virga
