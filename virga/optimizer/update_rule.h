#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "virga/batch/table.h"
#include "virga/optimizer/elastic_net.h"
#include "virga/optimizer/linear_map.h"
#include "virga/optimizer/packed_rows.h"

namespace virga {

enum class RuleKind : std::uint8_t { kSgd, kMomentum, kNesterov, kAdagrad, kAdam };

/// Formulas: docs/optimizers.md.
struct UpdateRuleOptions {
  RuleKind kind = RuleKind::kAdagrad;
  double learning_rate = 0.1;
  double l1 = 0;
  double l2 = 0;
  double momentum = 0.9;           ///< momentum, nesterov: decay of the velocity
  double beta1 = 0.9;              ///< adam: decay of the first moment
  double beta2 = 0.999;            ///< adam: decay of the second moment
  double epsilon = 1e-8;           ///< adagrad: added inside the root; adam: added to the root
  double initial_accumulator = 0;  ///< adagrad
};

/// States of some rows of a sparse table, [keys x width] each, as far as the rule has them.
struct RowStates {
  std::vector<float> s1;
  std::vector<float> s2;
};

/// The tables of a rule's states: "<table>.velocity", ".accumulator", ".first_moment", ".second_moment"; those of each
/// table of `parameters` one after the other, s1 first.
[[nodiscard]] Layout state_layout(const Layout& parameters, RuleKind kind);

/// All that an update rule holds, as it lies in memory: rows may be behind, each up to the step that is noted for it.
struct RuleState {
  Tables parameters;
  Tables states;                                  ///< "<table>.velocity", ".accumulator", ".first_moment", ...
  std::vector<std::vector<std::uint32_t>> steps;  ///< [tables][rows]; empty for tables whose rows are never behind
  bool operator==(const RuleState&) const = default;
};

/// Parameters, and what is done to them with the mean gradient of a step, row by row (a row of a sparse table is one
/// key). Rows of sparse tables that a step does not touch are left alone and *caught up* later, in closed form, so a
/// step costs as much as its keys. The rule holds the parameters, because a row lies beside its own state in memory.
///
/// Steps are counted from 0; step s turns the parameters before s into those before s + 1; there are at most 2^31. Each
/// parameter is computed by itself, in IEEE arithmetic and a fixed order of operations: the bits do not depend on which
/// thread does which rows, nor on the machine's vectors.
///
/// Threads: several may call const members; several may apply, if their keys (or elements, or tables) are disjoint; not
/// both at once, but for read_own(), step_own(), apply_own() and return_own(), which go together if keys (or tables,
/// also with apply_whole()) are disjoint. Everything else is for one thread alone.
class UpdateRule {
 public:
  /// Starts from `parameters` before `step`, with fresh state. Throws Error(kUsage) for options out of range,
  /// Error(kUnsupported) for L1 with momentum or nesterov, Error(kDiverged) for sgd with learning rate x l2 >= 1.
  UpdateRule(const Tables& parameters, const UpdateRuleOptions& options, std::uint64_t step = 0);

  /// Copies rows `keys` (each below the table's rows) of a sparse table as they stand before `step` to `out` [keys x
  /// width].
  void read(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys, std::span<float> out) const;
  /// The same, and what apply_own() needs to go on from there: for a caller who has these rows for himself until then,
  /// so that they are fetched and caught up once.
  void read_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys, std::span<float> out,
                RowStates& states) const;
  /// Copies a table that is not sparse to `out` [rows x width].
  void read_whole(std::size_t table, std::span<float> out) const;
  /// Copies all parameters as they stand before `step` to `out`, which has the layout of these, on at most `threads`
  /// threads.
  void copy_parameters(std::uint64_t step, Tables& out, unsigned threads = 1) const;

  /// Step `step` for rows `keys` (ascending, unique) of a sparse table; `gradient` [keys x width] is the mean.
  void apply(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
             std::span<const float> gradient);
  /// apply() for rows as read_own() gave them: `w` its out, `states` its states.
  void apply_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys, std::span<const float> w,
                 const RowStates& states, std::span<const float> gradient);
  /// apply_own() that leaves the rows with the caller: `w` and `states` are of `step` before it and of `step` + 1
  /// after.
  void step_own(std::uint64_t step, std::size_t table, std::span<float> w, RowStates& states,
                std::span<const float> gradient) const;
  /// Takes rows back that read_own() gave, as they stand before `step`.
  void return_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys, std::span<const float> w,
                  const RowStates& states);
  /// Step `step` for the elements [first, first + gradient.size()) of a table that is not sparse.
  void apply_whole(std::uint64_t step, std::size_t table, std::size_t first, std::span<const float> gradient);

  /// read_own() of a table that is not sparse: all of it, [rows x width].
  void read_whole_own(std::size_t table, std::span<float> out, RowStates& states) const;

  /// Rows `keys` (ascending, unique) of a sparse table are `w`, with `states`, before `step`, whatever they were.
  void assign(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys, std::span<const float> w,
              const RowStates& states);
  /// The same for the elements [first, first + w.size()) of a table that is not sparse.
  void assign_whole(std::size_t table, std::size_t first, std::span<const float> w, const RowStates& states);

  /// How many states each parameter has: 0 to 2.
  [[nodiscard]] std::size_t states() const noexcept { return tables_.empty() ? 0 : tables_[0].rows.states(); }

  /// Brings all rows to what they are before `step`; so does scale_accumulators() of AdaGrad. What asks for all
  /// parameters before the next step is cheap from then on.
  void catch_up(std::uint64_t step, unsigned threads = 1);
  /// The rate from `step` on. Throws as the constructor does.
  void set_learning_rate(std::uint64_t step, double rate);
  /// AdaGrad: multiplies the accumulators before `step`, on at most `threads` threads. No effect on other rules.
  void scale_accumulators(std::uint64_t step, double factor, unsigned threads = 1);

  /// Catches up and copies the rule's own state: the tables of state_layout().
  [[nodiscard]] Tables state(std::uint64_t step);

  /// Everything, for a checkpoint. Nothing is caught up: the bits of a run do not depend on how often it is saved.
  [[nodiscard]] RuleState save() const;
  /// Takes over what save() gave before `step`; the options stay this rule's own. Throws Error(kBadData) if it is one
  /// of another model or rule, or of a later step.
  void load(std::uint64_t step, const RuleState& state);

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const UpdateRuleOptions& options() const noexcept { return options_; }

 private:
  struct Table {
    ElasticNet penalty;
    PackedRows rows;                          ///< a table that is not sparse is a single row
    std::unique_ptr<const MapPowers> powers;  ///< momentum, nesterov, adam, if rows can be behind: of an untouched step
  };
  struct Access;  // what the members do with the rule of one table, in update_rule.cc
  void prepare_powers();

  Layout layout_;
  UpdateRuleOptions options_;
  std::vector<Table> tables_;
  /// Before which step all rows were brought last. Steps do not go back, so apply() need not forget it, which several
  /// threads may call at once.
  std::optional<std::uint64_t> caught_up_;
};

}  // namespace virga
