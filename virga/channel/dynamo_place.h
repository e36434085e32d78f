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

/// Reads "dynamodb://TABLE/PREFIX?endpoint=http://HOST:PORT&region=REGION". What is not said there is looked for where
/// the AWS tools do (aws_region(), aws_endpoint()). Throws Error: kUsage, kUnsupported for https.
[[nodiscard]] DynamoPlace parse_dynamo_uri(std::string_view uri, const Environment& environment);

}  // namespace virga
