#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/net/http.h"
#include "virga/storage/s3_answers.h"
#include "virga/storage/s3_client.h"

namespace virga {

/// One request of S3Client's, neither signed nor with its host.
struct S3Request {
  const char* operation = "";  ///< "GetObject": for messages
  std::string method = "GET";
  std::string key;         ///< without the prefix; for the bucket itself see `of_bucket`
  bool of_bucket = false;  ///< in place of a key
  std::string query;       ///< percent-encoded
  std::vector<HttpHeader> headers;
  std::vector<ByteView> body;  ///< the caller's, until perform() returns
  std::span<std::byte> into;   ///< takes the body of an answer with 206, or with 200 if nothing else fits
  std::uint64_t limit = std::uint64_t{8} << 20;  ///< else: of the body, in bytes
};

/// What came of one: an answer below 300, or an error, with S3's words if it has said any.
struct S3Answer {
  HttpResponse head;  ///< without the body
  Bytes body;         ///< unless it went to S3Request::into
  std::uint64_t body_bytes = 0;
  std::optional<Error> error;
  S3Refusal refusal;
  bool worked_before = false;  ///< may an attempt that failed have worked?
};

/// Signs and sends requests and repeats them, on a thread of its own. Any thread may call any member.
class S3Calls {
 public:
  explicit S3Calls(S3Client::Options options);
  ~S3Calls();
  S3Calls(const S3Calls&) = delete;
  S3Calls& operator=(const S3Calls&) = delete;

  /// An answer for each request, in order, when all are done. Throws what AwsCredentials::get() throws.
  [[nodiscard]] std::vector<S3Answer> perform(std::span<const S3Request> requests, const Wait& wait);

  [[nodiscard]] const S3Client::Options& options() const noexcept;
  [[nodiscard]] S3Client::Counts counts() const;
  [[nodiscard]] static ServiceUse used_by_process() noexcept;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
