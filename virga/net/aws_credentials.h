#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/environment.h"
#include "virga/net/sigv4.h"

namespace virga {

/// The credentials of this process for AWS's services and those that speak like them, from where the AWS tools take
/// them; the first that is there counts:
///   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN;
///   2. the profile in the shared files (aws_profile.h);
///   3. a container's endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, or AWS_CONTAINER_CREDENTIALS_FULL_URI, with
///      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN;
///   4. the machine's metadata service, version 2, unless AWS_EC2_METADATA_DISABLED is true.
/// Those that expire are fetched anew before they do. Any thread may call any member. No message contains a secret.
class AwsCredentials {
 public:
  struct Options {
    Environment environment = process_environment();
    std::chrono::milliseconds endpoint_time{2'000};  ///< for an answer of a container's endpoint
    std::chrono::milliseconds metadata_time{1'000};  ///< the same of the metadata service, which may not be there
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  };

  explicit AwsCredentials(Options options);
  ~AwsCredentials();
  AwsCredentials(const AwsCredentials&) = delete;
  AwsCredentials& operator=(const AwsCredentials&) = delete;

  /// Looked for at the first call, and again when they are about to expire. Throws Error: kUnauthorized if there are
  /// none, kUsage or kBadData for a variable or file that is wrong, kUnsupported for a way to get them that is not
  /// built (web identity, roles to assume, single sign-on, programs), kUnavailable, kDeadlineExceeded.
  [[nodiscard]] Credentials get(Deadline deadline);

  /// A service says that `refused` has expired: the next get() looks anew, unless it has others by then already.
  void expired(const Credentials& refused);

  /// Where they came from: "the environment", "profile default". Empty before the first get().
  [[nodiscard]] std::string source() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

/// As an endpoint hands them out.
struct AwsTemporaryCredentials {
  Credentials credentials;
  std::optional<std::chrono::system_clock::time_point> expires;
};
/// Reads the JSON of a container's endpoint or of the metadata service. Throws Error(kBadData), naming `what`.
[[nodiscard]] AwsTemporaryCredentials parse_aws_credentials(std::string_view json, const std::string& what);

}  // namespace virga
