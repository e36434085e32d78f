#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "virga/batch/table.h"

namespace virga {

enum class RuleKind : std::uint8_t { kSgd, kMomentum, kNesterov, kAdagrad, kAdam };

struct UpdateRuleOptions {
  RuleKind kind = RuleKind::kAdagrad;
  double learning_rate = 0.1;
  double l1 = 0;
  double l2 = 0;
  double momentum = 0.9;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

/// What is done to the shared parameters with the mean gradient of a round, row by row (a row of a sparse table is one
/// key). Definitions: docs/optimizers.md. Rows of sparse tables that a round does not touch are left alone and *caught
/// up* later, in closed form, so a round costs as much as its keys.
///
/// Rounds are counted from 0; round r turns the parameters before r into those before r + 1. Several threads may read,
/// and several threads may apply disjoint keys (or different tables), but not both at once.
class UpdateRule {
 public:
  UpdateRule(const Layout& layout, const UpdateRuleOptions& options);

  /// Copies the rows `keys` of `table` as they stand before `round` to `out` [keys x width]; changes nothing.
  void read(std::uint64_t round, const Tables& parameters, std::size_t table, std::span<const std::uint32_t> keys,
            std::span<float> out) const;
  /// Round `round` for rows `keys` (ascending, unique) of a sparse table; `gradient` [keys x width] is the mean.
  void apply(std::uint64_t round, Tables& parameters, std::size_t table, std::span<const std::uint32_t> keys,
             std::span<const float> gradient);
  /// Round `round` for a table that is not sparse; `gradient` [rows x width].
  void apply_whole(std::uint64_t round, Tables& parameters, std::size_t table, std::span<const float> gradient);
  /// Brings rows [first, last) of `table` to what they are before `round`.
  void catch_up(std::uint64_t round, Tables& parameters, std::size_t table, std::uint32_t first, std::uint32_t last);

  /// Both require that all rows are caught up.
  void set_learning_rate(double rate) { options_.learning_rate = rate; }
  void scale_accumulators(double factor);
  [[nodiscard]] const UpdateRuleOptions& options() const noexcept { return options_; }

 private:
  struct State {
    double l1 = 0;
    double l2 = 0;
    bool lazy = false;                   ///< untouched rows change, and are caught up later
    std::vector<float> first;            ///< velocity, accumulator or first moment; [rows x width]
    std::vector<float> second;           ///< second moment
    std::vector<std::uint32_t> touched;  ///< [rows] if lazy: the round that the row stands before
  };
  [[nodiscard]] float value_at(const State& s, std::size_t i, float w, std::uint32_t rounds) const noexcept;
  void advance(State& s, std::size_t i, float& w, std::uint32_t rounds) const noexcept;
  void step(State& s, std::size_t i, float& w, float gradient, std::uint64_t round) const noexcept;

  UpdateRuleOptions options_;
  std::vector<State> states_;
};

}  // namespace virga
