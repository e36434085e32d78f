#include "virga/batch/bit_rank.h"

#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

TEST(BitRank, FindsThePlaceOfEachBitOfABitmap) {
  const Random random(1, Purpose::kTest);
  for (std::uint32_t density = 0; density < 4; ++density) {
    std::vector<std::uint64_t> words(300);
    std::vector<std::uint32_t> bits, expected;
    std::uint32_t set = 0;
    for (std::uint32_t bit = 0; bit < 64 * 300; ++bit) {
      const bool is_set = density == 3 || random.below(1U << (3 * density), density, bit) == 0;  // 1, 1/8, 1/64, 1
      bits.push_back(bit);  // places of bits that are not set are counted likewise
      expected.push_back(set);
      if (is_set) words[bit / 64] |= std::uint64_t{1} << (bit % 64), ++set;
    }
    std::vector<std::uint32_t> rank(words.size()), places(bits.size());
    EXPECT_EQ(rank_words(words, rank), set);
    find_places(words, rank, bits, places);
    EXPECT_EQ(places, expected);
  }
}

TEST(BitRank, HasNothingToCountInAnEmptyBitmap) {
  EXPECT_EQ(rank_words({}, {}), 0U);
  find_places({}, {}, {}, {});
}

}  // namespace
}  // namespace virga
