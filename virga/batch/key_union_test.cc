#include "virga/batch/key_union.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using Keys = std::vector<std::uint32_t>;

TEST(KeyUnion, IsTheUnionOfAnyNumberOfListsAndKnowsThePlaceOfEachItem) {
  const Random random(3, Purpose::kTest);
  KeyUnion merged;
  std::uint32_t stream = 0;
  for (const std::size_t lists : {0U, 1U, 2U, 3U, 4U, 5U, 8U, 13U}) {
    for (const std::uint32_t most : {0U, 1U, 40U, 900U}) {
      std::vector<Keys> items;
      std::set<std::uint32_t> expected;
      for (std::size_t l = 0; l < lists; ++l) {
        ++stream;
        std::set<std::uint32_t> list;
        // Some lists are empty, the others of very different lengths.
        const auto count = l % 3 == 2 ? 0 : random.below(most + 1, stream, 1'000'000);
        for (std::uint32_t i = 0; i < count; ++i) {
          list.insert(static_cast<std::uint32_t>(random.below(1'200, stream, i)));
        }
        expected.insert(list.begin(), list.end());
        items.emplace_back(list.begin(), list.end());
      }
      const std::vector<std::span<const std::uint32_t>> views(items.begin(), items.end());
      merged.merge(views);
      ASSERT_EQ(Keys(merged.keys().begin(), merged.keys().end()), Keys(expected.begin(), expected.end()))
          << lists << " lists";
      for (std::size_t l = 0; l < lists; ++l) {
        ASSERT_EQ(merged.places(l).size(), items[l].size());
        for (std::size_t i = 0; i < items[l].size(); ++i) ASSERT_EQ(merged.keys()[merged.places(l)[i]], items[l][i]);
      }
    }
  }
}

}  // namespace
}  // namespace virga
