#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/environment.h"
#include "virga/net/endpoint.h"

namespace virga {

// The files that the AWS tools share (AWS documentation, "Shared config and credentials files").

/// Sections, keys in lower case, values. A value of a nested block ("s3 =", then an indented "endpoint_url = ...") has
/// the key "s3.endpoint_url".
using AwsSections = std::map<std::string, std::map<std::string, std::string>, std::less<>>;

/// Reads one such file; what is said twice, the later is taken. Throws Error(kBadData), which names `what` and the line
/// but never its text, which may be a secret.
[[nodiscard]] AwsSections parse_aws_sections(std::string_view text, const std::string& what);

/// The settings of one profile.
struct AwsProfile {
  std::string name;
  std::string where;                            ///< the files that were looked at: for messages
  bool is_there = false;                        ///< in one of the files
  std::map<std::string, std::string> settings;  ///< of both files; those of the credentials file come first
  std::map<std::string, std::string> services;  ///< of the section that its key "services" names
};

/// The profile that AWS_PROFILE names, or "default", from the files that AWS_SHARED_CREDENTIALS_FILE and
/// AWS_CONFIG_FILE name, or ~/.aws/credentials and ~/.aws/config. A file that is not there is an empty one. Throws
/// Error: kUsage for a profile that AWS_PROFILE names and that is nowhere, kBadData, kIo.
[[nodiscard]] AwsProfile read_aws_profile(const Environment& environment);

/// AWS_REGION, AWS_DEFAULT_REGION, or the profile's; nothing if none of them says.
[[nodiscard]] std::optional<std::string> aws_region(const Environment& environment);

/// The endpoint of `service` ("s3", "dynamodb"): AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's for the service,
/// the profile's for all; nothing if none of them says or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is true.
[[nodiscard]] std::optional<std::string> aws_endpoint(const Environment& environment, std::string_view service);

/// AWS's own endpoint of `service`: "https://s3.us-east-1.amazonaws.com".
[[nodiscard]] std::string aws_url(std::string_view service, std::string_view region);

/// parse_endpoint(); its authorities are those in the file that AWS_CA_BUNDLE names, or the profile's ca_bundle, if one
/// of them does.
[[nodiscard]] Endpoint parse_aws_endpoint(std::string_view text, const Environment& environment);

}  // namespace virga
