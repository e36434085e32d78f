#pragma once

#include <string>
#include <string_view>

#include "virga/net/address.h"

namespace virga {

/// Where an HTTP service is.
struct Endpoint {
  Address address;   ///< with TLS for https
  std::string host;  ///< as in a Host header: "127.0.0.1:9000"; without the port where it is the scheme's own
  bool operator==(const Endpoint&) const = default;
};

/// Reads "http://host", "https://host:port", perhaps with a last '/'. `authorities`: TlsPeer::authorities, for https.
/// Throws Error(kUsage).
[[nodiscard]] Endpoint parse_endpoint(std::string_view text, const std::string& authorities = {});
/// What parse_endpoint() reads; not the authorities.
[[nodiscard]] std::string url_of(const Endpoint& endpoint);
/// The Host header for a server at `address`.
[[nodiscard]] std::string host_header(const Address& address);

/// The parameters that URIs of servers behind TLS have besides their own: "ca", the file of an authority, and "via",
/// the number of a host that is connected to in place of the one named.
struct TlsParameters {
  std::string ca;
  std::string via;
};
/// Takes them into account. Throws Error(kUsage) if one is given and `address` has no TLS, or for a file that is not
/// named from / on.
void apply_tls(const TlsParameters& parameters, Address& address);
/// "ca=...&via=...", percent-encoded, each after `separator` and then '&': what apply_tls() did, but for what is not
/// needed.
[[nodiscard]] std::string tls_parameters_of(const Address& address, char separator);

}  // namespace virga
