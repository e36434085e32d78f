#include "virga/data/decimal.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

std::string padded(const std::string& text) { return text + " " + std::string(kTextPadding, '\0'); }

TEST(Decimal, ReadsDigitsUpToTheFirstOtherByteOrToEight) {
  std::string text = "98765432109876543210";
  for (std::size_t length = 0; length <= text.size(); ++length) {
    for (const char end : {' ', ':', '/', '\0', '\n', '\x80', '\xFF', '\xB5', 'x'}) {
      const auto digits = text.substr(0, length);
      const auto buffer = digits + end + std::string(kTextPadding, '7');
      const auto run = read_digits(buffer.data());
      const auto first = digits.substr(0, 8);
      EXPECT_EQ(run.count, first.size());
      EXPECT_EQ(run.value, first.empty() ? 0U : static_cast<std::uint32_t>(std::stoul(first))) << digits;
    }
  }
}

/// Decimals as they stand in files: of any length, with and without sign, point and exponent.
std::vector<std::string> random_decimals() {
  const Random random(3, Purpose::kTest);
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    const auto w = random.words(0, i);
    const std::uint64_t digits = ((std::uint64_t{w[0]} << 32) | w[1]) >> (w[2] % 62);
    auto text = std::to_string(digits);
    const std::size_t decimals = (w[2] >> 8) % 18;
    if (text.size() <= decimals) text.insert(0, decimals + (w[3] & 1) - text.size(), '0');
    if ((w[2] & 0x10000) != 0) text.insert(text.size() - decimals, ".");
    if ((w[2] & 0x20000) != 0) text.insert(0, (w[2] & 0x40000) != 0 ? "-" : "+");
    if ((w[3] >> 28) == 0) text += fmt::format("e{}", static_cast<int>(w[3] % 90) - 50);
    texts.push_back(text);
  }
  return texts;
}

TEST(Decimal, FastAndSlowPathGiveTheCorrectlyRoundedFloat) {
  int fast = 0;
  for (const auto& text : random_decimals()) {
    const float expected = std::strtof(text.c_str(), nullptr);
    if (std::isfinite(expected)) {
      const auto slow = parse_float(text);
      ASSERT_EQ(slow.status, NumberStatus::kOk) << text;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(slow.value), std::bit_cast<std::uint32_t>(expected)) << text;
    }
    const auto buffer = padded(text);
    const char* p = buffer.data();
    float value = 0;
    if (!read_float_fast(p, value)) continue;
    ++fast;
    ASSERT_EQ(p - buffer.data(), static_cast<std::ptrdiff_t>(text.size())) << text;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected)) << text;
  }
  EXPECT_GT(fast, 50'000);
}

TEST(Decimal, RoundsHalfwayCasesByAllTheirDigits) {
  // 1 + 2^-24 lies between two floats: to even, unless a later digit decides.
  EXPECT_EQ(parse_float("1.000000059604644775390625").value, 1.0F);
  EXPECT_EQ(parse_float("1.0000000596046447753906251").value, std::nextafter(1.0F, 2.0F));
  EXPECT_EQ(parse_float("16777217").value, 16777216.0F);
  for (const auto* text : {"1.000000059604644", "16777217.", "16777217", "0.00000000000001"}) {
    const auto buffer = padded(text);
    const char* p = buffer.data();
    float value = 0;
    if (read_float_fast(p, value)) {
      EXPECT_EQ(value, std::strtof(text, nullptr)) << text;
    }
  }
}

TEST(Decimal, TellsWhatIsWrong) {
  for (const auto* text : {"", "-", "+", "x", "1x", "1..2", "--1", "+-1", "1e", "0x10", "1,5", " 1", "1 "}) {
    EXPECT_EQ(parse_float(text).status, NumberStatus::kMalformed) << text;
    EXPECT_EQ(parse_double(text).status, NumberStatus::kMalformed) << text;
  }
  for (const auto* text : {"nan", "NaN", "inf", "-inf", "Infinity", "-nan"}) {
    EXPECT_EQ(parse_float(text).status, NumberStatus::kNotFinite) << text;
  }
  EXPECT_EQ(parse_float("1e39").status, NumberStatus::kTooLarge);
  EXPECT_EQ(parse_float("-3.5e38").status, NumberStatus::kTooLarge);
  EXPECT_EQ(parse_float("1" + std::string(400, '0')).status, NumberStatus::kTooLarge);
  EXPECT_EQ(parse_double("1e999999999999999999999").status, NumberStatus::kTooLarge);
  EXPECT_EQ(parse_double("1e39").value, 1e39);
}

TEST(Decimal, TakesWhatIsNearerToZeroThanAnyNumberAsZero) {
  for (const auto& text : {std::string("1e-50"), std::string("-1e-500"), "0." + std::string(400, '0') + "1",
                           std::string("1e-99999999999999999999"), std::string("0e99999")}) {
    const auto parsed = parse_float(text);
    EXPECT_EQ(parsed.status, NumberStatus::kOk) << text;
    EXPECT_EQ(parsed.value, 0.0F) << text;
  }
}

}  // namespace
}  // namespace virga
