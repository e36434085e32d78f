#include "virga/base/units.h"

#include <tuple>

#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

TEST(Units, ReadsSizes) {
  EXPECT_EQ(parse_bytes("1769MB", "memory"), 1'769'000'000U);
  EXPECT_EQ(parse_bytes("8MiB", "memory"), 8U << 20);
  EXPECT_EQ(parse_bytes("1.5 GiB", "memory"), 3U << 29);
  EXPECT_EQ(parse_bytes("100", "memory"), 100U);
}

TEST(Units, ReadsDurations) {
  EXPECT_EQ(parse_duration("15min", "lifetime"), 15min);
  EXPECT_EQ(parse_duration("250ms", "lifetime"), 250ms);
  EXPECT_EQ(parse_duration("1.5h", "lifetime"), 90min);
  EXPECT_EQ(parse_duration("3", "lifetime"), 3s);
}

TEST(Units, RefusesWhatItDoesNotKnowAndNamesIt) {
  for (const auto* text : {"", "MB", "-1MB", "12 parsecs", "nan", "1e300GB", "inf"}) {
    EXPECT_THROW(std::ignore = parse_bytes(text, "memory"), Error) << text;
    EXPECT_THROW(std::ignore = parse_duration(text, "lifetime"), Error) << text;
  }
  try {
    std::ignore = parse_bytes("12 parsecs", "functions.memory");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "functions.memory: unknown unit 'parsecs' in '12 parsecs'");
  }
}

TEST(Units, PrintsForPeople) {
  EXPECT_EQ(format_bytes(312), "312 B");
  EXPECT_EQ(format_bytes(8U << 20), "8.0 MiB");
  EXPECT_EQ(format_duration(12ms), "12 ms");
  EXPECT_EQ(format_duration(200s), "3m 20s");
  EXPECT_EQ(format_duration(3725s), "1h 02m");
  EXPECT_EQ(format_seconds(0.012), "12 ms");
  EXPECT_EQ(format_seconds(200), "3m 20s");
  EXPECT_EQ(format_seconds(-1), format_seconds(0));
  EXPECT_EQ(format_seconds(1e300), format_seconds(9e9));
  EXPECT_EQ(format_count(1'234'567), "1,234,567");
  EXPECT_EQ(format_count(999), "999");
}

TEST(NearestWord, FindsATypoAndLeavesStrangersAlone) {
  const std::vector<std::string> known = {"learning_rate", "batch_size", "epochs"};
  EXPECT_EQ(nearest_word("learning-rate", known), "learning_rate");
  EXPECT_EQ(nearest_word("epoch", known), "epochs");
  EXPECT_EQ(nearest_word("epohcs", known), "epochs");  // swapped neighbours are one mistake
  EXPECT_EQ(nearest_word("colour", known), "");
}

}  // namespace
}  // namespace virga
