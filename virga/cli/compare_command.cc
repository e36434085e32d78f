#include <algorithm>
#include <cmath>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/import_display.h"
#include "virga/cli/job_flags.h"
#include "virga/cli/output.h"
#include "virga/cli/run_cost.h"
#include "virga/cli/signals.h"
#include "virga/cli/table.h"
#include "virga/cli/train_display.h"
#include "virga/cli/train_session.h"
#include "virga/driver/comparison.h"
#include "virga/driver/train_run.h"
#include "virga/job/presets.h"
#include "virga/training/function_size.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostRepeats = 1000;
constexpr std::uint64_t kMostTuneEpochs = 100000;

struct Compare {
  std::string what;  // JOB.toml or DATA
  std::vector<std::string> presets{"single", "functions-ps", "functions-directory"};
  std::uint64_t repeats = 1;
  bool tune_each = false;
  std::uint64_t tune_epochs = 5;
  std::string html;
  JobFlags flags;
};

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Notes when evaluations are known, and passes all on to the display.
class Watch final : public TrainObserver {
 public:
  explicit Watch(TrainObserver& next) : next_(next) {}

  void started(const TrainStart& start) override {
    plan_ = start.plan;
    rounds_per_epoch_ = start.rounds_per_epoch;
    next_.started(start);
  }
  void rate_found(double rate, const std::vector<RateTrial>& trials) override { next_.rate_found(rate, trials); }
  void pattern_chosen(const PatternChoice& choice) override { next_.pattern_chosen(choice); }
  void progressed(const TrainingProgress& progress) override { next_.progressed(progress); }
  void functions_changed(const FunctionsStatus& status) override { next_.functions_changed(status); }
  void evaluated(const EpochReport& report) override {
    const double loss = report.validation_loss.value_or(report.train_loss);
    if (std::isfinite(loss)) {
      points_.push_back({.seconds = seconds_since(begin_),
                         .epoch = report.epoch,
                         .round = exchanges_after(plan_, report.round, rounds_per_epoch_),
                         .loss = loss,
                         .usd = {}});
    }
    next_.evaluated(report);
  }
  void keep(const TrainingResult& so_far) override { next_.keep(so_far); }

  [[nodiscard]] Clock::time_point begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint32_t workers() const noexcept { return plan_.workers; }
  [[nodiscard]] std::vector<ComparedPoint>& points() noexcept { return points_; }

 private:
  TrainObserver& next_;
  const Clock::time_point begin_ = Clock::now();
  TrainingPlan plan_{.workers = 0};
  std::uint64_t rounds_per_epoch_ = 1;
  std::vector<ComparedPoint> points_;
};

/// What a run on functions took, by its record.
void add_functions(ComparedRun& run, const RunCost& cost) {
  const Spending spending(cost.ledger, cost.prices);
  for (auto& point : run.points) point.usd = spending.until(point.seconds);
  run.usd = cost.summary.bill.total();
  const auto& workers = cost.summary.by_task.find("worker");
  if (workers == cost.summary.by_task.end()) return;
  run.bytes = workers->second.bytes_put + workers->second.bytes_got;
  run.cpu_seconds = workers->second.cpu_seconds;
  run.lifetimes = workers->second.invocations;
  run.groups = workers->second.groups;
}

void add_machine(ComparedRun& run, unsigned cores, const PriceTable& prices) {
  for (auto& point : run.points) point.usd = machine_usd(prices, cores, point.seconds);
  run.usd = machine_usd(prices, cores, run.wall_seconds);
}

struct Comparing {
  Session& session;
  const PriceTable& prices;
  const StopOnSignal& signals;
  ProgressDisplay& progress;
};

ComparedRun compare_one(const TrainRequest& request, const JobData& data, ComparedPreset& preset,
                        const Comparing& all) {
  ComparedRun run{.seed = request.job.seed};
  TrainDisplay display(all.progress);
  Watch watch(display);
  try {
    check_channel(request);
    const auto outcome = virga::train(request, data, watch, all.signals.token());
    run.run = outcome.run_id;
    run.ended_by = word_for(outcome.result.reason);
    run.wall_seconds = seconds_since(watch.begin());
    run.points = std::move(watch.points());
    const auto cost = read_run_cost(find_run(request.home, outcome.run_id, RunChoice::kOnly));
    if (cost) {
      add_functions(run, *cost);
    } else {
      add_machine(run, request.cores, request.prices);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted) throw;
    run.error = error.what();
    all.session.warn(fmt::format("{}: {}", preset.name, error.what()));
  }
  preset.workers = std::max(preset.workers, watch.workers());
  preset.startup_seconds = startup_of(preset, request.prices);
  return run;
}

Setting decided(std::string_view section, std::string_view key, Value value) {
  return {.option = find_option(section, key), .value = std::move(value), .source = Source::kFlag, .origin = "compare"};
}

/// Dollars of all are those of one table.
void check_decides_no_prices(const Preset& preset) {
  const auto* prices = find_option("functions", "prices");
  const bool decides = std::ranges::find(preset.settings, prices, &Setting::option) != preset.settings.end() ||
                       std::ranges::find(preset.tune, prices, &TunedOption::option) != preset.tune.end();
  if (!decides) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("preset {}: functions.prices: what is compared is reckoned by one price table", preset.name),
              "leave it out, and give it for all: virga compare --prices NAME|FILE");
}

/// Threads are reckoned as rented cores, the others as check_prices() says.
void check_has_prices(const TrainRequest& request, const std::string& preset) try {
  if (request.job.functions.engine != "single") return check_prices(request);
  static_cast<void>(service_prices(request.prices, "machine"));
} catch (const Error& error) {
  throw Error(ErrorKind::kUsage, fmt::format("preset {}: {}", preset, error.what()),
              "compare others (--presets), or take a table that has a price for it (--prices NAME|FILE)");
}

/// What the preset decides, and then `more`, outranks `settings`.
TrainRequest request_of(Settings settings, const Preset& preset, const std::vector<Setting>& more, std::uint64_t repeat,
                        const PriceTable& prices, const Session& session) {
  const auto first = std::get<std::uint64_t>(settings.get("", "seed").value);
  settings.set(preset.settings);
  settings.set(more);
  // What is said of functions is for those presets that have some.
  if (std::get<std::string>(settings.get("functions", "engine").value) == "vm") {
    settings.set({decided("functions", "memory", {}),
                  decided("functions", "lifetime", std::chrono::nanoseconds(Job().functions.lifetime))});
  }
  // Each run keeps its model in its record, which lies here.
  settings.set({decided("", "seed", first + repeat), decided("output", "model", std::string("/dev/null")),
                decided("output", "run", {})});
  std::vector<std::string> ignored;  // what has no effect with one preset may have with another
  auto job = make_job(settings, ignored);
  auto request = train_request(std::move(job), std::move(settings), prices, session);
  check_has_prices(request, preset.name);
  return request;
}

bool was_stopped(const ComparedRun& run) { return run.ended_by == word_for(EndReason::kStopped); }

/// By name, as job files write them.
std::vector<std::pair<std::string, std::string>> values_of(const std::vector<Setting>& settings) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& one : settings) {
    auto value = value_text(*one.option, one.value);
    values.emplace_back(option_name(*one.option), value.empty() ? std::string(one.option->fallback) : value);
  }
  return values;
}

/// One preset, with what has been found best for it.
struct Contender {
  Preset preset;
  std::vector<Setting> tuned;
};

/// Short runs with all combinations of what the preset tunes, by the same seed. Nothing if it has nothing to tune, all
/// failed, or the user stopped one, which `stopped` tells.
std::optional<Tuning> tune(const Settings& settings, const JobData& data, const Compare& what, Contender& contender,
                           const Comparing& all, bool& stopped) {
  const auto trials = trials_of(contender.preset);
  if (trials.size() == 1 && trials.front().empty()) return std::nullopt;
  const auto epochs = std::min(what.tune_epochs, std::get<std::uint64_t>(settings.get("stop", "epochs").value));
  Tuning tuning{.trials = trials.size(), .epochs = static_cast<std::uint32_t>(epochs), .loss = 0, .values = {}};
  bool found = false;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    auto more = trials[i];
    if (!all.session.json()) {
      all.session.note(fmt::format("-- {}: trial {} of {}, {}", contender.preset.name, i + 1, trials.size(),
                                   values_text(values_of(more))));
    }
    more.push_back(decided("stop", "epochs", epochs));
    more.push_back(decided("stop", "target_loss", {}));
    more.push_back(decided("output", "tags", std::vector<std::string>{"trial"}));
    ComparedPreset ignored{.name = contender.preset.name};
    const auto run =
        compare_one(request_of(settings, contender.preset, more, 0, all.prices, all.session), data, ignored, all);
    stopped = was_stopped(run);
    if (stopped) return std::nullopt;
    for (const auto& point : run.points) {
      if (!run.error.empty() || (found && point.loss >= tuning.loss)) continue;
      found = true;
      tuning.loss = point.loss;
      contender.tuned = trials[i];
    }
  }
  if (!found) return std::nullopt;
  tuning.values = values_of(contender.tuned);
  return tuning;
}

std::string seconds_cell(const std::optional<Spread>& spread) { return spread ? format_seconds(spread->median) : "-"; }
std::string usd_cell(const std::optional<Spread>& spread) {
  return spread ? format_usd(bounded_usd(spread->median)) : "-";
}
std::string ratio_cell(const std::optional<Spread>& one, const std::optional<Spread>& first) {
  return one && first && first->median > 0 ? fmt::format("{:.2f}x", one->median / first->median) : "-";
}

/// ", at least 60 s of them", if so.
std::string smallest_rent(const PriceTable& prices) {
  const auto machine = prices.services.find("machine");
  if (machine == prices.services.end() || machine->second.smallest.count() == 0) return {};
  return fmt::format(", at least {} s of them", machine->second.smallest.count());
}

std::string text_of(const Comparison& comparison, const PriceTable& prices) {
  const auto loss = common_loss(comparison);
  std::string text;
  if (loss) {
    text = fmt::format("To a loss of {:.5f}, which {}{}:\n\n", *loss,
                       comparison.wanted_loss ? "the job wants" : "all have reached",
                       comparison.presets.front().runs.size() > 1 ? " (medians of the runs)" : "");
  }
  Table table({{"PRESET"},
               {"WORKERS", true},
               {"TIME", true},
               {"", true},
               {"+START-UP", true},
               {"USD", true},
               {"", true},
               {"ROUNDS", true},
               {"EXCHANGED", true},
               {"WHOLE RUN", true},
               {"BEST LOSS", true}});
  std::optional<ComparedFigures> first;
  for (const auto& preset : comparison.presets) {
    const auto f = figures_of(preset, loss);
    if (!first) first = f;
    table.add({preset.name + (preset.oversubscribed ? " *" : ""), std::to_string(preset.workers),
               seconds_cell(f.seconds), ratio_cell(f.seconds, first->seconds), seconds_cell(f.started_seconds),
               usd_cell(f.usd), ratio_cell(f.usd, first->usd),
               f.rounds ? format_count(static_cast<std::uint64_t>(f.rounds->median)) : "-",
               f.bytes ? format_bytes(static_cast<std::uint64_t>(f.bytes->median)) : "-", seconds_cell(f.wall_seconds),
               f.best_loss ? fmt::format("{:.5f}", f.best_loss->median) : "-"});
  }
  text += table.text() + "\n";
  for (const auto& preset : comparison.presets) {
    if (preset.tuning) text += wrap(fmt::format("{}: {}.", preset.name, tuning_text(*preset.tuning)), 100, 2) + "\n";
  }
  for (const auto& line : verdicts(comparison)) text += wrap(line, 100, 2) + "\n";
  return text +
         wrap(fmt::format("Dollars: what it would have cost on {}{} (prices of {}); threads as {} rented cores{}. {}",
                          prices.name, has_machines(comparison) ? " and " + prices.instances.name : "", prices.date,
                          comparison.cores, smallest_rent(prices), startup_note(prices)),
              100, 2) +
         "\n";
}

int compare(const Compare& what, Session& session) {
  if (what.repeats == 0 || what.repeats > kMostRepeats) {
    throw Error(ErrorKind::kUsage, fmt::format("--repeats: not between 1 and {}", kMostRepeats));
  }
  if (what.tune_epochs == 0 || what.tune_epochs > kMostTuneEpochs) {
    throw Error(ErrorKind::kUsage, fmt::format("--tune-epochs: not between 1 and {}", kMostTuneEpochs));
  }
  std::vector<Contender> wanted;
  for (const auto& name : what.presets) {
    wanted.push_back({.preset = find_preset(name), .tuned = {}});
    check_decides_no_prices(wanted.back().preset);
  }
  if (!what.html.empty()) check_can_write_file(what.html);
  const StopOnSignal signals;
  const auto progress = session.make_progress();
  const auto settings = job_settings(what.what, what.flags, session);
  const auto prices = load_prices(settings);
  const Comparing all{session, prices, signals, *progress};
  // All of them first: what one is refused for, none has trained for.
  std::vector<TrainRequest> requests;
  for (const auto& contender : wanted) {
    requests.push_back(request_of(settings, contender.preset, {}, 0, prices, session));
    if (!what.tune_each) continue;
    for (const auto& trial : trials_of(contender.preset)) {
      (void)request_of(settings, contender.preset, trial, 0, prices, session);
    }
  }
  const auto& base = requests.front();
  const auto data =
      open_job_data(base.job.data, base.job.seed, base.home, import_events(session, *progress), signals.token());

  Comparison comparison{
      .data = base.job.data.train, .cores = base.cores, .wanted_loss = base.job.stop.target_loss, .presets = {}};
  bool stopped = false;
  for (const auto& request : requests) {
    const auto& engine = request.job.functions.engine;
    const bool functions = engine != "single" && engine != "vm";
    const auto size = function_size(request.job.functions, request.cores, prices);
    comparison.presets.push_back({.name = wanted[comparison.presets.size()].preset.name,
                                  .functions = functions,
                                  .instance = engine == "vm" ? request.job.functions.instance : std::string(),
                                  .memory_bytes = size.memory_bytes,
                                  .vcpus = size.cpus,
                                  .oversubscribed = engine != "single" && size.oversubscribed,
                                  .tuning = std::nullopt,
                                  .runs = {}});
  }
  for (std::size_t i = 0; what.tune_each && i < wanted.size() && !stopped; ++i) {
    comparison.presets[i].tuning = tune(settings, data, what, wanted[i], all, stopped);
  }
  // One after the other and again, so that what changes on this machine meanwhile meets all.
  for (std::uint64_t repeat = 0; repeat < what.repeats && !stopped; ++repeat) {
    for (std::size_t i = 0; i < wanted.size() && !stopped; ++i) {
      if (!session.json()) {
        session.note(fmt::format("-- {} ({} of {})", wanted[i].preset.name, repeat * wanted.size() + i + 1,
                                 what.repeats * wanted.size()));
      }
      const auto request = request_of(settings, wanted[i].preset, wanted[i].tuned, repeat, prices, session);
      auto run = compare_one(request, data, comparison.presets[i], all);
      stopped = was_stopped(run);
      if (!stopped) comparison.presets[i].runs.push_back(std::move(run));
    }
  }
  progress->finish();
  if (stopped) session.warn("stopped; what follows is of the runs that were over");
  if (!what.html.empty()) {
    write_file_atomically(what.html, as_bytes(comparison_html(comparison, prices)));
    if (!session.json()) session.note("wrote " + what.html);
  }
  if (session.json()) {
    session.print_json(comparison_json(comparison, prices));
  } else {
    session.print(text_of(comparison, prices));
  }
  if (stopped) return 128 + signal_received();
  const bool failed = std::ranges::any_of(comparison.presets, [](const ComparedPreset& preset) {
    return std::ranges::any_of(preset.runs, [](const ComparedRun& run) { return !run.error.empty(); });
  });
  return failed ? 1 : 0;
}

std::string preset_names() {
  std::string text = "Presets (virga presets says more):";
  for (const auto& preset : presets()) text += fmt::format(" {},", preset.name);
  text.back() = '.';
  return text;
}

}  // namespace

void add_compare_command(Program& program) {
  auto state = std::make_shared<Compare>();
  auto& app = program.add(
      "Models",
      {.name = "compare",
       .arguments = "JOB.toml | DATA",
       .summary = "Trains the same job on one machine, on virtual machines and on functions, side by side",
       .details =
           "Every preset trains the job in turn, with the same data, seed and options, and is compared by when, and "
           "for how "
           "many dollars, it reached the same loss: that of --target-loss, or else the lowest that all have reached. "
           "--budget and --seconds bound every run, and --prices says whose dollars they are. What a preset decides "
           "outranks flags. " +
           preset_names(),
       .examples =
           {{"virga compare job.toml", "one machine against functions"},
            {"virga compare job.toml --presets single,vm,functions-ps --emulate aws-2021",
             "and against virtual machines, their network as slow as it was measured to be"},
            {"virga compare clicks/ --presets single,functions-ps --repeats 5", "medians over five seeds"},
            {"virga compare job.toml --presets single,lambdaml-s3,lambdaml-redis --emulate aws-2021 --tune-each",
             "as slow as services of AWS were measured to be"},
            {"virga compare job.toml --target-loss 0.32 --html comparison.html", "and a page for a browser"}}},
      [state](Session& session) { return compare(*state, session); });
  app.add_option("JOB|DATA", state->what, "Job file (*.toml), imported set or raw file")->required();
  app.add_option("--presets", state->presets,
                 "What to compare: presets, or files of your own (*.toml); the first is what others are measured by")
      ->delimiter(',')
      ->type_name("NAMES");
  app.add_flag("--tune-each", state->tune_each, "First find the best of what each preset's [tune] says, by short runs");
  add_count(app, "--tune-epochs", state->tune_epochs, "Epochs of each of these (default 5)");
  add_count(app, "--repeats", state->repeats, "Runs of each, with seeds one after the other (default 1)");
  app.add_option("--html", state->html, "Write a self-contained page to this file")->type_name("FILE");
  program.declare_when_needed(app, [state, &app] { state->flags.declare(app); });
}

}  // namespace virga
