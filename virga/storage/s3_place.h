#pragma once

#include <string>
#include <string_view>

#include "virga/base/environment.h"
#include "virga/net/endpoint.h"

namespace virga {

/// A bucket, or the part of one whose keys begin with a prefix, at S3 or at what speaks like it.
struct S3Place {
  std::string bucket;
  std::string prefix;  ///< empty, or ends with '/'
  std::string region;
  Endpoint endpoint;         ///< where requests go; in virtual-host style the bucket is part of its names
  bool path_style = true;    ///< is the bucket in the path, and not in the host's name?
  bool signs_bodies = true;  ///< are whole objects signed over their SHA-256, or over their CRC-32C alone?
  std::string uri;           ///< "s3://bucket/prefix": for messages

  [[nodiscard]] std::string bucket_path() const { return path_style ? "/" + bucket : "/"; }
  /// The path of a key on the wire, percent-encoded. `key` is without the prefix.
  [[nodiscard]] std::string path_of(std::string_view key) const;
};

/// Reads "s3://bucket/prefix?endpoint=https://host:port&region=us-east-1&style=path&bodies=signed&ca=FILE&via=NUMBER"
/// (TlsParameters). What it leaves out comes from where the AWS tools take it (aws_profile.h), and without an endpoint
/// it is AWS's own. The style is path at an endpoint that was named, and for a bucket whose name has a dot, else
/// virtual. Bodies are signed unless they go over TLS. The region may be left out where an endpoint is named:
/// us-east-1. Throws Error(kUsage), naming what is wrong.
[[nodiscard]] S3Place parse_s3_uri(std::string_view uri, const Environment& environment);

/// The same place as a URI that says everything, whatever the environment.
[[nodiscard]] std::string full_s3_uri(const S3Place& place);

}  // namespace virga
