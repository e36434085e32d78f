#include "virga/data/row_buckets.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/data/files_testing.h"

namespace virga {
namespace {

struct Row {
  std::uint64_t key;
  std::uint64_t item;
  std::vector<std::uint32_t> ids;
  std::vector<float> values;
  auto operator<=>(const Row&) const = default;
};

/// `count` rows with keys of which some are equal.
std::vector<Row> random_rows(std::size_t count, std::uint64_t same_bits) {
  const Random random(5, Purpose::kTest);
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    Row row{.key = random.bits(0, i / 2) & ~same_bits, .item = i};
    const bool ones = random.below(2, 1, i) == 0;
    for (std::uint32_t entry = 0; entry < random.below(40, 2, i); ++entry) {
      row.ids.push_back(entry * 3);
      row.values.push_back(ones ? 1 : static_cast<float>(entry));
    }
    rows.push_back(row);
  }
  return rows;
}

void append(RowBuckets& buckets, std::span<const Row> rows) {
  ParsedRows parsed;
  std::vector<RowBuckets::KeyedRow> keyed;
  for (const auto& row : rows) {
    keyed.push_back({row.key, static_cast<std::uint32_t>(parsed.rows.size())});
    parsed.rows.push_back({.item = row.item,
                           .begin = static_cast<std::uint32_t>(parsed.ids.size()),
                           .count = static_cast<std::uint32_t>(row.ids.size()),
                           .ones = std::ranges::count(row.values, 1.0F) == std::ssize(row.values)});
    parsed.ids.insert(parsed.ids.end(), row.ids.begin(), row.ids.end());
    parsed.values.insert(parsed.values.end(), row.values.begin(), row.values.end());
  }
  buckets.append(parsed, keyed);
}

std::vector<Row> drained(RowBuckets& buckets, unsigned threads, std::uint64_t batch_bytes) {
  std::vector<Row> rows;
  buckets.drain(threads, batch_bytes, [&](const std::vector<OrderedRows>& batch) {
    for (const auto& bucket : batch) {
      for (const auto* row : bucket.rows) {
        Row copy{.key = row->key, .item = row->item, .ids = {row->ids(), row->ids() + row->count}, .values = {}};
        copy.values.assign(row->count, 1);
        if (row->ones == 0) copy.values.assign(row->values(false), row->values(false) + row->count);
        rows.push_back(copy);
      }
    }
  });
  return rows;
}

TEST(RowBuckets, GiveAllRowsInTheOrderOfTheirKeysWhateverTheMemory) {
  const auto rows = random_rows(10'000, 0xF000000000000000U);  // few buckets, so that their pages get full
  auto expected = rows;
  std::ranges::sort(expected);
  for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{1} << 20, std::uint64_t{1} << 30}) {
    for (const std::uint64_t batch : {std::uint64_t{1} << 12, std::uint64_t{1} << 18, std::uint64_t{1} << 30}) {
      const TestDirectory directory;
      SpillFile spill(directory.path("deep/folder"));
      RowBuckets buckets(spill, memory, /*dense=*/false);
      run_threads(4, [&](unsigned thread) {
        for (std::size_t i = thread; i < 20; i += 4) append(buckets, std::span(rows).subspan(i * 500, 500));
      });
      EXPECT_EQ(buckets.rows(), rows.size());
      EXPECT_EQ(drained(buckets, 3, batch), expected);
      if (memory == 0) {
        EXPECT_GT(spill.bytes(), 500'000U);
      }
      // The temporary file has no name.
      EXPECT_THAT(directory.list(), testing::AnyOf(testing::IsEmpty(), testing::ElementsAre("deep", "deep/folder")));
    }
  }
}

TEST(RowBuckets, DivideABucketThatIsTooLargeEvenIfAllKeysAreEqual) {
  for (const std::uint64_t same_bits : {0xFF00000000000000U, 0xFFFF000000000000U, 0xFFFFFFFFFFFFFFFFU}) {
    const auto rows = random_rows(5000, same_bits);
    auto expected = rows;
    std::ranges::sort(expected);
    const TestDirectory directory;
    SpillFile spill(directory.path("."));
    RowBuckets buckets(spill, 100'000, /*dense=*/false);
    append(buckets, rows);
    EXPECT_EQ(drained(buckets, 2, 50'000), expected);
  }
}

TEST(RowBuckets, KeepRowsThatAreLargerThanAPage) {
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < 5; ++i) {
    rows.push_back({.key = i << 40, .item = i});
    for (std::uint32_t entry = 0; entry < 20'000; ++entry) {
      rows.back().ids.push_back(entry);
      rows.back().values.push_back(static_cast<float>(entry + i));
    }
  }
  const TestDirectory directory;
  SpillFile spill(directory.path("."));
  RowBuckets buckets(spill, 0, /*dense=*/false);
  append(buckets, rows);
  EXPECT_EQ(drained(buckets, 1, 1000), rows);
}

TEST(SpillFile, SaysWhereItCannotBe) {
  const TestDirectory directory;
  SpillFile spill(directory.write("file", "x"));
  EXPECT_THAT(error_of([&] { static_cast<void>(spill.append(as_bytes("abc"))); }), testing::HasSubstr("file"));
}

}  // namespace
}  // namespace virga
