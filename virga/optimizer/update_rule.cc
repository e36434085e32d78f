#include "virga/optimizer/update_rule.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/optimizer/chunk_kernels.h"
#include "virga/optimizer/rules.h"

namespace virga {
namespace {

constexpr std::size_t kElementsOfThread = std::size_t{1} << 16;  // that a thread takes at once
constexpr std::uint64_t kMaxSteps = std::uint64_t{1} << 31;      // a row may be that far behind

std::uint32_t step_number(std::uint64_t step) {
  if (step >= kMaxSteps) {
    throw Error(ErrorKind::kTooLarge, "a run has at most 2^31 steps", "give a larger --batch-size or fewer --epochs");
  }
  return static_cast<std::uint32_t>(step);
}

void require(bool holds, const char* what, const char* remedy) {
  if (!holds) throw Error(ErrorKind::kUsage, what, remedy);
}

void check_options(const UpdateRuleOptions& o) {
  const auto is_decay = [](double x) { return x >= 0 && x < 1; };
  const auto is_strength = [](double x) { return x == 0 || (x >= 1e-30 && x <= 1e15); };
  require(o.learning_rate >= 0 && o.learning_rate <= 1e15, "the learning rate is not a number from 0 to 1e15",
          "give --learning-rate a positive number, such as 0.1");
  require(is_strength(o.l1), "l1 is neither 0 nor between 1e-30 and 1e15", "give --l1 a number such as 1e-5, or 0");
  require(is_strength(o.l2), "l2 is neither 0 nor between 1e-30 and 1e15", "give --l2 a number such as 1e-5, or 0");
  require(is_decay(o.momentum), "momentum is not in [0, 1)", "give --momentum a number such as 0.9");
  require(is_decay(o.beta1) && is_decay(o.beta2), "beta1 or beta2 is not in [0, 1)",
          "give --beta1 and --beta2 numbers such as 0.9 and 0.999");
  require(o.epsilon >= std::numeric_limits<float>::min() && o.epsilon <= 1e15,
          "epsilon is below the smallest float, 1.2e-38, or above 1e15", "give --epsilon a number such as 1e-8");
  require(o.initial_accumulator >= 0 && o.initial_accumulator <= 1e15,
          "the initial accumulator is not a number from 0 to 1e15", "give it a number such as 0");
  if (o.kind == RuleKind::kSgd && o.learning_rate * o.l2 >= 1) {
    throw Error(ErrorKind::kDiverged, "the learning rate times l2 is 1 or more, so the penalty alone overshoots",
                "lower --learning-rate or --l2, or use --optimizer adagrad");
  }
  if (o.l1 > 0 && (o.kind == RuleKind::kMomentum || o.kind == RuleKind::kNesterov)) {
    throw Error(ErrorKind::kUnsupported, "l1 with momentum has no closed form for rows that a step does not touch",
                "use --optimizer adagrad, adam or sgd with --l1");
  }
}

std::vector<std::string> state_names(RuleKind kind) {
  switch (kind) {
    case RuleKind::kSgd:
      return {};
    case RuleKind::kMomentum:
    case RuleKind::kNesterov:
      return {"velocity"};
    case RuleKind::kAdagrad:
      return {"accumulator"};
    case RuleKind::kAdam:
      return {"first_moment", "second_moment"};
  }
  return {};
}

/// May rows of the table be behind? Only if an untouched step changes them or their state.
bool can_be_behind(RuleKind kind, const TableSpec& table, const ElasticNet& penalty) {
  const bool has_memory = kind == RuleKind::kMomentum || kind == RuleKind::kNesterov || kind == RuleKind::kAdam;
  return table.sparse && (has_memory || !penalty.empty());
}

bool fit(const RowStates& states, std::size_t count, std::size_t size) {
  return (count < 1 || states.s1.size() == size) && (count < 2 || states.s2.size() == size);
}

std::size_t rows_in_memory(const TableSpec& table) { return table.sparse ? table.rows : 1; }
std::size_t width_in_memory(const TableSpec& table) { return table.sparse ? table.width : table.size(); }

/// Array `which` of all rows, from and to a compact one [rows x width].
void load_array(PackedRows& rows, std::size_t which, const std::vector<float>& values) {
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const auto* from = values.data() + r * rows.width();
    std::transform(from, from + rows.width(), rows.array(r, which),
                   [](float x) { return std::bit_cast<std::uint32_t>(x); });
  }
}
void save_array(const PackedRows& rows, std::size_t which, std::vector<float>& values) {
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const auto* from = rows.array(r, which);
    std::transform(from, from + rows.width(), values.data() + r * rows.width(),
                   [](std::uint32_t x) { return std::bit_cast<float>(x); });
  }
}
/// Is there nothing to load into rows that are new?
bool all_zero(std::span<const float> values) {
  constexpr std::size_t kBlock = 1024;
  while (!values.empty()) {
    const auto block = values.first(std::min(kBlock, values.size()));
    std::uint32_t bits = 0;
    for (const auto x : block) bits |= std::bit_cast<std::uint32_t>(x);
    if (bits != 0) return false;
    values = values.subspan(block.size());
  }
  return true;
}
/// Calls visit(rows of it) for parts that make up the table, on at most `threads` threads.
template <typename Visit>
void in_parts(const PackedRows& rows, unsigned threads, const Visit& visit) {
  const auto part = std::max<std::size_t>(1, kElementsOfThread / std::max<std::size_t>(1, rows.width()));
  parallel_for(threads, (rows.rows() + part - 1) / part, [&](std::size_t i) {
    visit(AllRows{i * part, std::min(part, rows.rows() - i * part)});
  });
}

void set_steps(PackedRows& rows, std::uint32_t step) {
  if (!rows.lazy()) return;
  for (std::size_t r = 0; r < rows.rows(); ++r) rows.row(r)[rows.step_offset()] = step;
}

/// A rule with its loops.
template <typename Rule>
struct Worker {
  Rule rule;
  ChunkKernels<Rule> kernels;

  /// Calls then(lazy, catch_up) where the former is a constant.
  template <bool kLazy, typename List>
  void read(const PackedRows& rows, const List& list, std::uint32_t step, float* out) const {
    Chunk chunk;
    for_each_part(list.size(), 0, rows.width(), [&](const Part& part) {
      gather<Rule::kStates, kLazy>(rows, list, part, step, chunk);
      if constexpr (kLazy) catch_up(chunk);
      std::copy_n(chunk.w.data(), chunk.size(), out + part.first * rows.width() + part.first_column);
    });
  }

  /// read(), and the states to `states`.
  template <bool kLazy, typename List>
  void read_own(const PackedRows& rows, const List& list, std::uint32_t step, float* out, RowStates& states) const {
    Chunk chunk;
    for_each_part(list.size(), 0, rows.width(), [&](const Part& part) {
      gather<Rule::kStates, kLazy>(rows, list, part, step, chunk);
      if constexpr (kLazy) catch_up(chunk);
      const auto at = part.first * rows.width() + part.first_column;
      give(chunk, at, out, states);
    });
  }

  /// apply() from what read_own() gave.
  template <bool kLazy, typename List>
  void apply_own(PackedRows& rows, const List& list, std::uint32_t step, const float* w, const RowStates& states,
                 const float* gradient) const {
    Chunk chunk;
    for_each_part_backwards(list.size(), rows.width(), [&](const Part& part) {
      chunk.rows = part.rows;
      chunk.columns = part.columns;
      const auto at = part.first * rows.width() + part.first_column;
      take(w, states, at, chunk);
      prefetch(rows, list, part);
      kernels.step(rule, chunk, gradient + at);
      scatter<Rule::kStates, kLazy>(rows, list, part, step + 1, chunk);
    });
  }

  /// One step of rows that lie at `w` and in `states`, [size].
  void step_own(std::size_t size, float* w, RowStates& states, const float* gradient) const {
    Chunk chunk;
    chunk.columns = 1;
    for (std::size_t at = 0; at < size; at += chunk.rows) {
      chunk.rows = std::min(Chunk::kElements, size - at);
      take(w, states, at, chunk);
      kernels.step(rule, chunk, gradient + at);
      give(chunk, at, w, states);
    }
  }

  /// Columns [first, last) of `list`; `gradient` is compact.
  template <bool kLazy, typename List>
  void apply(PackedRows& rows, const List& list, std::size_t first, std::size_t last, std::uint32_t step,
             const float* gradient) const {
    Chunk chunk;
    for_each_part(list.size(), first, last, [&](const Part& part) {
      gather<Rule::kStates, kLazy>(rows, list, part, step, chunk);
      if constexpr (kLazy) catch_up(chunk);
      kernels.step(rule, chunk, gradient + part.first * (last - first) + (part.first_column - first));
      scatter<Rule::kStates, kLazy>(rows, list, part, step + 1, chunk);
    });
  }

  /// `list` is `w` and `states` from now on, columns [first, last); both are compact.
  template <bool kLazy, typename List>
  void assign(PackedRows& rows, const List& list, std::size_t first, std::size_t last, std::uint32_t step,
              const float* w, const RowStates& states) const {
    Chunk chunk;
    for_each_part(list.size(), first, last, [&](const Part& part) {
      chunk.rows = part.rows;
      chunk.columns = part.columns;
      const auto at = part.first * (last - first) + (part.first_column - first);
      take(w, states, at, chunk);
      scatter<Rule::kStates, kLazy, true>(rows, list, part, step, chunk);
    });
  }

  /// Brings `list` to `step`, then multiplies first states by `factor`.
  template <bool kLazy>
  void bring(PackedRows& rows, const AllRows& list, std::uint32_t step, float factor) const {
    Chunk chunk;
    for_each_part(list.size(), 0, rows.width(), [&](const Part& part) {
      gather<Rule::kStates, kLazy>(rows, list, part, step, chunk);
      if constexpr (kLazy) catch_up(chunk);
      if constexpr (Rule::kStates > 0) {
        for (std::size_t i = 0; i < chunk.size(); ++i) chunk.s1[i] *= factor;
      }
      scatter<Rule::kStates, kLazy>(rows, list, part, step, chunk);
    });
  }

  /// Elements `at` ... of `w` and `states` into the chunk, whose size is set; and back.
  static void take(const float* w, const RowStates& states, std::size_t at, Chunk& chunk) {
    std::copy_n(w + at, chunk.size(), chunk.w.data());
    if constexpr (Rule::kStates > 0) std::copy_n(states.s1.data() + at, chunk.size(), chunk.s1.data());
    if constexpr (Rule::kStates > 1) std::copy_n(states.s2.data() + at, chunk.size(), chunk.s2.data());
  }
  static void give(const Chunk& chunk, std::size_t at, float* w, RowStates& states) {
    std::copy_n(chunk.w.data(), chunk.size(), w + at);
    if constexpr (Rule::kStates > 0) std::copy_n(chunk.s1.data(), chunk.size(), states.s1.data() + at);
    if constexpr (Rule::kStates > 1) std::copy_n(chunk.s2.data(), chunk.size(), states.s2.data() + at);
  }

  void catch_up(Chunk& chunk) const {
    std::int32_t behind = 0;
    for (std::size_t i = 0; i < chunk.size(); ++i) behind |= chunk.behind[i];
    if (behind != 0) kernels.catch_up(rule, chunk);  // no step changes nothing
  }
};

}  // namespace

Layout state_layout(const Layout& parameters, RuleKind kind) {
  Layout states;
  for (const auto& table : parameters) {
    for (const auto& name : state_names(kind)) {
      states.push_back(table);
      states.back().name += "." + name;
    }
  }
  return states;
}

struct UpdateRule::Access {
  static MomentumRule momentum(const UpdateRuleOptions& o, const Table& table) noexcept {
    return {o.learning_rate, o.momentum, table.penalty.l2, o.kind == RuleKind::kNesterov, table.powers.get()};
  }

  template <typename Rule>
  static Worker<Rule> worker(const Rule& rule) noexcept {
    static const VectorWidth kWidest = vector_widths().back();
    return {rule, chunk_kernels<Rule>(kWidest)};
  }

  /// Calls visit(worker) with the rule of `table` for `step`.
  template <typename Visit>
  static void visit(const UpdateRuleOptions& o, std::uint64_t step, const Table& table, const Visit& visit) {
    switch (o.kind) {
      case RuleKind::kSgd:
        return visit(worker(SgdRule{o.learning_rate, table.penalty}));
      case RuleKind::kMomentum:
      case RuleKind::kNesterov:
        return visit(worker(momentum(o, table)));
      case RuleKind::kAdagrad:
        return visit(worker(AdagradRule{o.learning_rate, o.epsilon, table.penalty}));
      case RuleKind::kAdam:
        return visit(worker(
            AdamRule{o.learning_rate, o.beta1, o.beta2, o.epsilon, table.penalty, step + 1, table.powers.get()}));
    }
  }

  /// Calls then(worker, lazy) where lazy() is a constant.
  template <typename Then>
  static void visit_lazy(const UpdateRuleOptions& o, std::uint64_t step, const Table& table, const Then& then) {
    visit(o, step, table, [&](const auto& worker) {
      if (table.rows.lazy()) return then(worker, std::true_type());
      then(worker, std::false_type());
    });
  }

  template <typename List>
  static void read(const UpdateRuleOptions& o, std::uint64_t step, const Table& table, const List& list, float* out) {
    const auto number = step_number(step);
    visit_lazy(o, step, table,
               [&](const auto& worker, auto lazy) { worker.template read<lazy()>(table.rows, list, number, out); });
  }

  template <typename List>
  static void read_own(const UpdateRuleOptions& o, std::uint64_t step, const Table& table, const List& list,
                       std::span<float> out, RowStates& states) {
    if (table.rows.states() > 0) states.s1.resize(out.size());
    if (table.rows.states() > 1) states.s2.resize(out.size());
    const auto number = step_number(step);
    visit_lazy(o, step, table, [&](const auto& worker, auto lazy) {
      worker.template read_own<lazy()>(table.rows, list, number, out.data(), states);
    });
  }

  template <typename List>
  static void assign(const UpdateRuleOptions& o, std::uint64_t step, Table& table, const List& list, std::size_t first,
                     std::size_t last, const float* w, const RowStates& states) {
    const auto number = step_number(step);
    visit_lazy(o, step, table, [&](const auto& worker, auto lazy) {
      worker.template assign<lazy()>(table.rows, list, first, last, number, w, states);
    });
  }

  template <typename List>
  static void apply(const UpdateRuleOptions& o, std::uint64_t step, Table& table, const List& list, std::size_t first,
                    std::size_t last, const float* gradient) {
    const auto number = step_number(step);
    visit_lazy(o, step, table, [&](const auto& worker, auto lazy) {
      worker.template apply<lazy()>(table.rows, list, first, last, number, gradient);
    });
  }
};

UpdateRule::UpdateRule(const Tables& parameters, const UpdateRuleOptions& options, std::uint64_t step)
    : layout_(parameters.layout), options_(options) {
  check_options(options_);
  const auto states = state_names(options_.kind).size();
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    const auto& spec = layout_[t];
    const auto penalty = spec.regularised ? ElasticNet{options_.l1, options_.l2} : ElasticNet{};
    Table table{
        penalty,
        PackedRows(rows_in_memory(spec), width_in_memory(spec), states, can_be_behind(options_.kind, spec, penalty)),
        nullptr};
    if (!all_zero(parameters.values[t])) load_array(table.rows, 0, parameters.values[t]);
    if (options_.kind == RuleKind::kAdagrad && options_.initial_accumulator > 0) {
      load_array(table.rows, 1, std::vector(spec.size(), static_cast<float>(options_.initial_accumulator)));
    }
    if (step > 0) set_steps(table.rows, step_number(step));
    tables_.push_back(std::move(table));
  }
  prepare_powers();
}

void UpdateRule::prepare_powers() {
  for (auto& table : tables_) {
    if (!table.rows.lazy()) continue;
    if (options_.kind == RuleKind::kMomentum || options_.kind == RuleKind::kNesterov) {
      table.powers = std::make_unique<MapPowers>(Access::momentum(options_, table).untouched());
    } else if (options_.kind == RuleKind::kAdam && !table.powers) {
      table.powers = std::make_unique<MapPowers>(LinearMap{.aa = options_.beta1, .bb = options_.beta2});
    }
  }
}

void UpdateRule::read(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                      std::span<float> out) const {
  const auto& rows = tables_[table].rows;
  check(layout_[table].sparse && out.size() == keys.size() * rows.width(),
        "UpdateRule::read: the table is sparse, `out` is [keys x width]");
  check(keys.empty() || keys.back() < rows.rows(), "UpdateRule::read: keys are below the table's rows");
  Access::read(options_, step, tables_[table], KeyedRows{keys}, out.data());
}

void UpdateRule::read_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                          std::span<float> out, RowStates& states) const {
  const auto& rows = tables_[table].rows;
  check(layout_[table].sparse && out.size() == keys.size() * rows.width(),
        "UpdateRule::read_own: the table is sparse, `out` is [keys x width]");
  check(keys.empty() || keys.back() < rows.rows(), "UpdateRule::read_own: keys are below the table's rows");
  Access::read_own(options_, step, tables_[table], KeyedRows{keys}, out, states);
}

void UpdateRule::read_whole_own(std::size_t table, std::span<float> out, RowStates& states) const {
  check(!layout_[table].sparse && out.size() == tables_[table].rows.width(),
        "UpdateRule::read_whole_own: the table is not sparse, `out` has its size");
  Access::read_own(options_, 0, tables_[table], AllRows{0, 1}, out, states);
}

void UpdateRule::assign(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                        std::span<const float> w, const RowStates& states) {
  caught_up_.reset();
  return_own(step, table, keys, w, states);
}

void UpdateRule::assign_whole(std::size_t table, std::size_t first, std::span<const float> w, const RowStates& states) {
  const auto& rows = tables_[table].rows;
  check(!layout_[table].sparse && first + w.size() <= rows.width() && fit(states, rows.states(), w.size()),
        "UpdateRule::assign_whole: the table is not sparse, the elements are within it");
  Access::assign(options_, 0, tables_[table], AllRows{0, 1}, first, first + w.size(), w.data(), states);
}

void UpdateRule::apply_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                           std::span<const float> w, const RowStates& states, std::span<const float> gradient) {
  auto& rows = tables_[table].rows;
  const auto size = keys.size() * rows.width();
  check(layout_[table].sparse && gradient.size() == size && w.size() == size && fit(states, rows.states(), size),
        "UpdateRule::apply_own: the table is sparse, all is [keys x width]");
  check(keys.empty() || keys.back() < rows.rows(), "UpdateRule::apply_own: keys are below the table's rows");
  const auto number = step_number(step);
  Access::visit_lazy(options_, step, tables_[table], [&](const auto& worker, auto lazy) {
    worker.template apply_own<lazy()>(rows, KeyedRows{keys}, number, w.data(), states, gradient.data());
  });
}

void UpdateRule::step_own(std::uint64_t step, std::size_t table, std::span<float> w, RowStates& states,
                          std::span<const float> gradient) const {
  check(layout_[table].sparse && w.size() == gradient.size() && fit(states, tables_[table].rows.states(), w.size()),
        "UpdateRule::step_own: the table is sparse, all is of one size");
  static_cast<void>(step_number(step));
  Access::visit(options_, step, tables_[table],
                [&](const auto& worker) { worker.step_own(w.size(), w.data(), states, gradient.data()); });
}

void UpdateRule::return_own(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                            std::span<const float> w, const RowStates& states) {
  const auto& rows = tables_[table].rows;
  check(layout_[table].sparse && w.size() == keys.size() * rows.width() && fit(states, rows.states(), w.size()),
        "UpdateRule::return_own: the table is sparse, all is [keys x width]");
  check(keys.empty() || keys.back() < rows.rows(), "UpdateRule::return_own: keys are below the table's rows");
  Access::assign(options_, step, tables_[table], KeyedRows{keys}, 0, rows.width(), w.data(), states);
}

void UpdateRule::read_whole(std::size_t table, std::span<float> out) const {
  const auto& rows = tables_[table].rows;
  check(!layout_[table].sparse && out.size() == rows.width(),
        "UpdateRule::read_whole: the table is not sparse, `out` has its size");
  Access::read(options_, 0, tables_[table], AllRows{0, 1}, out.data());
}

void UpdateRule::copy_parameters(std::uint64_t step, Tables& out, unsigned threads) const {
  check(out.layout == layout_, "UpdateRule::copy_parameters: `out` has the layout of the parameters");
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    const auto& rows = tables_[t].rows;
    in_parts(rows, threads, [&](const AllRows& some) {
      Access::read(options_, step, tables_[t], some, out.values[t].data() + some.first * rows.width());
    });
  }
}

void UpdateRule::apply(std::uint64_t step, std::size_t table, std::span<const std::uint32_t> keys,
                       std::span<const float> gradient) {
  const auto& rows = tables_[table].rows;
  check(layout_[table].sparse && gradient.size() == keys.size() * rows.width(),
        "UpdateRule::apply: the table is sparse, `gradient` is [keys x width]");
  check(keys.empty() || keys.back() < rows.rows(), "UpdateRule::apply: keys are below the table's rows");
  Access::apply(options_, step, tables_[table], KeyedRows{keys}, 0, rows.width(), gradient.data());
}

void UpdateRule::apply_whole(std::uint64_t step, std::size_t table, std::size_t first,
                             std::span<const float> gradient) {
  check(!layout_[table].sparse && first + gradient.size() <= tables_[table].rows.width(),
        "UpdateRule::apply_whole: the table is not sparse, the elements are within it");
  Access::apply(options_, step, tables_[table], AllRows{0, 1}, first, first + gradient.size(), gradient.data());
}

void UpdateRule::catch_up(std::uint64_t step, unsigned threads) {
  if (caught_up_ == step) return;
  const auto number = step_number(step);
  for (auto& table : tables_) {
    if (!table.rows.lazy()) continue;
    Access::visit(options_, step, table, [&](const auto& worker) {
      in_parts(table.rows, threads,
               [&](const AllRows& some) { worker.template bring<true>(table.rows, some, number, 1); });
    });
  }
  caught_up_ = step;
}

void UpdateRule::set_learning_rate(std::uint64_t step, double rate) {
  if (rate == options_.learning_rate) return;
  auto changed = options_;
  changed.learning_rate = rate;
  check_options(changed);
  catch_up(step);
  options_ = changed;
  prepare_powers();
}

void UpdateRule::scale_accumulators(std::uint64_t step, double factor, unsigned threads) {
  if (options_.kind != RuleKind::kAdagrad) return;
  const auto number = step_number(step);
  for (auto& table : tables_) {
    Access::visit_lazy(options_, step, table, [&](const auto& worker, auto lazy) {
      in_parts(table.rows, threads, [&](const AllRows& some) {
        worker.template bring<lazy()>(table.rows, some, number, static_cast<float>(factor));
      });
    });
  }
  caught_up_ = step;
}

Tables UpdateRule::state(std::uint64_t step) {
  catch_up(step);
  Tables result(state_layout(layout_, options_.kind));
  std::size_t next = 0;
  for (const auto& table : tables_) {
    for (std::size_t s = 1; s <= table.rows.states(); ++s) save_array(table.rows, s, result.values[next++]);
  }
  return result;
}

RuleState UpdateRule::save() const {
  RuleState state{Tables(layout_), Tables(state_layout(layout_, options_.kind)), {}};
  std::size_t next = 0;
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    const auto& rows = tables_[t].rows;
    save_array(rows, 0, state.parameters.values[t]);
    for (std::size_t s = 1; s <= rows.states(); ++s) save_array(rows, s, state.states.values[next++]);
    auto& steps = state.steps.emplace_back();
    if (!rows.lazy()) continue;
    for (std::size_t r = 0; r < rows.rows(); ++r) steps.push_back(rows.row(r)[rows.step_offset()]);
  }
  return state;
}

void UpdateRule::load(std::uint64_t step, const RuleState& state) {
  caught_up_.reset();
  const auto now = step_number(step);
  bool fits = state.parameters.layout == layout_ && state.states.layout == state_layout(layout_, options_.kind) &&
              state.steps.size() == tables_.size();
  for (std::size_t t = 0; fits && t < tables_.size(); ++t) {
    fits = state.steps[t].size() == (tables_[t].rows.lazy() ? tables_[t].rows.rows() : 0) &&
           std::ranges::all_of(state.steps[t], [&](std::uint32_t s) { return s <= now; });
  }
  if (!fits) {
    throw Error(ErrorKind::kBadData, "the state of the optimiser is that of another model, optimiser or step",
                "resume with the model and the optimiser that it was written with");
  }
  std::size_t next = 0;
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    auto& rows = tables_[t].rows;
    load_array(rows, 0, state.parameters.values[t]);
    for (std::size_t s = 1; s <= rows.states(); ++s) load_array(rows, s, state.states.values[next++]);
    for (std::size_t r = 0; r < state.steps[t].size(); ++r) rows.row(r)[rows.step_offset()] = state.steps[t][r];
  }
}

}  // namespace virga
