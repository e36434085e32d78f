#include "virga/channel/dynamo_place.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/aws_profile.h"
#include "virga/net/http.h"
#include "virga/storage/object_store.h"

namespace virga {
namespace {

constexpr std::string_view kDynamoScheme = "dynamodb://";
constexpr std::size_t kLongestDynamoPrefix = 200;

Error wrong_dynamo_uri(std::string_view uri, std::string_view why) {
  return {ErrorKind::kUsage, fmt::format("\"{}\": {}", uri.substr(0, uri.find('?')).substr(0, 200), why),
          "write dynamodb://TABLE/PREFIX, perhaps with ?region=us-east-1&endpoint=https://host:port&ca=FILE"};
}

bool has_only(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

}  // namespace

DynamoPlace parse_dynamo_uri(std::string_view uri, const Environment& environment) {
  const auto where = uri.substr(0, uri.find('?'));
  if (!where.starts_with(kDynamoScheme)) throw wrong_dynamo_uri(uri, "not the URI of a table of DynamoDB");
  if (where.find('@') != std::string_view::npos) {
    throw Error(ErrorKind::kUsage, "the URI of a table of DynamoDB has no user and no password in it",
                "credentials come from the environment or from ~/.aws/credentials");
  }
  const auto rest = where.substr(kDynamoScheme.size());
  DynamoPlace place;
  place.table = rest.substr(0, rest.find('/'));
  if (place.table.size() < 3 || place.table.size() > 255 || !has_only(place.table, "_.-")) {
    throw wrong_dynamo_uri(uri, "a table's name has 3 to 255 characters of a-z A-Z 0-9 _ . -");
  }
  place.prefix = rest.substr(std::min(rest.size(), place.table.size() + 1));
  while (place.prefix.ends_with('/')) place.prefix.pop_back();
  place.uri = fmt::format("{}{}{}{}", kDynamoScheme, place.table, place.prefix.empty() ? "" : "/", place.prefix);
  if (!place.prefix.empty()) {
    if (!is_object_name(place.prefix) || place.prefix.size() > kLongestDynamoPrefix) {
      throw wrong_dynamo_uri(uri, fmt::format("a prefix has at most {} bytes, in parts between single '/' that do not "
                                              "begin with '.'",
                                              kLongestDynamoPrefix));
    }
    place.prefix = percent_encode(place.prefix, /*keep_slash=*/true) + '/';
  }
  std::string endpoint;
  TlsParameters tls;
  try {
    for (const auto& [name, value] : query_of(uri)) {
      std::string* const to = name == "endpoint" ? &endpoint
                              : name == "region" ? &place.region
                              : name == "ca"     ? &tls.ca
                              : name == "via"    ? &tls.via
                                                 : nullptr;
      if (to == nullptr) throw wrong_dynamo_uri(uri, fmt::format("\"{}\" is no parameter of it", name.substr(0, 40)));
      if (!to->empty() || value.empty()) throw wrong_dynamo_uri(uri, name + " is empty or given twice");
      *to = value;
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage) throw;
    throw wrong_dynamo_uri(uri, "its parameters are not percent-encoded");
  }
  if (endpoint.empty()) endpoint = aws_endpoint(environment, "dynamodb").value_or("");
  if (place.region.empty()) place.region = aws_region(environment).value_or(endpoint.empty() ? "" : "us-east-1");
  if (place.region.empty()) {
    throw Error(
        ErrorKind::kUsage, place.uri + ": no region is known",
        "set AWS_REGION, or write ?region=us-east-1; another service than AWS has an ?endpoint=http://host:port");
  }
  if (!has_only(place.region, "-")) throw wrong_dynamo_uri(uri, "not the name of a region");
  if (endpoint.empty()) endpoint = aws_url("dynamodb", place.region);
  place.endpoint = parse_aws_endpoint(endpoint, environment);
  apply_tls(tls, place.endpoint.address);
  return place;
}

std::string full_dynamo_uri(const DynamoPlace& place) {
  const auto& endpoint = place.endpoint;
  return fmt::format("{}?region={}&endpoint={}://{}{}", place.uri, place.region,
                     endpoint.address.tls ? "https" : "http", percent_encode(endpoint.host),
                     tls_parameters_of(endpoint.address, '&'));
}

}  // namespace virga
