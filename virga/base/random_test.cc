#include "virga/base/random.h"

#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>

namespace virga {
namespace {

TEST(Philox, GivesThePublishedKnownAnswers) {
  // Known-answer vectors of the Random123 distribution, philox4x32 with 10 rounds.
  EXPECT_THAT(philox4x32({0, 0, 0, 0}, {0, 0}),
              testing::ElementsAre(0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U));
  EXPECT_THAT(philox4x32({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
              testing::ElementsAre(0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU));
  EXPECT_THAT(philox4x32({0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U}, {0xA4093822U, 0x299F31D0U}),
              testing::ElementsAre(0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U));
}

TEST(Random, IsAFunctionOfItsArgumentsAlone) {
  const Random a(7, Purpose::kShuffle);
  EXPECT_EQ(a.bits(3, 99), Random(7, Purpose::kShuffle).bits(3, 99));
  EXPECT_NE(a.bits(3, 99), Random(8, Purpose::kShuffle).bits(3, 99));
  EXPECT_NE(a.bits(3, 99), Random(7, Purpose::kSplit).bits(3, 99));
  EXPECT_NE(a.bits(3, 99), a.bits(4, 99));
  EXPECT_NE(a.bits(3, 99), a.bits(3, 100));
  EXPECT_NE(a.bits(3, 99), a.bits(3, 99, 1));
}

TEST(Random, IsUniform) {
  const Random random(1, Purpose::kTest);
  constexpr int kCount = 100'000;
  double sum = 0;
  std::array<int, 10> histogram{};
  for (int i = 0; i < kCount; ++i) {
    sum += random.uniform(0, static_cast<std::uint64_t>(i));
    ++histogram[random.below(10, 1, static_cast<std::uint64_t>(i))];
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 * 0.2887 / 316);  // five standard errors
  EXPECT_THAT(histogram, testing::Each(testing::AllOf(testing::Gt(9'500), testing::Lt(10'500))));
}

TEST(Permutation, HoldsEachNumberOnceAndChangesWithTheEpoch) {
  const Random random(1, Purpose::kSchedule);
  auto first = permutation(1000, random, 0);
  EXPECT_NE(first, permutation(1000, random, 1));
  std::ranges::sort(first);
  std::vector<std::uint32_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0U);
  EXPECT_EQ(first, expected);
}

}  // namespace
}  // namespace virga
