#include "virga/channel/service_profile.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

std::string why_refused(std::string_view text) {
  try {
    static_cast<void>(find_service_profile(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(error.remedy(), "");
    return error.what();
  }
  return "";
}

TEST(ServiceProfile, IsFoundByName) {
  for (const auto& profile : service_profiles()) {
    EXPECT_EQ(find_service_profile(profile.name).help, profile.help);
    EXPECT_GT(profile.latency, 0ns);
    EXPECT_GT(profile.bytes_per_second, 0);
  }
  EXPECT_THAT(why_refused("aws-2021:s4"), testing::HasSubstr("aws-2021:s4"));
}

TEST(ServiceProfile, BelongsToASetThatStandsForAllServices) {
  EXPECT_TRUE(is_profile_set("aws-2021"));
  EXPECT_TRUE(is_profile_set("ibm-2021"));
  EXPECT_FALSE(is_profile_set("aws-2021:s3"));
  EXPECT_FALSE(is_profile_set("aws"));
  const auto name = [](std::string_view set, std::string_view service) {
    const auto* profile = profile_in_set(set, service);
    return profile == nullptr ? "" : std::string(profile->name);
  };
  EXPECT_EQ(name("aws-2021", "s3"), "aws-2021:s3");
  EXPECT_EQ(name("aws-2021", "redis"), "aws-2021:cache.t3.medium");
  EXPECT_EQ(name("aws-2021", "memcached"), "aws-2021:cache.t3.medium");
  EXPECT_EQ(name("aws-2021", "dynamodb"), "");
  EXPECT_EQ(name("aws-2021", "c5.large"), "aws-2021:c5.large");
  EXPECT_EQ(name("ibm-2021", "redis"), "ibm-2021:redis");
  EXPECT_EQ(name("ibm-2021", "s3"), "");
  EXPECT_EQ(name("ibm-2021", "memcached"), "");
}

TEST(ServiceProfile, MayBeOnesOwn) {
  const auto told = find_service_profile("latency=25ms,bandwidth=40MB");
  EXPECT_EQ(told.latency, 25ms);
  EXPECT_EQ(told.bytes_per_second, 40e6);
  EXPECT_FALSE(told.polled);
  EXPECT_FALSE(told.straight);
  EXPECT_EQ(told.paid_as, "");
  EXPECT_TRUE(find_service_profile("latency=1s,polled,bandwidth=1kB").polled);
  const auto network = find_service_profile("latency=0.1ms,bandwidth=1GiB,network");
  EXPECT_TRUE(network.straight);
  EXPECT_EQ(network.latency, 100us);
}

TEST(ServiceProfile, OfOnesOwnIsRefusedWithTheReason) {
  using testing::HasSubstr;
  EXPECT_THAT(why_refused("latency=25ms"), HasSubstr("its bandwidth is missing"));
  EXPECT_THAT(why_refused("latency=,bandwidth=1MB"), HasSubstr("its latency"));
  EXPECT_THAT(why_refused("latency=0,bandwidth=1MB"), HasSubstr("above 0 and up to 1min"));
  EXPECT_THAT(why_refused("latency=2min,bandwidth=1MB"), HasSubstr("above 0 and up to 1min"));
  EXPECT_THAT(why_refused("latency=1ms,latency=1ms,bandwidth=1MB"), HasSubstr("given twice"));
  EXPECT_THAT(why_refused("latency=1ms,bandwidth=1MB,bandwidth=2MB"), HasSubstr("given twice"));
  EXPECT_THAT(why_refused("latency=1ms,bandwidth=1"), HasSubstr("1kB to 1TB"));
  EXPECT_THAT(why_refused("latency=1ms,bandwidth=fast"), HasSubstr("its bandwidth"));
  EXPECT_THAT(why_refused("latency=1ms,bandwidth=1MB,quick"), HasSubstr("what is \"quick\"?"));
  EXPECT_THAT(why_refused("latency=1ms,bandwidth=1MB,polled,network"), HasSubstr("nobody asks"));
}

}  // namespace
}  // namespace virga
