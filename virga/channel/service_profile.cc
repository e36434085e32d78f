#include "virga/channel/service_profile.h"

#include <algorithm>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/units.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kOwn = "latency=";
constexpr std::string_view kHowOwn =
    "write it as latency=25ms,bandwidth=40MB, followed by ,polled or ,network if it is";

[[noreturn]] void refuse(std::string_view text, std::string_view reason) {
  throw Error(ErrorKind::kUsage, fmt::format("\"{}\" is no service: {}", text, reason), std::string(kHowOwn));
}

std::string_view set_of(const ServiceProfile& profile) noexcept {
  return profile.name.substr(0, profile.name.find(':'));
}

/// What `parse` makes of a word of `text`.
template <typename Parse>
auto parsed(std::string_view text, const Parse& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    refuse(text, error.what());
  }
}

ServiceProfile parse_own(std::string_view text) {
  ServiceProfile profile;
  std::optional<std::uint64_t> bytes;
  for (auto rest = text; !rest.empty();) {
    const auto end = std::min(rest.find(','), rest.size());
    const auto word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto equals = word.find('=');
    const auto name = word.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    if (name == "latency") {
      if (profile.latency > 0ns) refuse(text, "its latency is given twice");
      profile.latency = parsed(text, [&] { return parse_duration(value, "its latency"); });
      if (profile.latency <= 0ns || profile.latency > 1min) refuse(text, "its latency is not above 0 and up to 1min");
    } else if (name == "bandwidth") {
      if (bytes) refuse(text, "its bandwidth is given twice");
      bytes = parsed(text, [&] { return parse_bytes(value, "its bandwidth"); });
      if (*bytes < 1'000 || *bytes > 1'000'000'000'000) refuse(text, "its bandwidth is not 1kB to 1TB (a second)");
    } else if (word == "polled") {
      profile.polled = true;
    } else if (word == "network") {
      profile.straight = true;
    } else {
      refuse(text, fmt::format("what is \"{}\"?", word));
    }
  }
  if (!bytes) refuse(text, "its bandwidth is missing");
  if (profile.polled && profile.straight) refuse(text, "through a network nobody asks again and again");
  profile.bytes_per_second = static_cast<double>(*bytes);
  return profile;
}

}  // namespace

std::span<const ServiceProfile> service_profiles() {
  constexpr double kMegabyte = 1e6;
  static constexpr ServiceProfile kProfiles[] = {
      {"aws-2021:s3", "S3: 80 ms a request, 65 MB/s, asked again and again", 80ms, 65 * kMegabyte, true,
       "object-store"},
      {"aws-2021:cache.t3.medium", "ElastiCache on a cache.t3.medium: 10 ms, 630 MB/s", 10ms, 630 * kMegabyte, false,
       "redis"},
      {"aws-2021:cache.m5.large", "ElastiCache on a cache.m5.large: 10 ms, 1260 MB/s", 10ms, 1260 * kMegabyte, false,
       "redis"},
      {"aws-2021:t2.medium",
       "between virtual machines of type t2.medium: 0.5 ms, 120 MB/s",
       500us,
       120 * kMegabyte,
       false,
       {},
       true},
      {"aws-2021:c5.large",
       "between virtual machines of type c5.large: 0.15 ms, 225 MB/s",
       150us,
       225 * kMegabyte,
       false,
       {},
       true},
      {"ibm-2021:redis", "MLLess's Redis on a machine of its own: 1 ms, 125 MB/s (1 Gbit/s), both assumed", 1ms,
       125 * kMegabyte, false, "redis"},
  };
  return kProfiles;
}

ServiceProfile find_service_profile(std::string_view text) {
  if (text.starts_with(kOwn)) return parse_own(text);
  const auto profiles = service_profiles();
  const auto found = std::ranges::find(profiles, text, &ServiceProfile::name);
  if (found != profiles.end()) return *found;
  std::string all;
  for (const auto& profile : profiles) all += fmt::format("{}{}", all.empty() ? "" : ", ", profile.name);
  throw Error(ErrorKind::kUsage, fmt::format("there is no profile \"{}\" of a service", text), "there are " + all);
}

bool is_profile_set(std::string_view name) noexcept {
  return std::ranges::any_of(service_profiles(),
                             [name](const ServiceProfile& profile) { return set_of(profile) == name; });
}

const ServiceProfile* profile_in_set(std::string_view set, std::string_view service) noexcept {
  // LambdaML's caches ran on the same machines.
  const bool is_cache = service == "redis" || service == "memcached";
  const std::string_view found = set == "aws-2021" && is_cache ? "cache.t3.medium" : service;
  for (const auto& profile : service_profiles()) {
    if (set_of(profile) == set && profile.name.substr(set.size() + 1) == found) return &profile;
  }
  return nullptr;
}

}  // namespace virga
