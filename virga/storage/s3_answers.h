#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/error.h"
#include "virga/net/http.h"

namespace virga {

// What S3 answers (AWS documentation, "Amazon S3 REST API"), read by pure functions.

/// S3's own words for why a request was refused.
struct S3Refusal {
  int status = 0;
  std::string code;     ///< "NoSuchKey"; empty if the answer does not say
  std::string message;  ///< at most 300 bytes, printable
  std::string region;   ///< of the bucket, where it is another
  std::optional<std::chrono::seconds> retry_after;
};
/// Never throws for a body that is something else: the status says enough.
[[nodiscard]] S3Refusal read_s3_refusal(const HttpResponse& head, std::string_view body);

[[nodiscard]] ErrorKind kind_of(const S3Refusal& refusal) noexcept;
/// May the same request succeed later?
[[nodiscard]] bool may_pass(const S3Refusal& refusal) noexcept;

struct S3Object {
  std::string key;
  std::uint64_t bytes = 0;
  bool operator==(const S3Object&) const = default;
};
struct S3ListPage {
  std::vector<S3Object> objects;
  std::string next;  ///< continuation token; empty: this was the last page
};
// These throw Error(kBadData).
[[nodiscard]] S3ListPage read_s3_list(std::string_view body);        ///< of ListObjectsV2
[[nodiscard]] std::string read_s3_upload_id(std::string_view body);  ///< of CreateMultipartUpload
/// Of CompleteMultipartUpload, which may tell of a failure after it has said 200. Nothing: it has worked.
[[nodiscard]] std::optional<S3Refusal> read_s3_completion(std::string_view body);

}  // namespace virga
