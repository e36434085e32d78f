#include "virga/batch/key_overlap.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using Keys = std::vector<std::uint32_t>;

Keys some_keys(const Random& random, std::uint32_t stream, std::uint32_t count, std::uint32_t below) {
  std::set<std::uint32_t> keys;
  for (std::uint32_t i = 0; i < count; ++i) {
    keys.insert(static_cast<std::uint32_t>(random.below(below, stream, i)));
  }
  return {keys.begin(), keys.end()};
}

Keys at(const Keys& keys, std::span<const std::uint32_t> positions) {
  Keys some;
  for (const auto position : positions) some.push_back(keys.at(position));
  return some;
}

Keys list(std::span<const std::uint32_t> keys) { return {keys.begin(), keys.end()}; }

Keys only_in(const Keys& keys, const Keys& others) {
  const std::set<std::uint32_t> known(others.begin(), others.end());
  Keys only;
  for (const auto key : keys) {
    if (!known.contains(key)) only.push_back(key);
  }
  return only;
}

TEST(KeyOverlap, SaysWhatStaysWhatLeavesAndWhatArrives) {
  const Random random(4, Purpose::kTest);
  KeyOverlap overlap;  // its memory grows and is then used for less
  std::uint32_t stream = 0;
  for (const std::uint32_t of_before : {0U, 1U, 30U, 700U, 5U}) {
    for (const std::uint32_t of_after : {0U, 1U, 30U, 700U, 5U}) {
      for (const std::uint32_t below : {3U, 60U, 1'000U}) {
        const auto before = some_keys(random, ++stream, of_before, below);
        const auto after = some_keys(random, ++stream, of_after, below);
        overlap.find(before, after);
        EXPECT_EQ(at(before, overlap.leaving()), only_in(before, after));
        EXPECT_EQ(at(after, overlap.arriving()), only_in(after, before));
        EXPECT_EQ(at(before, overlap.leaving()), list(overlap.leaving_keys()));
        EXPECT_EQ(at(after, overlap.arriving()), list(overlap.arriving_keys()));
        EXPECT_EQ(at(before, overlap.kept_before()), at(after, overlap.kept_after()));
        EXPECT_EQ(at(before, overlap.kept_before()), list(overlap.kept_keys()));
        EXPECT_EQ(overlap.kept_before().size() + overlap.leaving().size(), before.size());
        EXPECT_EQ(overlap.kept_after().size() + overlap.arriving().size(), after.size());
      }
    }
  }
}

}  // namespace
}  // namespace virga
