#include "virga/channel/polled_channel.h"

#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/memory_bin_testing.h"
#include "virga/channel/message_name.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

MessageKey polled_key(std::uint32_t source, std::uint64_t round) {
  return {.view = 1, .source = source, .round = round};
}

// The example of docs/formats/message.md.
TEST(MessageNameTest, HasTheMembersOfTheKeyInHexadecimalDigits) {
  const MessageKey example{
      .view = 1, .group = 2, .source = 3, .round = 0x1234, .phase = 5, .destination = 6, .part = 7};
  const std::string name = "00000001/00000002/00000003/0000000000001234-0005-00000006-00000007";
  EXPECT_EQ(message_name(example), name);
  EXPECT_EQ(name.size(), kMessageNameChars);
  EXPECT_EQ(parse_message_name(name), example);
  EXPECT_LT(view_name(1), name);
  EXPECT_LT(name, view_name(2));
}

TEST(MessageNameTest, IsReadOnlyWhereItWouldBeWrittenLikeThat) {
  const auto name = message_name({.view = 0xabc, .destination = kEverybody});
  for (std::size_t i = 0; i < name.size(); ++i) {
    for (const char c : {'G', 'A', ' ', '\0', name[i] == '-' ? '/' : '-'}) {
      auto other = name;
      other[i] = c;
      EXPECT_EQ(parse_message_name(other), std::nullopt) << other;
    }
    EXPECT_EQ(parse_message_name(name.substr(0, i)), std::nullopt);
  }
  EXPECT_EQ(parse_message_name(name + "0"), std::nullopt);
}

class PolledChannelTest : public testing::Test {
 protected:
  std::shared_ptr<MemoryBin::Shared> store = std::make_shared<MemoryBin::Shared>();
  PolledChannel channel{std::make_shared<MemoryBin>(store)};
  PolledChannel other{std::make_shared<MemoryBin>(store)};
};

TEST_F(PolledChannelTest, NeverAsksAgainForWhatHasCome) {
  std::vector<MessageKey> keys;
  for (std::uint32_t i = 0; i < 8; ++i) keys.push_back(polled_key(i, 1));
  // With each look one more is there.
  std::uint32_t looks = 0;
  store->on_fetch = [&] {
    if (looks < 8) store->values[message_name(polled_key(looks, 1))] = SharedBytes::copy_of(as_bytes("m"));
    ++looks;
  };
  channel.get(
      keys, [](const auto&, const auto&) {}, soon());

  ASSERT_THAT(store->fetches, SizeIs(8));
  for (std::size_t look = 0; look < 8; ++look) EXPECT_THAT(store->fetches[look], SizeIs(8 - look));
  EXPECT_EQ(channel.polls(), 7U + 6 + 5 + 4 + 3 + 2 + 1);
  EXPECT_EQ(store->lists, 0U);
}

TEST_F(PolledChannelTest, CountsNoPollsForWhatIsThere) {
  put_text(channel, polled_key(0, 1), "m");
  EXPECT_EQ(get_text(other, polled_key(0, 1)), "m");
  EXPECT_EQ(other.try_get(polled_key(0, 2), soon()), std::nullopt);
  EXPECT_EQ(other.polls(), 0U);
  EXPECT_THAT(store->fetches, SizeIs(2));
}

TEST_F(PolledChannelTest, PutsAllMessagesOfACallAtOnce) {
  const auto bytes = as_bytes("m");
  channel.put(std::vector<Outgoing>{{polled_key(0, 1), {&bytes, 1}}, {polled_key(0, 2), {&bytes, 1}}}, soon());
  EXPECT_EQ(store->puts, 1U);
  EXPECT_EQ(store->values.size(), 2U);
}

TEST_F(PolledChannelTest, RetiresWhatItHasPutWithoutAListing) {
  put_text(channel, polled_key(0, 1), "m");
  put_text(channel, polled_key(0, 2), "m");
  put_text(other, polled_key(0, 1), "m");
  channel.retire(1, 0, 0, 1, soon());
  EXPECT_EQ(store->removes, 1U);
  channel.retire(1, 0, 0, 1, soon());
  EXPECT_EQ(store->removes, 1U) << "there was nothing to remove";
  EXPECT_EQ(store->lists, 0U);
  EXPECT_EQ(store->values.size(), 1U);
  put_text(channel, polled_key(0, 1), "anew");
}

TEST_F(PolledChannelTest, RetiresAgainWhatCouldNotBeRemoved) {
  class Refusing final : public MessageBin {
   public:
    void put(std::span<const Value>, const Wait&) override {}
    void fetch(std::span<const std::string>, const OnValue&, const Wait&) override {}
    void remove(std::span<const std::string> names, const Wait&) override {
      removed.insert(removed.end(), names.begin(), names.end());
      if (removed.size() == 1) throw Error(ErrorKind::kUnavailable, "away");
    }
    void list(std::string_view, const OnName&, const Wait&) override {}
    [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return 10; }
    [[nodiscard]] const std::string& uri() const noexcept override { return name; }
    const std::string name = "refusing";
    std::vector<std::string> removed;
  };
  const auto bin = std::make_shared<Refusing>();
  PolledChannel retiring(bin);
  put_text(retiring, polled_key(0, 1), "m");
  EXPECT_EQ(kind_of_error([&] { retiring.retire(1, 0, 0, 1, soon()); }), ErrorKind::kUnavailable);
  retiring.retire(1, 0, 0, 1, soon());
  retiring.retire(1, 0, 0, 1, soon());
  const auto name = message_name(polled_key(0, 1));
  EXPECT_THAT(bin->removed, ElementsAre(name, name));
}

TEST_F(PolledChannelTest, SeesOtherBytesThatWerePutThroughItThoughTheStoreDoesNot) {
  put_text(channel, polled_key(0, 1), "first");
  EXPECT_EQ(kind_of_error([&] { put_text(channel, polled_key(0, 1), "other"); }), ErrorKind::kConflict);
  put_text(channel, polled_key(0, 1), "first");
}

TEST_F(PolledChannelTest, RefusesAMessageThatIsTooLargeBeforeAnythingIsPut) {
  PolledChannel small(std::make_shared<MemoryBin>(store, 4));
  const auto fits = as_bytes("four");
  const auto large = as_bytes("five!");
  EXPECT_EQ(kind_of_error([&] {
              small.put(std::vector<Outgoing>{{polled_key(0, 1), {&fits, 1}}, {polled_key(0, 2), {&large, 1}}}, soon());
            }),
            ErrorKind::kTooLarge);
  EXPECT_EQ(store->puts, 0U);
}

TEST_F(PolledChannelTest, AsksWhileItWaitsWhetherTheStoreHasLostAnything) {
  store->check_every = 1ms;
  put_text(channel, polled_key(0, 1), "mine");
  std::vector<std::string> asked;
  store->on_check = [&](std::span<const std::string> names) {
    asked.assign(names.begin(), names.end());
    throw Error(ErrorKind::kTooLarge, "values were thrown out");
  };
  EXPECT_EQ(kind_of_error([&] { (void)get_text(channel, polled_key(1, 1)); }), ErrorKind::kTooLarge);
  EXPECT_THAT(asked, ElementsAre(message_name(polled_key(0, 1))));
  EXPECT_EQ(store->checks, 1U);
}

TEST_F(PolledChannelTest, SaysWhatIsMissingAndWhyWhenTheStoreDoesNotAnswerInTime) {
  store->values[message_name(polled_key(0, 1))] = SharedBytes::copy_of(as_bytes("m"));
  store->on_fetch = [&] {
    if (store->fetches.size() > 1) throw Error(ErrorKind::kDeadlineExceeded, "no answer from the store");
  };
  const auto text = text_of_error([&] {
    channel.get(
        std::vector{polled_key(0, 1), polled_key(7, 1)}, [](const auto&, const auto&) {}, soon());
  });
  EXPECT_THAT(text, AllOf(HasSubstr("memory bin: 1 message did"), HasSubstr("from 7 to 0"),
                          HasSubstr("(no answer from the store)")));
}

TEST_F(PolledChannelTest, LeavesValuesAloneThatAreNoMessages) {
  for (const auto* name : {"0", "00000000/another", "readme"}) {
    store->values[name] = SharedBytes::copy_of(as_bytes("foreign"));
  }
  put_text(channel, polled_key(0, 1), "m");
  EXPECT_EQ(channel.contents(soon()), (ChannelContents{.messages = 1, .bytes = 1}));
  channel.sweep(kEverybody, soon());
  EXPECT_EQ(store->values.size(), 3U);
  EXPECT_EQ(channel.contents(soon()), ChannelContents());
}

}  // namespace
}  // namespace virga
