#include "virga/batch/flagged_keys.h"

#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

TEST(FlaggedKeys, AreThoseWithAFlagOnEveryPath) {
  const Random random(1, Purpose::kTest);
  for (const std::uint32_t size : {0U, 1U, 15U, 16U, 17U, 48U, 1'003U}) {
    for (const std::uint32_t one_in : {1U, 2U, 10U, 1'000'000U}) {
      std::vector<std::uint8_t> flags;
      std::vector<std::uint32_t> keys, expected, expected_keys;
      for (std::uint32_t i = 0; i < size; ++i) {
        flags.push_back(random.below(one_in, 0, i) == 0 ? 1 : 0);
        keys.push_back(7 * i + 3);
        if (flags[i] == 0) continue;
        expected.push_back(i);
        expected_keys.push_back(keys[i]);
      }
      for (const auto find : {flagged_keys, flagged_keys_plain}) {
        std::vector<std::uint32_t> used(size + kFlaggedKeysSlack), used_keys(used);
        const auto count = find(flags, keys, used, used_keys);
        used.resize(count);
        used_keys.resize(count);
        EXPECT_EQ(used, expected);
        EXPECT_EQ(used_keys, expected_keys);
      }
    }
  }
}

}  // namespace
}  // namespace virga
