#pragma once

#include <chrono>
#include <span>
#include <string_view>

namespace virga {

/// How fast a service is for a function that uses it.
struct ServiceProfile {
  std::string_view name;  ///< "aws-2021:s3"; empty: one of the user's own
  std::string_view help;
  std::chrono::nanoseconds latency{0};  ///< of a request
  double bytes_per_second = 0;          ///< of a function, in each direction
  bool polled = false;                  ///< whoever waits asks again and again, else the service tells him
  std::string_view paid_as = {};        ///< PriceTable::services; empty: what the channel itself is paid as
  bool straight = false;                ///< a network between readers and writers: what is sent is received meanwhile
};

/// Those with names, which live as long as the program: LambdaML's constants ("aws-2021:...": Jiang et al., "Towards
/// Demystifying Serverless Machine Learning Training", SIGMOD 2021), and what MLLess's machines are assumed to reach
/// ("ibm-2021:..."), which were not published. None was verified against the service itself.
[[nodiscard]] std::span<const ServiceProfile> service_profiles();

/// The one of that name, or one of the user's own: "latency=25ms,bandwidth=40MB", followed by ",polled" or ",network"
/// where it is. A latency is above 0 and at most a minute, a bandwidth is 1 kB to 1 TB a second. Throws Error(kUsage):
/// for a name that there is none of, with all that there are.
[[nodiscard]] ServiceProfile find_service_profile(std::string_view text);

/// A set of profiles, by the part of their names before the ':', says how slow each service is.
[[nodiscard]] bool is_profile_set(std::string_view name) noexcept;
/// That of "s3", "redis", "memcached" or "dynamodb", or of a type of machine, in a set; null if the set has no figures
/// of it.
[[nodiscard]] const ServiceProfile* profile_in_set(std::string_view set, std::string_view service) noexcept;

}  // namespace virga
