#include "virga/training/state_file.h"

#include <bit>
#include <cstring>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

std::string hex(ByteView bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

/// All kinds of floats: a round trip by way of arithmetic would lose some.
Tables odd_tables(const std::string& suffix) {
  Tables tables({{.name = "weights" + suffix, .rows = 4, .width = 2, .regularised = true, .sparse = true},
                 {.name = "bias" + suffix, .rows = 1, .width = 1, .regularised = false, .sparse = false},
                 {.name = "", .rows = 0, .width = 1, .regularised = true, .sparse = false}});
  const std::uint32_t bits[] = {0x80000000, 0x00000001, 0x807fffff, 0x7f800000, 0xff800000, 0x7fc01234, 0xff812345, 1};
  for (std::size_t i = 0; i < 8; ++i) tables.values[0][i] = std::bit_cast<float>(bits[i]);
  tables.values[1][0] = 0.1F;
  return tables;
}

WorkerCheckpoint some_checkpoint() {
  WorkerCheckpoint checkpoint;
  checkpoint.position = {.round = 1'000'000'000'007, .step = 999'999'999'999};
  checkpoint.learning_rate = 0.1;
  checkpoint.sums = {.loss = std::bit_cast<double>(std::uint64_t{0x7ff8000000001234}),
                     .weight = -0.0,
                     .examples = 77,
                     .updates = ~std::uint64_t{0},
                     .lost_updates = 5};
  checkpoint.rule.parameters = odd_tables("");
  checkpoint.rule.states = odd_tables(".accumulator");
  checkpoint.rule.steps = {{1, 2, 3, ~0U}, {}, {}};
  return checkpoint;
}
Snapshot some_snapshot() {
  Snapshot snapshot;
  snapshot.round = 48;
  snapshot.epoch = 2;
  snapshot.last = true;
  snapshot.learning_rate = 0.5;
  snapshot.sums = {.loss = 0.25, .weight = 2, .examples = 3, .updates = 4, .lost_updates = 1};
  snapshot.parameters = Tables({{.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}});
  snapshot.parameters.values[0][0] = -1;
  return snapshot;
}

/// Bit for bit: == is not for floats that are not numbers.
void expect_same(const Tables& actual, const Tables& expected) {
  EXPECT_EQ(actual.layout, expected.layout);
  ASSERT_EQ(actual.values.size(), expected.values.size());
  for (std::size_t t = 0; t < expected.values.size(); ++t) {
    EXPECT_EQ(hex(std::as_bytes(std::span(actual.values[t]))), hex(std::as_bytes(std::span(expected.values[t]))));
  }
}
void expect_same(const EpochSums& actual, const EpochSums& expected) {
  EXPECT_EQ(std::bit_cast<std::uint64_t>(actual.loss), std::bit_cast<std::uint64_t>(expected.loss));
  EXPECT_EQ(std::bit_cast<std::uint64_t>(actual.weight), std::bit_cast<std::uint64_t>(expected.weight));
  EXPECT_EQ(actual.examples, expected.examples);
  EXPECT_EQ(actual.updates, expected.updates);
  EXPECT_EQ(actual.lost_updates, expected.lost_updates);
}

TEST(StateFile, GivesACheckpointBackBitForBit) {
  const auto checkpoint = some_checkpoint();
  const auto again = decode_checkpoint(encode_checkpoint(checkpoint));
  EXPECT_EQ(again.position, checkpoint.position);
  EXPECT_EQ(again.learning_rate, checkpoint.learning_rate);
  expect_same(again.sums, checkpoint.sums);
  expect_same(again.rule.parameters, checkpoint.rule.parameters);
  expect_same(again.rule.states, checkpoint.rule.states);
  EXPECT_EQ(again.rule.steps, checkpoint.rule.steps);
}

TEST(StateFile, GivesASnapshotBackBitForBit) {
  EXPECT_EQ(decode_snapshot(encode_snapshot(some_snapshot())), some_snapshot());
  EXPECT_EQ(decode_snapshot(encode_snapshot(Snapshot())), Snapshot());
  auto odd = some_snapshot();
  odd.parameters = odd_tables("");
  expect_same(decode_snapshot(encode_snapshot(odd)).parameters, odd.parameters);
}

TEST(StateFile, HoldsTheBytesOfASnapshot) {
  EXPECT_EQ(hex(encode_snapshot(some_snapshot())),
            "56534e50"          // VSNP
            "02000000"          // version
            "3000000000000000"  // round 48
            "02000000"          // epoch 2
            "01000000"          // the last
            "000000000000e03f"  // learning rate 0.5
            "000000000000d03f"  // loss 0.25
            "0000000000000040"  // weight 2
            "0300000000000000"  // 3 examples
            "0400000000000000"  // 4 updates
            "0100000000000000"  // 1 of them lost
            "01000000"          // 1 table
            "0400000062696173"  // "bias"
            "01000000"          // 1 row
            "01000000"          // of width 1
            "00"                // neither regularised nor sparse
            "000080bf"          // -1
            "96445d6c");
}

TEST(StateFile, HoldsTheBytesOfACheckpoint) {
  WorkerCheckpoint checkpoint;
  checkpoint.position = {.round = 48, .step = 47};
  checkpoint.learning_rate = 0.5;
  checkpoint.sums = {.loss = 0.25, .weight = 2, .examples = 3, .updates = 4, .lost_updates = 1};
  checkpoint.rule.parameters = Tables({{.name = "w", .rows = 2, .width = 1, .regularised = true, .sparse = true}});
  checkpoint.rule.parameters.values[0] = {1, 2};
  checkpoint.rule.steps = {{47, 12}};
  checkpoint.own = Tables({{.name = "u", .rows = 1, .width = 1, .regularised = false, .sparse = false}});
  checkpoint.own.values[0] = {2};
  EXPECT_EQ(hex(encode_checkpoint(checkpoint)),
            "56434b50"                  // VCKP
            "03000000"                  // version
            "3000000000000000"          // round 48
            "2f00000000000000"          // step 47
            "000000000000e03f"          // learning rate 0.5
            "000000000000d03f"          // loss 0.25
            "0000000000000040"          // weight 2
            "0300000000000000"          // 3 examples
            "0400000000000000"          // 4 updates
            "0100000000000000"          // 1 of them lost
            "01000000"                  // parameters: 1 table
            "0100000077"                // "w"
            "02000000"                  // 2 rows
            "01000000"                  // of width 1
            "03"                        // regularised, sparse
            "0000803f00000040"          // 1, 2
            "00000000"                  // states: no table
            "020000002f0000000c000000"  // 2 rows, at steps 47 and 12
            "01000000"                  // own: 1 table
            "0100000075"                // "u"
            "01000000"                  // 1 row
            "01000000"                  // of width 1
            "00"                        // neither regularised nor sparse
            "00000040"                  // 2
            "4e845619");
}

template <typename Decode>
void expect_refused(const Decode& decode, const Bytes& bytes, const std::string& why) {
  try {
    (void)decode(bytes);
    FAIL() << why;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt) << why;
  }
}
template <typename Decode>
void expect_all_damage_refused(const Decode& decode, const Bytes& bytes) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    expect_refused(decode, Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)), "cut");
  }
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    expect_refused(decode, damaged, fmt::format("bit {}", bit));
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  expect_refused(decode, longer, "longer");
}

TEST(StateFile, RefusesAllDamage) {
  expect_all_damage_refused(decode_checkpoint, encode_checkpoint(some_checkpoint()));
  expect_all_damage_refused(decode_snapshot, encode_snapshot(some_snapshot()));
}

/// Replaces bytes and sets the checksum right.
template <typename T>
Bytes with(Bytes bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  bytes.resize(bytes.size() - 4);
  ByteWriter(bytes).put(crc32c(bytes));
  return bytes;
}

TEST(StateFile, RefusesWhatCannotBeThoughTheChecksumIsRight) {
  const auto snapshot = encode_snapshot(some_snapshot());
  ASSERT_NO_THROW((void)decode_snapshot(with(snapshot, 8, std::uint64_t{5})));
  expect_refused(decode_snapshot, with(snapshot, 4, 1U), "another version");
  expect_refused(decode_snapshot, with(snapshot, 72, 0U), "bytes after its end");
  expect_refused(decode_snapshot, with(snapshot, 72, 2U), "a table that is not there");
  expect_refused(decode_snapshot, with(snapshot, 72, 65U), "too many tables");
  expect_refused(decode_snapshot, with(snapshot, 76, 201U), "a name that is too long");
  expect_refused(decode_snapshot, with(snapshot, 84, ~0U), "more rows than bytes");
  expect_refused(decode_snapshot, with(snapshot, 92, std::uint8_t{4}), "an unknown flag");
  expect_refused(decode_checkpoint, snapshot, "a snapshot");
  expect_refused(decode_snapshot, encode_checkpoint(some_checkpoint()), "a checkpoint");
}

}  // namespace
}  // namespace virga
