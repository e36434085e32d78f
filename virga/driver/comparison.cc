#include "virga/driver/comparison.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"

namespace virga {
namespace {

using nlohmann::json;

double lowest(const ComparedRun& run) {
  double loss = INFINITY;
  for (const auto& point : run.points) loss = std::min(loss, point.loss);
  return loss;
}

std::string times_text(double ratio) {
  return ratio < 10 ? fmt::format("{:.2g}", ratio) : fmt::format("{:.0f}", ratio);
}

/// "3.1 times as fast as B", "7 times as slow as B".
std::string speed_text(double seconds, double others, const std::string& other) {
  if (seconds <= others * 1.05 && others <= seconds * 1.05) return fmt::format("as fast as {}", other);
  return seconds < others ? fmt::format("{} times as fast as {}", times_text(others / seconds), other)
                          : fmt::format("{} times as slow as {}", times_text(seconds / others), other);
}
std::string price_text(double usd, double others) {
  if (!(usd > 0) || !(others > 0)) return "";
  const auto sums = fmt::format("({} against {})", format_usd(bounded_usd(usd)), format_usd(bounded_usd(others)));
  if (usd <= others * 1.05 && others <= usd * 1.05) return fmt::format(" and as dear {}", sums);
  return usd < others ? fmt::format(" and {} times cheaper {}", times_text(others / usd), sums)
                      : fmt::format(" and {} times dearer {}", times_text(usd / others), sums);
}

json spread_json(const std::optional<Spread>& spread) {
  if (!spread) return nullptr;
  return {{"median", spread->median}, {"least", spread->least}, {"most", spread->most}};
}

json run_json(const ComparedRun& run, std::optional<double> loss) {
  auto curve = json::array();
  for (const auto& point : run.points) {
    curve.push_back({{"seconds", point.seconds},
                     {"epoch", point.epoch},
                     {"round", point.round},
                     {"loss", point.loss},
                     {"usd", point.usd.dollars()}});
  }
  json split = json::object();
  for (std::size_t i = 0; i < kTimeGroups; ++i) split[to_string(static_cast<TimeGroup>(i))] = run.groups[i];
  const auto* at = loss ? first_at(run, *loss) : nullptr;
  const auto best = lowest(run);
  return {{"run", run.run.empty() ? json(nullptr) : json(run.run)},
          {"seed", run.seed},
          {"ended_by", run.ended_by},
          {"error", run.error.empty() ? json(nullptr) : json(run.error)},
          {"best_loss", std::isfinite(best) ? json(best) : json(nullptr)},
          {"seconds_to_loss", at != nullptr ? json(at->seconds) : json(nullptr)},
          {"usd_to_loss", at != nullptr ? json(at->usd.dollars()) : json(nullptr)},
          {"rounds_to_loss", at != nullptr ? json(at->round) : json(nullptr)},
          {"wall_seconds", run.wall_seconds},
          {"usd", run.usd.dollars()},
          {"bytes", run.bytes},
          {"worker_cpu_seconds", run.cpu_seconds},
          {"worker_seconds", split},
          {"curve", curve}};
}

}  // namespace

std::optional<Spread> spread_of(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  const auto middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return Spread{median, values.front(), values.back()};
}

std::optional<double> common_loss(const Comparison& comparison) {
  if (comparison.wanted_loss) return comparison.wanted_loss;
  std::optional<double> common;
  for (const auto& preset : comparison.presets) {
    for (const auto& run : preset.runs) {
      if (!run.error.empty()) continue;
      if (run.points.empty()) return std::nullopt;
      common = std::max(common.value_or(-INFINITY), lowest(run));
    }
  }
  return common;
}

const ComparedPoint* first_at(const ComparedRun& run, double loss) noexcept {
  const auto found = std::ranges::find_if(run.points, [&](const ComparedPoint& point) { return point.loss <= loss; });
  return found == run.points.end() ? nullptr : &*found;
}

ComparedFigures figures_of(const ComparedPreset& preset, std::optional<double> loss) {
  ComparedFigures figures;
  std::vector<double> best, seconds, started, usd, rounds, wall, wall_usd, bytes;
  for (const auto& run : preset.runs) {
    if (!run.error.empty()) continue;
    ++figures.runs;
    if (!run.points.empty()) best.push_back(lowest(run));
    wall.push_back(run.wall_seconds);
    wall_usd.push_back(run.usd.dollars());
    bytes.push_back(static_cast<double>(run.bytes));
    const auto* at = loss ? first_at(run, *loss) : nullptr;
    if (at == nullptr) continue;
    ++figures.reached;
    seconds.push_back(at->seconds);
    started.push_back(at->seconds + preset.startup_seconds);
    usd.push_back(at->usd.dollars());
    rounds.push_back(static_cast<double>(at->round));
  }
  figures.best_loss = spread_of(std::move(best));
  figures.seconds = spread_of(std::move(seconds));
  figures.started_seconds = spread_of(std::move(started));
  figures.usd = spread_of(std::move(usd));
  figures.rounds = spread_of(std::move(rounds));
  figures.wall_seconds = spread_of(std::move(wall));
  figures.wall_usd = spread_of(std::move(wall_usd));
  figures.bytes = spread_of(std::move(bytes));
  return figures;
}

Usd machine_usd(const PriceTable& table, unsigned cores, double seconds) {
  const auto core = service_time_price(service_prices(table, "machine"), seconds);
  return bounded_usd(core.dollars() * cores);
}

double startup_of(const ComparedPreset& preset, const PriceTable& table) noexcept {
  if (!preset.instance.empty()) return startup_seconds(table.startup.machines, preset.workers);
  return preset.functions ? startup_seconds(table.startup.functions, preset.workers) : 0;
}

std::optional<FunctionsToBeat> functions_to_beat(const ComparedPreset& functions, double machine_seconds) {
  std::vector<double> computing, exchanging, starting;
  for (const auto& run : functions.runs) {
    const auto& g = run.groups;
    const auto of = [&](TimeGroup group) { return g[static_cast<std::size_t>(group)]; };
    const double awake = of(TimeGroup::kStart) + of(TimeGroup::kInput) + of(TimeGroup::kCompute) +
                         of(TimeGroup::kCommunicate) + of(TimeGroup::kKeep);
    if (!run.error.empty() || !(run.cpu_seconds > 0) || !(awake > 0) || functions.workers == 0) continue;
    // Who waits uses no processor: its time is that of the rest, as that took it.
    const double processor = run.cpu_seconds / awake;
    computing.push_back((of(TimeGroup::kInput) + of(TimeGroup::kCompute)) * processor);
    exchanging.push_back(of(TimeGroup::kCommunicate) * processor / functions.workers);
    starting.push_back(of(TimeGroup::kStart) / static_cast<double>(std::max<std::uint64_t>(run.lifetimes, 1)));
  }
  if (computing.empty() || !(functions.vcpus > 0)) return std::nullopt;
  FunctionsToBeat result{.functions = {}, .machine_seconds = machine_seconds};
  result.exchange_seconds = spread_of(exchanging)->median / functions.vcpus + spread_of(starting)->median;
  const double left = machine_seconds - result.exchange_seconds;
  if (left <= 0) return result;
  const double needed = std::ceil(spread_of(computing)->median / (functions.vcpus * left));
  if (needed < 1e9) result.functions = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(needed));
  return result;
}

std::vector<std::string> verdicts(const Comparison& comparison) {
  std::vector<std::string> lines;
  const auto loss = common_loss(comparison);
  if (comparison.presets.empty()) return lines;
  const auto& first = comparison.presets.front();
  const auto reference = figures_of(first, loss);
  for (const auto& preset : comparison.presets) {
    const auto figures = figures_of(preset, loss);
    if (&preset != &first && figures.seconds && reference.seconds) {
      lines.push_back(fmt::format(
          "{} is {}{}.", preset.name, speed_text(figures.seconds->median, reference.seconds->median, first.name),
          price_text(figures.usd ? figures.usd->median : 0, reference.usd ? reference.usd->median : 0)));
    }
    const auto& started = figures.started_seconds;
    if (!preset.instance.empty() && started && reference.started_seconds && &preset != &first) {
      lines.push_back(
          fmt::format("{}: {} virtual machines of type {} would take {} to start. With what each platform "
                      "takes for that, it is {}.",
                      preset.name, preset.workers, preset.instance, format_seconds(preset.startup_seconds),
                      speed_text(started->median, reference.started_seconds->median, first.name)));
    }
    if (figures.runs > 0 && figures.reached < figures.runs) {
      lines.push_back(fmt::format("{}: {} of {} runs did not reach the loss.", preset.name,
                                  figures.runs - figures.reached, figures.runs));
    }
    if (preset.oversubscribed) {
      lines.push_back(
          fmt::format("{} is oversubscribed: its {} have more processors on paper than the {} cores "
                      "of this machine. On a platform it is faster, and its dollars mean little.",
                      preset.name, preset.instance.empty() ? "functions" : "virtual machines", comparison.cores));
    }
  }
  // A machine against functions.
  const ComparedPreset* machine = nullptr;
  for (const auto& preset : comparison.presets) {
    if (!preset.functions && preset.instance.empty() && machine == nullptr) machine = &preset;
  }
  if (machine == nullptr) return lines;
  const auto alone = figures_of(*machine, loss);
  if (!alone.wall_seconds) return lines;
  for (const auto& preset : comparison.presets) {
    const auto figures = figures_of(preset, loss);
    if (!preset.functions || !figures.wall_seconds || figures.wall_seconds->median <= alone.wall_seconds->median)
      continue;
    const auto beat = functions_to_beat(preset, alone.wall_seconds->median);
    auto text = fmt::format("{}: functions lose to one machine here.", preset.name);
    if (beat && beat->functions) {
      text += fmt::format(" If they never waited, it would take at least {} of them ({:.2f} vCPU each) to be as fast.",
                          format_count(*beat->functions), preset.vcpus);
    } else if (beat) {
      text += fmt::format(
          " No number of them would win: starting and exchanging alone take each {}, and {} is over after {}.",
          format_seconds(beat->exchange_seconds), machine->name, format_seconds(beat->machine_seconds));
    }
    lines.push_back(text);
  }
  return lines;
}

std::string values_text(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string text;
  for (const auto& [name, value] : values) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  return text;
}

std::string tuning_text(const Tuning& tuning) {
  return fmt::format("{}, the best of {} tried for {} epochs", values_text(tuning.values), tuning.trials,
                     tuning.epochs);
}

bool has_machines(const Comparison& comparison) noexcept {
  return std::ranges::any_of(comparison.presets, [](const ComparedPreset& preset) { return !preset.instance.empty(); });
}

std::string startup_note(const PriceTable& table) {
  if (table.startup == StartupProfile()) {
    return "Times are those measured here; the prices say nothing of how long a platform takes until workers run, and "
           "nothing is added for it.";
  }
  return fmt::format(
      "Times are those measured here; with start-up: and what {} says that a platform takes until so many workers run "
      "(not verified). Threads need none: their machine is there. Dollars of virtual machines have it in them.",
      table.startup.name);
}

json comparison_json(const Comparison& comparison, const PriceTable& table) {
  const auto loss = common_loss(comparison);
  json document = {{"data", comparison.data},
                   {"cores", comparison.cores},
                   {"loss", loss ? json(*loss) : json(nullptr)},
                   {"loss_is", comparison.wanted_loss ? "wanted" : "reached by all"},
                   {"usd_kind", to_string(UsdKind::kEstimated)},
                   {"prices", {{"name", table.name}, {"region", table.region}, {"date", table.date}}},
                   {"startup", {{"name", table.startup.name}, {"source", table.startup.source}}},
                   {"verdicts", verdicts(comparison)},
                   {"presets", json::array()}};
  std::optional<ComparedFigures> first;
  for (const auto& preset : comparison.presets) {
    const auto figures = figures_of(preset, loss);
    if (!first) first = figures;
    const auto ratio = [](const std::optional<Spread>& a, const std::optional<Spread>& b) {
      return a && b && b->median > 0 ? json(a->median / b->median) : json(nullptr);
    };
    auto runs = json::array();
    for (const auto& run : preset.runs) runs.push_back(run_json(run, loss));
    json tuning;
    if (preset.tuning) {
      const auto& tuned = *preset.tuning;
      tuning = {{"trials", tuned.trials}, {"epochs", tuned.epochs}, {"loss", tuned.loss}, {"values", json::object()}};
      for (const auto& [name, value] : tuned.values) tuning["values"][name] = value;
    }
    document["presets"].push_back({{"preset", preset.name},
                                   {"workers", preset.workers},
                                   {"memory_bytes", preset.functions ? json(preset.memory_bytes) : json(nullptr)},
                                   {"vcpus", preset.functions ? json(preset.vcpus) : json(nullptr)},
                                   {"instance", preset.instance.empty() ? json(nullptr) : json(preset.instance)},
                                   {"oversubscribed", preset.oversubscribed},
                                   {"startup_seconds", preset.startup_seconds},
                                   {"reached", figures.reached},
                                   {"best_loss", spread_json(figures.best_loss)},
                                   {"seconds_to_loss", spread_json(figures.seconds)},
                                   {"seconds_ratio", ratio(figures.seconds, first->seconds)},
                                   {"seconds_to_loss_with_startup", spread_json(figures.started_seconds)},
                                   {"usd_to_loss", spread_json(figures.usd)},
                                   {"usd_ratio", ratio(figures.usd, first->usd)},
                                   {"rounds_to_loss", spread_json(figures.rounds)},
                                   {"wall_seconds", spread_json(figures.wall_seconds)},
                                   {"usd", spread_json(figures.wall_usd)},
                                   {"bytes", spread_json(figures.bytes)},
                                   {"tuning", std::move(tuning)},
                                   {"runs", std::move(runs)}});
  }
  return document;
}

}  // namespace virga
