#include "virga/channel/open_channel.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/directory_channel.h"
#include "virga/channel/directory_register.h"
#include "virga/channel/dynamo_bin.h"
#include "virga/channel/dynamo_register.h"
#include "virga/channel/memcached_bin.h"
#include "virga/channel/memcached_register.h"
#include "virga/channel/polled_channel.h"
#include "virga/channel/ps_channel.h"
#include "virga/channel/ps_register.h"
#include "virga/channel/redis_channel.h"
#include "virga/channel/redis_register.h"
#include "virga/channel/s3_bin.h"
#include "virga/channel/s3_register.h"
#include "virga/net/endpoint.h"
#include "virga/net/http.h"

namespace virga {
namespace {

constexpr std::string_view kDirectory = "directory:";
constexpr std::string_view kPs = "ps:";
constexpr std::string_view kMemcached = "memcached:";
constexpr std::string_view kDynamo = "dynamodb:";
constexpr std::string_view kS3 = "s3://";

PsClientOptions ps_options(std::string_view uri, std::string_view job, const std::string& token) {
  return {.address = std::string(uri.substr(kPs.size())), .token = token, .job = std::string(job)};
}

std::shared_ptr<DynamoCalls> dynamo_calls(std::string_view uri, std::string_view job, const std::string& token) {
  AwsCredentials::Options credentials;
  if (!token.empty()) credentials.environment = environment_of_token(token);
  return std::make_shared<DynamoCalls>(
      DynamoCalls::Options{.place = parse_dynamo_uri(uri, process_environment()),
                           .credentials = std::make_shared<AwsCredentials>(std::move(credentials)),
                           .seed = std::hash<std::string_view>()(job)});
}

std::shared_ptr<S3Client> s3_client(std::string_view uri, std::string_view job, const std::string& token) {
  AwsCredentials::Options credentials;
  if (!token.empty()) credentials.environment = environment_of_token(token);
  return std::make_shared<S3Client>(
      S3Client::Options{.place = parse_s3_uri(uri, process_environment()),
                        .credentials = std::make_shared<AwsCredentials>(std::move(credentials)),
                        .seed = std::hash<std::string_view>()(job)});
}

/// With TLS the server keeps its name, to which it must prove its right.
Endpoint moved(const Endpoint& endpoint, const Address& address) {
  return {.address = address, .host = address.tls ? endpoint.host : host_header(address)};
}

[[noreturn]] void throw_no_channel(std::string_view uri) {
  throw Error(uri.find(':') == std::string_view::npos ? ErrorKind::kUsage : ErrorKind::kUnsupported,
              fmt::format("there is no channel \"{}\"", uri),
              "use directory:PATH, ps:ADDRESS, redis://HOST:PORT, memcached://HOST:PORT, dynamodb://TABLE/PREFIX or "
              "s3://BUCKET/PREFIX");
}

}  // namespace

std::unique_ptr<Channel> open_channel(std::string_view uri, std::string_view job, const std::string& token) {
  if (uri.starts_with(kDirectory) && uri.size() > kDirectory.size()) {
    return std::make_unique<DirectoryChannel>(std::filesystem::path(uri.substr(kDirectory.size())) / job);
  }
  if (uri.starts_with(kPs)) {
    return std::make_unique<PsChannel>(std::make_shared<PsClient>(ps_options(uri, job, token)));
  }
  if (is_redis_uri(uri)) {
    return std::make_unique<RedisChannel>(std::make_shared<RedisClient>(parse_redis_uri(uri), token), job);
  }
  if (uri.starts_with(kMemcached)) {
    auto bin = std::make_shared<MemcachedBin>(std::make_shared<MemcachedClient>(uri, token), job);
    return std::make_unique<PolledChannel>(std::move(bin));
  }
  if (uri.starts_with(kDynamo)) {
    return std::make_unique<PolledChannel>(std::make_shared<DynamoBin>(dynamo_calls(uri, job, token), job));
  }
  if (uri.starts_with(kS3)) {
    return std::make_unique<PolledChannel>(std::make_shared<S3Bin>(s3_client(uri, job, token), job));
  }
  if (is_direct_uri(uri)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("\"{}\" is a channel whose ends are workers: nobody else opens it", uri),
                "let virga train use it (exchange.channel), or name a store here");
  }
  throw_no_channel(uri);
}

std::unique_ptr<Register> open_register(std::string_view uri, std::string_view job, const std::string& token) {
  if (uri.starts_with(kDirectory) && uri.size() > kDirectory.size()) {
    const std::filesystem::path folder(uri.substr(kDirectory.size()));
    return std::make_unique<DirectoryRegister>(folder / (std::string(job) + ".registers"));
  }
  if (uri.starts_with(kPs)) {
    return std::make_unique<PsRegister>(std::make_shared<PsClient>(ps_options(uri, job, token)));
  }
  if (is_redis_uri(uri)) {
    return std::make_unique<RedisRegister>(std::make_shared<RedisClient>(parse_redis_uri(uri), token), job);
  }
  if (uri.starts_with(kMemcached)) {
    return std::make_unique<MemcachedRegister>(std::make_shared<MemcachedClient>(uri, token), job);
  }
  if (uri.starts_with(kDynamo)) return std::make_unique<DynamoRegister>(dynamo_calls(uri, job, token), job);
  if (uri.starts_with(kS3)) return std::make_unique<S3Register>(s3_client(uri, job, token), job);
  throw_no_channel(uri);
}

bool is_store_uri(std::string_view uri) noexcept {
  return uri.starts_with(kPs) || is_redis_uri(uri) || uri.starts_with(kMemcached) || uri.starts_with(kDynamo) ||
         uri.starts_with(kS3);
}

std::optional<std::string> paid_service_of(std::string_view uri) {
  if (is_redis_uri(uri)) return "redis";
  if (uri.starts_with(kMemcached)) return "memcached";
  if (uri.starts_with(kDynamo)) return "dynamodb";
  if (uri.starts_with(kS3)) return "object-store";
  return std::nullopt;
}

void ask_for_channel(std::string_view uri, const std::string& token, const Wait& wait) {
  if (uri.starts_with(kPs)) PsClient(ps_options(uri, "", token)).ping(wait);
  if (is_redis_uri(uri)) RedisClient(parse_redis_uri(uri), token).check_server(wait);
  if (uri.starts_with(kMemcached)) static_cast<void>(MemcachedClient(uri, token).state(wait));
  if (uri.starts_with(kDynamo)) DynamoBin(dynamo_calls(uri, "", token), "").check_table(wait);
  if (uri.starts_with(kS3)) S3Bin(s3_client(uri, "", token), "").check_place(wait);
}

Environment environment_of_token(const std::string& token) {
  return [token](const std::string& name) -> std::optional<std::string> {
    const auto first = token.find(':');
    const auto second = std::min(token.find(':', first + 1), token.size());
    if (name == "AWS_ACCESS_KEY_ID") return percent_decode(token.substr(0, first));
    if (first == std::string::npos) return std::nullopt;
    if (name == "AWS_SECRET_ACCESS_KEY") return token.substr(first + 1, second - first - 1);
    if (name == "AWS_SESSION_TOKEN" && second < token.size()) return token.substr(second + 1);
    return std::nullopt;
  };
}

std::optional<Address> tcp_address_of_channel(std::string_view uri) {
  std::optional<Address> address;
  if (uri.starts_with(kPs)) address = parse_address(uri.substr(kPs.size()));
  if (is_redis_uri(uri)) address = parse_redis_uri(uri).address;
  if (uri.starts_with(kMemcached)) address = parse_memcached_uri(uri);
  if (uri.starts_with(kDynamo)) address = parse_dynamo_uri(uri, process_environment()).endpoint.address;
  if (uri.starts_with(kS3)) address = parse_s3_uri(uri, process_environment()).endpoint.address;
  if (address && address->kind != Address::Kind::kTcp) return std::nullopt;
  return address;
}

std::string channel_at(std::string_view uri, const Address& address) {
  if (uri.starts_with(kMemcached)) return "memcached://" + to_string(address).substr(std::string_view("tcp:").size());
  if (uri.starts_with(kDynamo)) {
    auto place = parse_dynamo_uri(uri, process_environment());
    place.endpoint = moved(place.endpoint, address);
    return full_dynamo_uri(place);
  }
  if (uri.starts_with(kS3)) {
    auto place = parse_s3_uri(uri, process_environment());
    place.endpoint = moved(place.endpoint, address);
    if (!address.tls) place.path_style = true;  // the bucket's name and this address make no host
    return full_s3_uri(place);
  }
  if (!is_redis_uri(uri)) return fmt::format("{}{}", kPs, to_string(address));
  auto place = parse_redis_uri(uri);
  place.address = address;
  return to_string(place);
}

std::string token_for_functions(std::string_view uri, const std::string& token, const Wait& wait) {
  if ((!uri.starts_with(kDynamo) && !uri.starts_with(kS3)) || !token.empty()) return token;
  const auto found = AwsCredentials(AwsCredentials::Options{}).get(wait.deadline);
  return fmt::format("{}:{}{}{}", percent_encode(found.access_key_id), found.secret_access_key,
                     found.session_token.empty() ? "" : ":", found.session_token);
}

}  // namespace virga
