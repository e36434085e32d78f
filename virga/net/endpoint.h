#pragma once

#include <string>
#include <string_view>

#include "virga/net/address.h"

namespace virga {

/// Where an HTTP service is.
struct Endpoint {
  Address address;
  std::string host;  ///< as in a Host header: "127.0.0.1:9000"; without the port where it is 80
  bool operator==(const Endpoint&) const = default;
};

/// Reads "http://host", "http://host:port", perhaps with a last '/'. Throws Error: kUsage, kUnsupported for https.
[[nodiscard]] Endpoint parse_endpoint(std::string_view text);

}  // namespace virga
