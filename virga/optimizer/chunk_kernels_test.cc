#include "virga/optimizer/chunk_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iostream>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

/// All magnitudes, both signs, zeros and subnormals.
float any_float(const Random& random, std::uint64_t item, std::uint32_t draw) {
  const double x = random.uniform(0, item, draw);
  if (x < 0.1) return 0;
  const double exponent =
      x < 0.9 ? -20 + 20 * random.uniform(1, item, draw) : -149 + 180 * random.uniform(1, item, draw);
  return static_cast<float>(std::exp2(exponent) * (random.bits(2, item, draw) % 2 == 0 ? 1 : -1));
}

Chunk any_chunk(const Random& random, std::uint64_t number, std::size_t rows, std::size_t columns) {
  Chunk chunk{};
  chunk.rows = rows;
  chunk.columns = columns;
  for (std::size_t i = 0; i < Chunk::kElements; ++i) {
    const auto item = number * Chunk::kElements + i;
    chunk.w[i] = any_float(random, item, 0);
    chunk.s1[i] = std::abs(any_float(random, item, 1));
    chunk.s2[i] = std::abs(any_float(random, item, 2));
    const auto row = number * Chunk::kElements + i / columns;
    chunk.behind[i] = static_cast<std::int32_t>(random.bits(3, row) >> (33 + random.below(31, 4, row)));
  }
  return chunk;
}

/// The bits of everything that a rule may change, and of what lies behind it.
std::vector<std::uint32_t> bits_of(const Chunk& chunk) {
  std::vector<std::uint32_t> bits;
  for (const auto* values : {&chunk.w, &chunk.s1, &chunk.s2}) {
    for (const float value : *values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  }
  return bits;
}

template <typename Rule>
void expect_same_bits(const Rule& rule) {
  const Random random(3, Purpose::kTest);
  const auto narrowest = chunk_kernels<Rule>(VectorWidth::k128);
  for (const auto width : vector_widths()) {
    const auto kernels = chunk_kernels<Rule>(width);
    for (std::uint64_t number = 0; number < 40; ++number) {
      const std::size_t columns = number % 3 == 0 ? 1 : 1 + random.below(Chunk::kElements, 5, number);
      const std::size_t rows = 1 + random.below(Chunk::kElements / columns, 6, number);
      auto expected = any_chunk(random, number, rows, columns);
      auto found = expected;
      std::vector<float> gradient(expected.size());
      for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = any_float(random, number * 256 + i, 3);

      narrowest.catch_up(rule, expected);
      kernels.catch_up(rule, found);
      ASSERT_EQ(bits_of(found), bits_of(expected)) << "catch_up, width " << static_cast<int>(width);
      narrowest.step(rule, expected, gradient.data());
      kernels.step(rule, found, gradient.data());
      ASSERT_EQ(bits_of(found), bits_of(expected)) << "step, width " << static_cast<int>(width);
    }
  }
}

constexpr ElasticNet kPenalties[] = {{0, 0}, {1e-3, 0}, {0, 1e-2}, {1e-3, 1e-2}};

TEST(ChunkKernels, GiveTheSameBitsForAllVectorWidths) {
  const auto widths = vector_widths();
  ASSERT_EQ(widths.front(), VectorWidth::k128);
  if (widths.size() < 2) std::cout << "not run: 256-bit vectors, this machine has no AVX2\n";
  if (widths.size() < 3) std::cout << "not run: 512-bit vectors, this machine has no AVX-512\n";
  for (const auto& penalty : kPenalties) {
    expect_same_bits(SgdRule{.rate = 0.1, .penalty = penalty});
    expect_same_bits(AdagradRule{.rate = 0.1, .epsilon = 1e-8, .penalty = penalty});
    const MapPowers decay(LinearMap{.aa = 0.9, .bb = 0.999});
    expect_same_bits(AdamRule{
        .rate = 0.1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .penalty = penalty, .t = 17, .powers = &decay});
    for (const bool nesterov : {false, true}) {
      MomentumRule rule{.rate = 0.1, .momentum = 0.9, .l2 = penalty.l2, .nesterov = nesterov, .powers = nullptr};
      const MapPowers powers(rule.untouched());
      rule.powers = &powers;
      expect_same_bits(rule);
    }
  }
}

template <typename Rule>
void expect_rows_left_alone(const Rule& rule) {
  const Random random(3, Purpose::kTest);
  for (const auto width : vector_widths()) {
    auto chunk = any_chunk(random, 0, Chunk::kElements, 1);
    for (std::size_t i = 0; i < chunk.size(); i += 2) {
      chunk.behind[i] = 0;
      if (i % 4 == 0) chunk.w[i] = -0.0F;
      if (i % 8 == 0) chunk.s1[i] = -0.0F;
    }
    const auto before = bits_of(chunk);
    chunk_kernels<Rule>(width).catch_up(rule, chunk);
    const auto after = bits_of(chunk);
    for (std::size_t i = 0; i < after.size(); i += 2) ASSERT_EQ(after[i], before[i]) << i;
  }
}

/// Or the bits would depend on whether a loop is skipped when none of a chunk's rows is behind, and so on who has which
/// rows. Zeros may have a sign: a weight that decays below the smallest float has.
TEST(ChunkKernels, LeaveRowsAloneThatAreNotBehind) {
  for (const auto& penalty : kPenalties) {
    if (penalty.empty()) continue;
    expect_rows_left_alone(SgdRule{.rate = 0.1, .penalty = penalty});
    expect_rows_left_alone(AdagradRule{.rate = 0.1, .epsilon = 1e-8, .penalty = penalty});
  }
  const MapPowers decay(LinearMap{.aa = 0.9, .bb = 0.999});
  expect_rows_left_alone(
      AdamRule{.rate = 0.1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .penalty = {}, .t = 17, .powers = &decay});
  MomentumRule rule{.rate = 0.1, .momentum = 0.9, .l2 = 1e-2, .nesterov = false, .powers = nullptr};
  const MapPowers powers(rule.untouched());
  rule.powers = &powers;
  expect_rows_left_alone(rule);
}

}  // namespace
}  // namespace virga
