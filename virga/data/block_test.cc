#include "virga/data/block.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <limits>
#include <tuple>

#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/hash.h"
#include "virga/data/block_layout.h"
#include "virga/data/groups_testing.h"

namespace virga {
namespace {

using Values = GroupShape::Values;

/// Shapes that reach every way of storing each part.
std::vector<GroupShape> all_shapes() {
  std::vector<GroupShape> shapes;
  for (const auto values : {Values::kOnes, Values::kBytes, Values::kFloats}) {
    for (const bool flag : {false, true}) {
      for (const std::uint32_t features : {1U, 40U, 256U, 257U, 5000U, 1U << 20, 1U << 31}) {
        shapes.push_back({.rows = 100,
                          .features = features,
                          .row_length = 20,
                          .same_length = flag,
                          .values = values,
                          .real_labels = !flag,
                          .weights = flag});
      }
      shapes.push_back({.rows = 1, .features = 9, .row_length = 0, .same_length = flag, .values = values});
      shapes.push_back({.rows = 30,
                        .features = 9,
                        .values = values == Values::kOnes ? Values::kBytes : values,
                        .real_labels = flag,
                        .weights = !flag,
                        .dense = true});
    }
  }
  return shapes;
}

TEST(EncodeGroup, IsUndoneByDecodeGroupForEveryShape) {
  for (const auto& shape : all_shapes()) {
    const auto group = test_group(shape, 1);
    for (const auto compression : {Compression::kNone, Compression::kZstd}) {
      EXPECT_EQ(decode_group(encode_group(group, compression), "x"), group)
          << "features " << shape.features << ", dense " << shape.dense;
    }
  }
}

TEST(EncodeGroup, UsesWideIndicesForALargeDictionary) {
  const auto group = test_group({.rows = 3000, .features = 1U << 30, .row_length = 60}, 1);
  ASSERT_TRUE(group.wide());
  EXPECT_EQ(decode_group(encode_group(group), "x"), group);
}

TEST(EncodeGroup, KeepsRowsOfAllLengths) {
  for (const std::uint32_t longest : {300U, 70000U}) {
    RowGroup group{.rows = 3, .row_begin = {0, 0, longest, longest + 2}, .labels = {0, 1, 1}};
    for (std::uint32_t i = 0; i < longest; ++i) group.keys.push_back(3 * i);
    for (std::uint32_t i = 0; i < longest; ++i) {
      if (group.wide()) group.indices32.push_back(i);
      if (!group.wide()) group.indices16.push_back(static_cast<std::uint16_t>(i));
    }
    for (const std::uint32_t i : {0U, longest - 1}) {
      if (group.wide()) group.indices32.push_back(i);
      if (!group.wide()) group.indices16.push_back(static_cast<std::uint16_t>(i));
    }
    EXPECT_EQ(decode_group(encode_group(group), "x"), group);
  }
}

TEST(EncodeGroup, StoresBytesOnlyWhereTheyAreExact) {
  RowGroup group{.rows = 4, .keys = {7}, .row_begin = {0, 1, 2, 3, 4}, .indices16 = {0, 0, 0, 0}};
  for (const float odd : {-0.0F, 0.5F, 256.0F, -1.0F, std::numeric_limits<float>::max()}) {
    group.values = {1, 0, 255, odd};
    group.labels = {odd, 0, 1, 255};
    const auto back = decode_group(encode_group(group), "x");
    EXPECT_EQ(std::signbit(back.values[3]), std::signbit(odd));
    EXPECT_EQ(back, group);
  }
}

TEST(EncodeGroup, LeavesOutValuesAndWeightsThatAreAllOne) {
  RowGroup group{.rows = 2, .keys = {7}, .row_begin = {0, 1, 2}, .indices16 = {0, 0}, .values = {1, 1}};
  group.labels = {0, 1};
  group.weights = {1, 1};
  const auto back = decode_group(encode_group(group), "x");
  EXPECT_THAT(back.values, testing::IsEmpty());
  EXPECT_THAT(back.weights, testing::IsEmpty());
}

/// docs/formats/block.md describes these bytes; a change of the format needs a new version.
TEST(EncodeGroup, WritesTheBytesOfVersionOne) {
  RowGroup group{
      .rows = 2, .keys = {3, 4, 300}, .row_begin = {0, 2, 3}, .indices16 = {0, 2, 1}, .values = {1, 2.5F, 1}};
  group.labels = {0, 1};
  const std::vector<unsigned> expected = {
      'V', 'G', 'R',  'P',  1,  0, 0,    2,                       // magic, version, flags, key_bytes
      2,   0,   0,    0,    3,  0, 0,    0,    3, 0, 0,    0,     // rows, dictionary, non-zeros
      1,   4,   1,    0,                                          // bytes of a length, value, label, weight
      25,  0,   0,    0,    25, 0, 0,    0,                       // body, stored
      0,   0,   0,    0,                                          // CRC-32C, below
      3,   0,   0,    0,    39, 1,                                // keys 3, 4, 300
      2,   1,                                                     // lengths of rows
      0,   2,   1,                                                // indices
      0,   0,   0x80, 0x3F, 0,  0, 0x20, 0x40, 0, 0, 0x80, 0x3F,  // values
      0,   1};                                                    // labels
  const auto bytes = encode_group(group);
  ASSERT_EQ(bytes.size(), expected.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i < 32 || i >= 36) {
      EXPECT_EQ(std::to_integer<unsigned>(bytes[i]), expected[i]) << "byte " << i;
    }
  }
  std::uint32_t crc = 0;
  std::memcpy(&crc, bytes.data() + 32, 4);
  EXPECT_EQ(crc, crc32c(ByteView(bytes).subspan(36), crc32c(ByteView(bytes).first(32))));
  EXPECT_EQ(crc, 3528949841U);
}

std::string reason_of(ByteView bytes) {
  try {
    std::ignore = decode_group(bytes, "set/train/000003.blk, group 2");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("set/train/000003.blk, group 2"));
    EXPECT_NE(error.remedy(), "");
    return error.what();
  }
  return "";
}

TEST(DecodeGroup, RefusesEveryFlippedBitAndEveryCut) {
  for (const auto compression : {Compression::kNone, Compression::kZstd}) {
    const auto bytes = encode_group(
        test_group({.rows = 20, .features = 500, .row_length = 5, .values = Values::kBytes}, 1), compression);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      auto damaged = bytes;
      damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      EXPECT_NE(reason_of(damaged), "") << "bit " << bit;
    }
    for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_NE(reason_of(ByteView(bytes).first(size)), "");
    auto longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THAT(reason_of(longer), testing::HasSubstr("longer"));
  }
}

/// encode_group() does not look at what decode_group() checks, so it can write what must be refused.
TEST(DecodeGroup, RefusesWhatKernelsMustNotSee) {
  const RowGroup good =
      test_group({.rows = 50, .features = 3000, .row_length = 9, .values = Values::kFloats, .weights = true}, 1);
  ASSERT_EQ(reason_of(encode_group(good)), "");
  const auto with = [&](const std::function<void(RowGroup&)>& change) {
    auto group = good;
    change(group);
    return reason_of(encode_group(group));
  };
  constexpr auto kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(with([](auto& g) { g.indices16[449] = static_cast<std::uint16_t>(g.keys.size()); }),
              testing::HasSubstr("dictionary"));
  EXPECT_THAT(with([](auto& g) { std::swap(g.indices16[3], g.indices16[4]); }), testing::HasSubstr("ascend"));
  EXPECT_THAT(with([](auto& g) { g.indices16[4] = g.indices16[3]; }), testing::HasSubstr("ascend"));
  EXPECT_THAT(with([](auto& g) { std::swap(g.keys[3], g.keys[4]); }), testing::HasSubstr("key"));
  EXPECT_THAT(with([](auto& g) { g.keys[3] = g.keys[4]; }), testing::HasSubstr("key"));
  EXPECT_THAT(with([](auto& g) { g.values[17] = kInfinity; }), testing::HasSubstr("finite"));
  EXPECT_THAT(with([](auto& g) { g.labels[17] = -kInfinity; }), testing::HasSubstr("finite"));
  EXPECT_THAT(with([](auto& g) { g.weights[17] = std::numeric_limits<float>::quiet_NaN(); }),
              testing::HasSubstr("finite"));
  EXPECT_THAT(with([](auto& g) { g.weights[17] = -1; }), testing::HasSubstr("negative"));
}

/// Against the obvious check, row by row.
TEST(DecodeGroup, AcceptsExactlyTheRowsThatAscend) {
  TestRandom random(3);
  int accepted = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    RowGroup group{.rows = 1 + random.below(5), .keys = {2, 4, 8, 16}, .row_begin = {0}};
    bool ascends = true;
    for (std::uint32_t row = 0; row < group.rows; ++row) {
      const auto begin = group.indices16.size();
      for (std::uint32_t length = random.below(4); length > 0; --length) {
        group.indices16.push_back(static_cast<std::uint16_t>(random.below(5)));
        const auto size = group.indices16.size();
        ascends &=
            group.indices16.back() < 4 && (size - 1 == begin || group.indices16[size - 2] < group.indices16[size - 1]);
      }
      group.row_begin.push_back(static_cast<std::uint32_t>(group.indices16.size()));
      group.labels.push_back(0);
    }
    ASSERT_EQ(reason_of(encode_group(group)).empty(), ascends);
    accepted += ascends;
  }
  EXPECT_GT(accepted, 300);
}

/// Bytes whose header has been changed, with the checksum made right again.
Bytes with_header(Bytes bytes, const std::function<void(GroupHeader&)>& change) {
  GroupHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  change(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  header.crc32c =
      crc32c(ByteView(bytes).subspan(sizeof header), crc32c(ByteView(bytes).first(offsetof(GroupHeader, crc32c))));
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

TEST(DecodeGroup, RefusesAHeaderThatPromisesMoreThanThereIs) {
  const auto plain = encode_group(test_group({.rows = 20, .features = 500, .row_length = 5}, 1));
  const auto packed = encode_group(test_group({.rows = 200, .features = 500, .row_length = 9}, 1), Compression::kZstd);
  for (const auto& bytes : {plain, packed}) {
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.rows = 0; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.rows = 0xFFFFFFFF; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.columns = 0xFFFFFFFF; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.nonzeros = 0xFFFFFFFF; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.body_bytes = 0xFFFFFFFF; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.key_bytes = 3; })), "");
    EXPECT_NE(reason_of(with_header(bytes, [](auto& h) { h.flags = 4; })), "");
  }
  // All sizes agree, but the body cannot come from so few bytes.
  EXPECT_THAT(reason_of(with_header(packed,
                                    [](auto& h) {
                                      h.nonzeros += 0x10000000;
                                      h.body_bytes += 0x20000000;
                                    })),
              testing::HasSubstr("add up"));
}

TEST(DecodeGroup, SaysThatAVersionIsNotKnown) {
  const auto bytes = with_header(encode_group(test_group({.rows = 2}, 1)), [](auto& h) { h.version = 2; });
  EXPECT_THAT(reason_of(bytes), testing::HasSubstr("version 2"));
}

TEST(EncodeGroup, DoesNotPackWhatAReaderWouldRefuse) {
  RowGroup group{.rows = 1000, .dense = true, .columns = 1000};
  group.matrix.assign(1000000, 0.0F);
  group.labels.resize(1000);
  EXPECT_EQ(decode_group(encode_group(group, Compression::kZstd), "x"), group);
}

class BlockWriterTest : public testing::Test {
 protected:
  BlockWriterTest()
      : folder_(std::filesystem::path(testing::TempDir()) / ("virga_block_test." + std::to_string(::getpid()))),
        store_(open_object_store(folder_.string())) {}
  ~BlockWriterTest() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_;
  const std::unique_ptr<ObjectStore> store_;
};

TEST_F(BlockWriterTest, CutsBlocksAtTheTargetSize) {
  std::vector<Bytes> groups;
  for (std::uint64_t seed = 0; seed < 7; ++seed)
    groups.push_back(encode_group(test_group({.rows = 10, .row_length = 5}, seed)));
  const auto largest = std::ranges::max_element(groups, {}, &Bytes::size)->size();

  BlockWriter writer(*store_, "train/", 3 * largest);
  for (const auto& group : groups) writer.add(group, 10);
  const auto blocks = writer.finish();

  ASSERT_EQ(blocks.size(), 3U);
  EXPECT_EQ(blocks[0].name, "train/000000.blk");
  EXPECT_EQ(blocks[2].name, "train/000002.blk");
  EXPECT_EQ(blocks[0].rows, 30U);
  EXPECT_EQ(blocks[2].rows, 10U);
  std::size_t next = 0;
  for (const auto& block : blocks) {
    const auto bytes = store_->get(block.name);
    EXPECT_EQ(block.bytes, bytes.size());
    EXPECT_EQ(block.crc32c, crc32c(bytes));
    const auto parts = split_block(bytes, block.name);
    ASSERT_EQ(parts.size(), block.group_bytes.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].size(), block.group_bytes[i]);
      EXPECT_TRUE(std::ranges::equal(parts[i], groups[next++]));
    }
  }
  EXPECT_EQ(next, groups.size());
}

TEST_F(BlockWriterTest, StoresAGroupThatIsLargerThanTheTarget) {
  BlockWriter writer(*store_, "test/", 1);
  writer.add(encode_group(test_group({.rows = 10}, 1)), 10);
  writer.add(encode_group(test_group({.rows = 10}, 2)), 10);
  EXPECT_EQ(writer.finish().size(), 2U);
}

TEST_F(BlockWriterTest, StoresNothingForNoGroups) {
  EXPECT_THAT(BlockWriter(*store_, "test/").finish(), testing::IsEmpty());
  EXPECT_THAT(store_->list(), testing::IsEmpty());
}

TEST(SplitBlock, RefusesACutBlock) {
  const auto group = encode_group(test_group({.rows = 10}, 1));
  EXPECT_THROW(std::ignore = split_block(ByteView(group).first(group.size() - 1), "x"), Error);
  EXPECT_THROW(std::ignore = split_block(ByteView(group).first(20), "x"), Error);
}

}  // namespace
}  // namespace virga
