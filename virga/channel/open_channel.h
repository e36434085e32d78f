#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/environment.h"
#include "virga/channel/channel.h"
#include "virga/channel/register.h"
#include "virga/net/address.h"

namespace virga {

/// The channel at `uri` for `job`: "directory:PATH"; "ps:" and the address of a virga-ps ("ps:unix:PATH",
/// "ps:tcp:HOST:PORT"); that of a Redis server ("redis://HOST:PORT", see RedisPlace), of a Memcached
/// ("memcached://HOST:PORT", see parse_memcached_uri(); it is asked for its limits here), or of a table of DynamoDB
/// ("dynamodb://TABLE/PREFIX", see parse_dynamo_uri()), or a place at S3 ("s3://BUCKET/PREFIX", see parse_s3_uri()).
/// `token` is for those that want one: a Redis server's password, Memcached's "user:password", for DynamoDB and S3
/// "ID:SECRET" or "ID:SECRET:SESSION" (the ID percent-encoded), without which credentials are found as AwsCredentials
/// does. Throws Error(kUsage) for a malformed uri, kUnsupported for a kind that is not built and for "direct",
/// whose ends are workers (DirectChannel: each knows who it is, and the registers in which the others are found), and
/// what connecting throws.
[[nodiscard]] std::unique_ptr<Channel> open_channel(std::string_view uri, std::string_view job,
                                                    const std::string& token);

/// The registers of `job` in the same store; of a directory, in a folder beside its messages. Throws likewise.
[[nodiscard]] std::unique_ptr<Register> open_register(std::string_view uri, std::string_view job,
                                                      const std::string& token);

/// Does `uri` claim to be one of a store that somebody else runs (open_channel(), but for a directory)?
[[nodiscard]] bool is_store_uri(std::string_view uri) noexcept;
/// What the price table calls that store; nothing for a virga-ps, which costs what its machine does, and a directory.
[[nodiscard]] std::optional<std::string> paid_service_of(std::string_view uri);

/// Asks the store behind `uri` whether it is there, takes `token` and can be used. Does nothing for a directory. Throws
/// as open_channel(), and what the store answers.
void ask_for_channel(std::string_view uri, const std::string& token, const Wait& wait);

/// What functions of this machine are given to open the channel at `uri`, where this process uses `token`: the same, or
/// its credentials for AWS, which functions do not find by themselves here. A secret.
[[nodiscard]] std::string token_for_functions(std::string_view uri, const std::string& token, const Wait& wait);

/// What token_for_functions() gives for AWS, as the variables in which such credentials stand.
[[nodiscard]] Environment environment_of_token(const std::string& token);

/// Where the store behind `uri` listens, if that is a TCP address.
[[nodiscard]] std::optional<Address> tcp_address_of_channel(std::string_view uri);
/// `uri`, whose store listens at `address`: tcp_address_of_channel(), but for its host's name, which may have become a
/// number, and its authorities.
[[nodiscard]] std::string channel_at(std::string_view uri, const Address& address);

}  // namespace virga
