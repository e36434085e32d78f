#pragma once

#include <string>
#include <string_view>

#include "virga/base/environment.h"
#include "virga/net/endpoint.h"

namespace virga {

/// Where a job's items are: a table of DynamoDB, or of what speaks like it.
struct DynamoPlace {
  std::string uri;     ///< without parameters, for messages
  std::string table;   ///< its keys are p and s, both text
  std::string prefix;  ///< of partition keys; empty, or ends with '/'
  std::string region;
  Endpoint endpoint;
};

/// Reads "dynamodb://TABLE/PREFIX?endpoint=https://HOST:PORT&region=REGION&ca=FILE&via=NUMBER" (TlsParameters). What is
/// not said there is looked for where the AWS tools do (aws_profile.h); without an endpoint it is AWS's own. Throws
/// Error(kUsage).
[[nodiscard]] DynamoPlace parse_dynamo_uri(std::string_view uri, const Environment& environment);
/// The same place as a URI that says everything, whatever the environment.
[[nodiscard]] std::string full_dynamo_uri(const DynamoPlace& place);

}  // namespace virga
