#include "virga/storage/s3_place.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/aws_profile.h"
#include "virga/net/http.h"
#include "virga/storage/object_store.h"

namespace virga {
namespace {

constexpr std::string_view kScheme = "s3://";
constexpr std::size_t kLongestPrefix = 100;  // a key has at most 1,024 bytes, an object's name 900

Error wrong_uri(std::string_view uri, std::string_view why) {
  // What follows the question mark is not repeated: somebody may have put a secret there.
  return {ErrorKind::kUsage, fmt::format("{}: {}", uri.substr(0, std::min<std::size_t>(uri.find('?'), 300)), why),
          "write s3://bucket/prefix, perhaps with "
          "?endpoint=https://host:port&region=us-east-1&style=path&bodies=signed&ca=FILE"};
}

bool is_lower_or_digit(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/// As S3 has them (AWS documentation, "Bucket naming rules").
bool is_bucket_name(std::string_view name) noexcept {
  return name.size() >= 3 && name.size() <= 63 && is_lower_or_digit(name.front()) && is_lower_or_digit(name.back()) &&
         std::ranges::all_of(name, [](char c) { return is_lower_or_digit(c) || c == '-' || c == '.'; }) &&
         name.find("..") == std::string_view::npos;
}

/// It becomes part of a host's name and of a signature.
bool is_region(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 63 &&
         std::ranges::all_of(name, [](char c) { return is_lower_or_digit(c) || c == '-'; });
}

struct Parameters {
  std::string endpoint, region, style, bodies;
  TlsParameters tls;
};

Parameters parameters_of(std::string_view uri) {
  Parameters given;
  for (const auto& [name, value] : query_of(uri)) {
    std::string* to = name == "endpoint" ? &given.endpoint
                      : name == "region" ? &given.region
                      : name == "style"  ? &given.style
                      : name == "bodies" ? &given.bodies
                      : name == "ca"     ? &given.tls.ca
                      : name == "via"    ? &given.tls.via
                                         : nullptr;
    if (to == nullptr) throw wrong_uri(uri, fmt::format("\"{}\" is no parameter of it", name.substr(0, 40)));
    if (!to->empty() || value.empty()) throw wrong_uri(uri, fmt::format("{} is empty or given twice", name));
    *to = value;
  }
  return given;
}

}  // namespace

std::string S3Place::path_of(std::string_view key) const {
  return (path_style ? "/" + bucket : "") + "/" + percent_encode(prefix + std::string(key), /*keep_slash=*/true);
}

S3Place parse_s3_uri(std::string_view uri, const Environment& environment) {
  const auto place = uri.substr(0, uri.find('?'));
  if (!place.starts_with(kScheme)) throw wrong_uri(uri, "not the URI of a place at S3");
  if (place.find('@') != std::string_view::npos) {
    throw Error(ErrorKind::kUsage, "the URI of a place at S3 has no user and no password in it",
                "credentials come from the environment or from ~/.aws/credentials");
  }
  const auto rest = place.substr(kScheme.size());
  S3Place result;
  result.bucket = rest.substr(0, rest.find('/'));
  if (!is_bucket_name(result.bucket)) {
    throw wrong_uri(uri,
                    "a bucket's name has 3 to 63 characters of a-z 0-9 - . and begins and ends with one of a-z 0-9");
  }
  result.prefix = rest.substr(std::min(rest.size(), result.bucket.size() + 1));
  while (result.prefix.ends_with('/')) result.prefix.pop_back();
  result.uri = fmt::format("{}{}{}{}", kScheme, result.bucket, result.prefix.empty() ? "" : "/", result.prefix);
  if (!result.prefix.empty()) {
    if (!is_object_name(result.prefix) || result.prefix.size() > kLongestPrefix) {
      throw wrong_uri(uri, fmt::format("a prefix has at most {} bytes, in parts between single '/' that do not begin "
                                       "with '.'",
                                       kLongestPrefix));
    }
    result.prefix += '/';
  }

  Parameters given;
  try {
    given = parameters_of(uri);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage) throw;
    throw wrong_uri(uri, "its parameters are not percent-encoded");
  }
  if (given.endpoint.empty()) given.endpoint = aws_endpoint(environment, "s3").value_or("");
  if (given.region.empty()) given.region = aws_region(environment).value_or("");
  if (given.endpoint.empty() && given.region.empty()) {
    throw Error(
        ErrorKind::kUsage, result.uri + ": no region is known",
        "set AWS_REGION, or write ?region=us-east-1; another service than AWS has an ?endpoint=http://host:port");
  }
  result.region = given.region.empty() ? "us-east-1" : given.region;
  if (!is_region(result.region)) throw wrong_uri(uri, "not the name of a region");
  if (!given.style.empty() && given.style != "path" && given.style != "virtual") {
    throw wrong_uri(uri, "style is path or virtual");
  }
  if (!given.bodies.empty() && given.bodies != "signed" && given.bodies != "unsigned") {
    throw wrong_uri(uri, "bodies are signed or unsigned");
  }
  const bool is_aws = given.endpoint.empty();
  if (is_aws) given.endpoint = aws_url("s3", result.region);
  result.endpoint = parse_aws_endpoint(given.endpoint, environment);
  // A certificate for *.s3.REGION.amazonaws.com is for names without a further dot.
  const bool is_virtual_by_itself = is_aws && result.bucket.find('.') == std::string::npos;
  result.path_style = given.style.empty() ? !is_virtual_by_itself : given.style == "path";
  auto& address = result.endpoint.address;
  result.signs_bodies = given.bodies.empty() ? !address.tls : given.bodies == "signed";
  if (!result.path_style) {
    result.endpoint.host = result.bucket + "." + result.endpoint.host;
    address.host = result.bucket + "." + address.host;
    if (address.tls) address.tls->name = address.host;
  }
  apply_tls(given.tls, address);
  return result;
}

std::string full_s3_uri(const S3Place& place) {
  auto host = place.endpoint.host;
  if (!place.path_style) host.erase(0, place.bucket.size() + 1);
  return fmt::format("{}?endpoint={}://{}&region={}&style={}&bodies={}{}", place.uri,
                     place.endpoint.address.tls ? "https" : "http", percent_encode(host), place.region,
                     place.path_style ? "path" : "virtual", place.signs_bodies ? "signed" : "unsigned",
                     tls_parameters_of(place.endpoint.address, '&'));
}

}  // namespace virga
