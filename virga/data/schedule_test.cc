#include "virga/data/schedule.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <gmock/gmock.h>

namespace virga {
namespace {

/// A split of `rows` rows in groups of `rows_per_group`, `groups_per_block` to a block.
Split split_of(std::uint64_t rows, std::uint32_t rows_per_group, std::uint32_t groups_per_block) {
  Split split{.rows = rows};
  for (std::uint64_t first = 0; first < rows; first += std::uint64_t{rows_per_group} * groups_per_block) {
    BlockInfo block;
    block.rows = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(rows - first, std::uint64_t{rows_per_group} * groups_per_block));
    block.group_bytes.assign((block.rows + rows_per_group - 1) / rows_per_group, 100);
    split.blocks.push_back(block);
  }
  return split;
}

using Row = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;  // block, group, row

void append(std::vector<Row>& rows, const std::vector<GroupRows>& ranges) {
  for (const auto& range : ranges) {
    EXPECT_LT(range.first_row, range.last_row);
    for (auto row = range.first_row; row < range.last_row; ++row) rows.emplace_back(range.block, range.group, row);
  }
}

std::vector<Row> rows_of_step(const Schedule& schedule, const EpochOrder& order, std::uint64_t step,
                              std::uint32_t world_size) {
  std::vector<Row> rows;
  for (std::uint32_t rank = 0; rank < world_size; ++rank) append(rows, schedule.rows_of(order, step, rank, world_size));
  return rows;
}

std::vector<Row> all_rows(const Split& split, std::uint32_t rows_per_group) {
  std::vector<Row> rows;
  for (std::uint32_t block = 0; block < split.blocks.size(); ++block) {
    for (std::uint32_t row = 0; row < split.blocks[block].rows; ++row) {
      rows.emplace_back(block, row / rows_per_group, row % rows_per_group);
    }
  }
  return rows;
}

TEST(Schedule, VisitsEveryRowOnceAnEpochWhateverTheShape) {
  for (const std::uint64_t rows : {1U, 9U, 10U, 11U, 40U, 99U, 237U}) {
    for (const std::uint64_t batch : {1U, 7U, 10U, 25U, 1000U}) {
      const auto split = split_of(rows, 10, 4);
      const Schedule schedule(split, 10, 5, batch);
      for (const std::uint32_t epoch : {0U, 1U, 17U}) {
        const auto order = schedule.order(epoch);
        for (const std::uint32_t world_size : {1U, 2U, 3U, 8U}) {
          std::vector<Row> seen;
          for (std::uint64_t step = 0; step < schedule.rounds_per_epoch(); ++step) {
            const auto of_step = rows_of_step(schedule, order, step, world_size);
            EXPECT_EQ(of_step.size(), std::min(batch, rows - step * batch));
            EXPECT_EQ(of_step, rows_of_step(schedule, order, step, 1)) << "the step depends on the number of workers";
            seen.insert(seen.end(), of_step.begin(), of_step.end());
          }
          std::ranges::sort(seen);
          EXPECT_EQ(seen, all_rows(split, 10));
        }
      }
    }
  }
}

TEST(Schedule, SharesAStepEvenly) {
  const auto split = split_of(1000, 10, 4);
  const Schedule schedule(split, 10, 1, 103);
  const auto order = schedule.order(0);
  for (std::uint32_t rank = 0; rank < 8; ++rank) {
    std::vector<Row> rows;
    append(rows, schedule.rows_of(order, 2, rank, 8));
    EXPECT_THAT(rows.size(), testing::AllOf(testing::Ge(12U), testing::Le(13U)));
  }
}

TEST(Schedule, GivesARankNoRowsWhereThereAreFewerRowsThanRanks) {
  const auto split = split_of(13, 10, 4);
  const Schedule schedule(split, 10, 1, 10);
  ASSERT_EQ(schedule.rounds_per_epoch(), 2U);
  const auto order = schedule.order(0);
  std::vector<std::size_t> ranges;
  for (std::uint32_t rank = 0; rank < 4; ++rank) ranges.push_back(schedule.rows_of(order, 1, rank, 4).size());
  EXPECT_THAT(ranges, testing::ElementsAre(0U, 1U, 1U, 1U));
}

TEST(Schedule, KeepsTheGroupsOfABlockTogetherButForTheLastOne) {
  const auto split = split_of(237, 10, 4);
  const Schedule schedule(split, 10, 3, 237);
  std::vector<std::uint32_t> blocks;
  auto visited = schedule.rows_of(schedule.order(2), 0, 0, 1);
  EXPECT_EQ(visited.back(), (GroupRows{.block = 5, .group = 3, .first_row = 0, .last_row = 7})) << "the shorter one";
  visited.pop_back();
  for (const auto& rows : visited) {
    if (blocks.empty() || blocks.back() != rows.block) blocks.push_back(rows.block);
  }
  EXPECT_EQ(blocks.size(), split.blocks.size());
}

TEST(Schedule, IsAPureFunctionOfSeedAndEpoch) {
  const auto split = split_of(237, 10, 4);
  const auto rows = [&](std::uint64_t seed, std::uint32_t epoch) {
    const Schedule schedule(split, 10, seed, 237);
    return schedule.rows_of(schedule.order(epoch), 0, 0, 1);
  };
  EXPECT_EQ(rows(1, 4), rows(1, 4));
  EXPECT_NE(rows(1, 4), rows(1, 5));
  EXPECT_NE(rows(1, 4), rows(2, 4));
}

TEST(Schedule, ShufflesEachBlockInItsOwnWay) {
  const auto split = split_of(4000, 10, 10);
  const Schedule schedule(split, 10, 1, 4000);
  std::map<std::uint32_t, std::vector<std::uint32_t>> orders;
  for (const auto& rows : schedule.rows_of(schedule.order(0), 0, 0, 1)) orders[rows.block].push_back(rows.group);
  std::vector<std::vector<std::uint32_t>> distinct;
  for (const auto& [block, order] : orders) distinct.push_back(order);
  std::ranges::sort(distinct);
  EXPECT_EQ(std::ranges::adjacent_find(distinct), distinct.end()) << "40 of 10! orders should all differ";
}

/// The order of rows is part of a run's identity: these numbers must never change.
TEST(Schedule, KeepsItsOrderForEver) {
  const auto split = split_of(155, 10, 4);
  const Schedule schedule(split, 10, 7, 155);
  std::vector<std::uint32_t> order;  // block and group as two digits
  for (const auto& rows : schedule.rows_of(schedule.order(3), 0, 0, 1)) order.push_back(10 * rows.block + rows.group);
  EXPECT_THAT(order, testing::ElementsAre(3, 1, 2, 0, 10, 12, 13, 11, 30, 31, 32, 20, 21, 23, 22, 33));
}

TEST(Schedule, CountsEpochsAndSteps) {
  const auto split = split_of(95, 10, 4);
  const Schedule schedule(split, 10, 7, 30);
  EXPECT_EQ(schedule.rounds_per_epoch(), 4U);
  EXPECT_EQ(schedule.epoch_of(3), 0U);
  EXPECT_EQ(schedule.epoch_of(4), 1U);
  EXPECT_EQ(schedule.step_of(7), 3U);
  EXPECT_EQ(Schedule(split, 10, 7, ~std::uint64_t{0}).rounds_per_epoch(), 1U);
}

TEST(Schedule, RefusesNoRowsAndNoBatch) {
  EXPECT_THROW(Schedule({}, 10, 1, 100), Error);
  const auto split = split_of(95, 10, 4);
  EXPECT_THROW(Schedule(split, 10, 1, 0), Error);
}

TEST(Schedule, WithFixedSharesGivesEachRankItsRowsInEveryPass) {
  constexpr std::uint32_t kPasses = 3;
  for (const std::uint64_t rows : {11U, 40U, 237U}) {
    for (const std::uint64_t batch : {7U, 10U, 25U, 1000U}) {
      const auto split = split_of(rows, 10, 4);
      const Schedule schedule(split, 10, 5, batch, kPasses);
      const auto steps = schedule.rounds_per_epoch() / kPasses;
      EXPECT_EQ(steps, (rows + batch - 1) / batch);
      EXPECT_EQ(schedule.rows_per_epoch(), rows * kPasses);
      constexpr std::uint32_t kRanks = 3;
      std::vector<std::vector<Row>> shares(kRanks);
      std::vector<std::vector<Row>> orders;  // of rank 1, pass by pass
      for (const std::uint32_t epoch : {0U, 1U, 5U}) {
        const auto order = schedule.order(epoch);
        for (std::uint32_t pass = 0; pass < kPasses; ++pass) {
          for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
            std::vector<Row> seen;
            for (std::uint64_t step = 0; step < steps; ++step) {
              append(seen, schedule.rows_of(order, pass * steps + step, rank, kRanks));
            }
            if (rank == 1) orders.push_back(seen);
            std::ranges::sort(seen);
            if (shares[rank].empty()) shares[rank] = seen;
            EXPECT_EQ(seen, shares[rank]);
          }
        }
      }
      if (steps > 6) {
        EXPECT_NE(orders[0], orders[1]);
        EXPECT_NE(orders[1], orders[kPasses]);
      }
      std::vector<Row> all;
      for (const auto& share : shares) all.insert(all.end(), share.begin(), share.end());
      std::ranges::sort(all);
      EXPECT_EQ(all, all_rows(split, 10));
    }
  }
}

}  // namespace
}  // namespace virga
