#include "virga/ps/message_store.h"

#include <gmock/gmock.h>

namespace virga {
namespace {

using testing::Optional;

SharedBytes bytes(std::string_view text) { return SharedBytes::copy_of(as_bytes(text)); }

PsKey key(std::uint32_t source, std::uint64_t round) { return {.view = 1, .source = source, .round = round}; }

TEST(MessageStore, StoresNothingOfAPutThatConflicts) {
  MessageStore store;
  ASSERT_EQ(store.put({{key(0, 1), bytes("old")}}), std::nullopt);
  EXPECT_THAT(store.put({{key(0, 0), bytes("new")}, {key(0, 1), bytes("other")}}), Optional(key(0, 1)));
  EXPECT_EQ(store.messages(), 1U);
  EXPECT_EQ(store.bytes(), 3U);
  EXPECT_EQ(store.find(key(0, 0)), nullptr);
}

TEST(MessageStore, CountsWhatItHolds) {
  MessageStore store;
  EXPECT_EQ(store.put({{key(0, 1), bytes("abc")}, {key(1, 1), bytes("")}, {key(0, 2), bytes("de")}}), std::nullopt);
  EXPECT_EQ(store.put({{key(0, 1), bytes("abc")}}), std::nullopt);
  EXPECT_EQ(store.bytes(), 5U);
  EXPECT_EQ(store.memory(), 5 + 3 * MessageStore::kEntryOverhead);
  store.retire({.view = 1, .group = 0, .source = 0, .round = 1});
  EXPECT_EQ(store.bytes(), 2U);
  EXPECT_EQ(store.messages(), 2U);
  store.sweep(2);
  EXPECT_EQ(store.memory(), 0U);
}

TEST(RegisterStore, ExchangesOnlyTheVersionThatWasExpected) {
  RegisterStore store;
  EXPECT_EQ(store.write("a", bytes("one"), 1), 0U);
  EXPECT_EQ(store.find("a"), nullptr);
  EXPECT_EQ(store.write("a", bytes("one"), 0), 1U);
  EXPECT_EQ(store.write("a", bytes("two"), 0), 0U);
  EXPECT_EQ(store.write("a", bytes("three"), {}), 2U);
  EXPECT_EQ(store.memory(), 6 + MessageStore::kEntryOverhead);
  store.remove("a");
  store.remove("a");
  EXPECT_EQ(store.memory(), 0U);
  EXPECT_TRUE(store.empty());
}

}  // namespace
}  // namespace virga
