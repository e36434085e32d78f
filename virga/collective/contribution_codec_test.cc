#include "virga/collective/contribution_codec.h"

#include <algorithm>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/base/shared_bytes.h"
#include "virga/collective/contribution_testing.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SharedBytes encoded(const ContributionPart& part, const Layout& layout) {
  Bytes storage, all;
  for (const auto& piece : encode_part(part, layout, storage)) all.insert(all.end(), piece.begin(), piece.end());
  return SharedBytes::copy_of(all);
}

std::string refusal(ByteView body, const Layout& layout, const TableCuts& cuts, std::uint32_t member) {
  // At an aligned address, with nothing behind it that would hide a read too far.
  const auto copy = SharedBytes::copy_of(body);
  ContributionPart part;
  try {
    decode_part(copy.view(), layout, cuts, member, "test", part);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    return error.what();
  }
  return "accepted";
}

TEST(CutTables, CoversAllRowsAndElementsWhateverTheQuantiles) {
  const auto layout = testing_layout(1000, 3);
  for (const std::uint32_t members : {1U, 2U, 3U, 8U}) {
    for (const auto& quantiles : std::vector<std::vector<std::uint32_t>>{
             {}, {0}, {0, 1000}, {0, 1, 2, 3, 4, 900, 1000}, {5, 5, 5}, {0, 9999}}) {
      const auto cuts = cut_tables(layout, members, quantiles);
      for (std::size_t t = 0; t < layout.size(); ++t) {
        ASSERT_EQ(cuts[t].size(), members + 1);
        EXPECT_EQ(cuts[t].front(), 0U);
        EXPECT_EQ(cuts[t].back(), layout[t].sparse ? layout[t].rows : layout[t].size());
        EXPECT_TRUE(std::ranges::is_sorted(cuts[t]));
      }
    }
  }
}

TEST(CutTables, GivesFewFrequentRowsToOneMember) {
  const auto layout = testing_layout(1000, 1);
  const std::vector<std::uint32_t> quantiles = {0, 10, 100, 400, 1000};
  EXPECT_THAT(cut_tables(layout, 2, quantiles)[0], ElementsAre(0, 100, 1000));
  EXPECT_THAT(cut_tables(layout, 4, quantiles)[0], ElementsAre(0, 10, 100, 400, 1000));
  EXPECT_THAT(cut_tables(layout, 2)[0], ElementsAre(0, 500, 1000));
}

TEST(ContributionCodec, GivesBackEachMembersRange) {
  for (const std::uint32_t width : {1U, 3U}) {
    const auto layout = testing_layout(700, width);
    for (const std::uint32_t members : {1U, 2U, 5U}) {
      const auto cuts = cut_tables(layout, members);
      for (const std::uint64_t round : {0U, 1U, 5U}) {
        const auto contribution = testing_contribution(layout, round, 0);
        ContributionPart decoded;  // used again, as by AllReduce
        Contribution joined;
        joined.tables.resize(layout.size());
        for (std::uint32_t m = 0; m < members; ++m) {
          const auto part = part_of(contribution, layout, cuts, m, 42);
          const auto body = encoded(part, layout);
          decode_part(body.view(), layout, cuts, m, "test", decoded);
          EXPECT_EQ(decoded.scalars, part.scalars);
          for (std::size_t t = 0; t < layout.size(); ++t) {
            const auto& rows = decoded.tables[t].rows;
            EXPECT_EQ(decoded.tables[t].first, cuts[t][m]);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(rows.values.data()) % 16, 0U);
            auto& all = joined.tables[t];
            all.whole = !layout[t].sparse;
            all.keys.insert(all.keys.end(), rows.keys.begin(), rows.keys.end());
            all.values.insert(all.values.end(), rows.values.begin(), rows.values.end());
          }
        }
        EXPECT_EQ(joined.tables, contribution.tables);
      }
    }
  }
}

TEST(ContributionCodec, GivesBackKeysHoweverFarApart) {
  constexpr std::uint32_t kRows = 0xffffffff;
  const Layout layout = {{.name = "w", .rows = kRows, .width = 1, .sparse = true}};
  const auto cuts = cut_tables(layout, 1);
  const Random random(5, Purpose::kTest);
  for (const std::uint32_t most : {1U, 31U, 127U, 128U, 129U, 400U, 16'384U, 40'000U, 4'000'000U}) {
    Contribution contribution;
    auto& table = contribution.tables.emplace_back();
    std::uint64_t key = random.below(3, most, 0) == 0 ? 0 : random.below(most, most, 1);
    for (std::uint64_t i = 0; i < 1000 && key < kRows; key += 1 + random.below(most, most, ++i + 1)) {
      table.keys.push_back(static_cast<std::uint32_t>(key));
    }
    table.keys.back() = kRows - 1;  // a large step, wherever it stands
    table.values.assign(table.keys.size(), 0.5F);
    const auto body = encoded(part_of(contribution, layout, cuts, 0, 0), layout);
    ContributionPart decoded;
    decode_part(body.view(), layout, cuts, 0, "test", decoded);
    EXPECT_TRUE(std::ranges::equal(decoded.tables[0].rows.keys, table.keys)) << most;
  }
}

TEST(ContributionCodec, HoldsItsBytes) {
  const Layout layout = {{.name = "w", .rows = 1000, .width = 1, .sparse = true}, {.name = "b", .rows = 1, .width = 1}};
  Contribution contribution;
  contribution.tables = {{.whole = false, .keys = {3, 4, 200}, .values = {1, 2, 3}}, {.whole = true, .values = {-1}}};
  contribution.weight = 2;
  contribution.loss = 0.5;
  contribution.examples = 2;
  const auto cuts = cut_tables(layout, 1);
  const auto body = encoded(part_of(contribution, layout, cuts, 0, 9), layout);
  std::string hex;
  for (const auto byte : body.view()) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  EXPECT_EQ(hex,
            "0000000000000040"
            "000000000000e03f"
            "0200000000000000"
            "0900000000000000"  // scalars
            "02000000"
            "01"
            "03000000"
            "04000000"
            "02"
            "01000000"
            "00000000"  // tables
            "0300c301"  // keys: 3, +1, +196
            "0000000000"
            "00"  // to a multiple of 16
            "0000803f00000040"
            "0000404000000000"  // weights
            "000080bf00000000"
            "0000000000000000");  // bias
}

TEST(ContributionCodec, HoldsTheBytesOfDoubles) {
  const Layout layout = {{.name = "s", .rows = 1000, .width = 2, .sparse = true, .doubles = true},
                         {.name = "c", .rows = 1, .width = 1, .doubles = true}};
  Contribution contribution;
  contribution.tables = {{.whole = false, .keys = {3}, .values = {}, .doubles = {1, -2}},
                         {.whole = true, .keys = {}, .values = {}, .doubles = {0.5}}};
  contribution.weight = 2;
  contribution.loss = 0.5;
  contribution.examples = 2;
  const auto cuts = cut_tables(layout, 1);
  const auto body = encoded(part_of(contribution, layout, cuts, 0, 9), layout);
  std::string hex;
  for (const auto byte : body.view().subspan(32)) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  EXPECT_EQ(hex,
            "02000000"
            "03"
            "01000000"
            "01000000"
            "04"
            "01000000"
            "00000000"            // tables
            "03"                  // key
            "000000000000000000"  // to a multiple of 16
            "000000000000f03f"
            "00000000000000c0"  // sums
            "000000000000e03f"
            "0000000000000000");  // clusters
  ContributionPart decoded;
  decode_part(body.view(), layout, cuts, 0, "test", decoded);
  EXPECT_THAT(decoded.tables[0].rows.keys, ElementsAre(3U));
  EXPECT_THAT(decoded.tables[0].rows.doubles, ElementsAre(1, -2));
  EXPECT_THAT(decoded.tables[1].rows.doubles, ElementsAre(0.5));
  auto floats = layout;
  for (auto& table : floats) table.doubles = false;
  EXPECT_THAT(refusal(body.view(), floats, cuts, 0), HasSubstr("another form"));
  for (std::size_t size = 0; size < body.size(); ++size) {
    EXPECT_NE(refusal(body.view().first(size), layout, cuts, 0), "accepted") << size;
  }
}

TEST(ContributionCodec, RefusesWhatDoesNotFit) {
  const auto layout = testing_layout(700, 1);
  const auto cuts = cut_tables(layout, 2);
  const auto contribution = testing_contribution(layout, 1, 0);
  const auto body = encoded(part_of(contribution, layout, cuts, 0, 0), layout);
  EXPECT_EQ(refusal(body.view(), layout, cuts, 0), "accepted");
  EXPECT_THAT(refusal(body.view(), layout, cuts, 1), HasSubstr("test: "));
  EXPECT_THAT(refusal(body.view(), testing_layout(700, 2), cut_tables(testing_layout(700, 2), 2), 0),
              HasSubstr("test: "));
  for (std::size_t size = 0; size < body.size(); ++size) {
    EXPECT_THAT(refusal(body.view().first(size), layout, cuts, 0), HasSubstr("test: ")) << size;
  }
  Bytes longer(body.view().begin(), body.view().end());
  longer.resize(longer.size() + 16);
  EXPECT_THAT(refusal(longer, layout, cuts, 0), HasSubstr("after its end"));
}

}  // namespace
}  // namespace virga
