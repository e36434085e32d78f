#include "virga/driver/train_run.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <future>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/base/version.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/open_channel.h"
#include "virga/control/run_folder.h"
#include "virga/data/schedule.h"
#include "virga/driver/choose_pattern.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/meter.h"
#include "virga/driver/run_record.h"
#include "virga/storage/object_uri.h"
#include "virga/storage/s3_place.h"
#include "virga/training/evaluate.h"
#include "virga/training/evaluation_report.h"
#include "virga/training/function_memory.h"
#include "virga/training/function_size.h"
#include "virga/training/model_file.h"
#include "virga/training/round_size.h"
#include "virga/training/warm_start.h"
#include "virga/training/worker_job.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr auto kStoreTime = std::chrono::seconds(10);  // for a data store to answer

/// For rows that are seen once. Reads of a store far away are large; of a folder they need not be, and what is used
/// again at once stays in the processor's caches.
constexpr std::uint64_t kOnceBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kOnceBytesOfFolder = std::uint64_t{4} << 20;

HistoryEntry history_entry(const EpochReport& report) {
  return {.epoch = report.epoch,
          .round = report.round,
          .train_loss = report.train_loss,
          .validation_loss = report.validation_loss,
          .learning_rate = report.learning_rate,
          .examples = report.examples,
          .seconds = std::chrono::duration<double>(report.elapsed).count(),
          .updates = report.updates.written,
          .lost_updates = report.updates.lost};
}

ModelFile make_model_file(const TrainRequest& request, const DataSet& data, const TrainingPlan& plan,
                          const TrainingResult& result, Tables parameters) {
  ModelFile file;
  file.spec = plan.model;
  file.parameters = std::move(parameters);
  file.encoding = data.manifest.encoding;
  file.training = {.seed = request.job.seed,
                   .epochs = result.last.epoch,
                   .rounds = result.last.round,
                   .best_epoch = result.best.epoch,
                   .learning_rate = result.learning_rate,
                   .l1 = plan.rule.l1,
                   .l2 = plan.rule.l2,
                   .training_loss = result.best.train_loss,
                   .validation_loss = result.best.validation_loss,
                   .final_training_loss = result.last.train_loss,
                   .final_validation_loss = result.last.validation_loss};
  file.data = {data.uri, manifest_checksum(data.manifest), data.manifest.sources};
  file.job = settings_json(request.settings).dump();
  file.created_by = created_by();
  return file;
}

/// Passes everything on, and into the record.
class Recorder final : public TrainingObserver {
 public:
  Recorder(RunRecord& record, TrainObserver& next, std::function<void(const TrainingResult&)> keep)
      : record_(record), next_(next), keep_(std::move(keep)) {}

  void rate_found(double learning_rate, const std::vector<RateTrial>& trials) override {
    auto tried = json::array();
    for (const auto& trial : trials) {
      tried.push_back({{"learning_rate", trial.learning_rate},
                       {"loss", std::isfinite(trial.loss) ? json(trial.loss) : json(nullptr)}});
    }
    record_.resolve({{"optimizer.learning_rate", learning_rate}, {"optimizer.learning_rate_trials", tried}});
    next_.rate_found(learning_rate, trials);
  }
  void pattern_chosen(const PatternChoice& choice) override {
    record_.resolve(choice_json(choice));
    next_.pattern_chosen(choice);
  }
  void progressed(const TrainingProgress& progress) override { next_.progressed(progress); }
  void functions_changed(const FunctionsStatus& status) override {
    record_.keep_up();
    next_.functions_changed(status);
  }
  void evaluated(const EpochReport& report) override {
    record_.add(history_entry(report));
    next_.evaluated(report);
  }
  void keep(const TrainingResult& so_far) override {
    keep_(so_far);
    record_.make_durable();
  }

 private:
  RunRecord& record_;
  TrainObserver& next_;
  std::function<void(const TrainingResult&)> keep_;
};

TrainingRun run_of(const TrainRequest& request, const DataSet& data) {
  TrainingRun run;
  run.plan = plan_training(request.job, data.manifest, request.cores);
  run.seed = request.job.seed;
  run.target_loss = request.job.stop.target_loss;
  run.patience = request.job.stop.patience;
  run.time_limit = request.job.stop.seconds;
  if (request.job.model.init) {
    run.start = warm_start(read_model_file(*request.job.model.init), run.plan.model, data.manifest.encoding,
                           *request.job.model.init);
  }
  return run;
}

Seeding seeding_of(const Job& job) {
  return job.model.seeding == to_string(Seeding::kRandom) ? Seeding::kRandom : Seeding::kKMeansParallel;
}

/// The URI of a store of one's own that the job names; empty if it names none.
std::string own_store(const Job& job) {
  const auto& channel = job.exchange.channel;
  return is_store_uri(channel) ? channel : std::string();
}

/// As a process in another folder would say it.
std::string absolute_uri(const std::string& uri) {
  if (!store_directory(uri)) return full_s3_uri(parse_s3_uri(uri, process_environment()));
  return uri.starts_with("file://") ? uri : std::filesystem::absolute(uri).string();
}

/// What earlier drivers of a run took, after whose times its own go on.
struct Earlier {
  Ledger ledger;
  FunctionsRecord record;
  double seconds = 0;
};
Earlier earlier_drivers(const Run& run) {
  Earlier earlier;
  if (std::filesystem::exists(ledger_path(run.folder))) earlier.ledger = read_ledger(ledger_path(run.folder));
  earlier.record = parse_functions_record(read_run_functions(run));
  if (const auto first = first_worker_seconds(earlier.ledger); first && !earlier.record.training_start_seconds) {
    earlier.record.training_start_seconds = first;
  }
  earlier.seconds = std::max(last_end_seconds(earlier.ledger), earlier.record.wall_seconds.value_or(0));
  return earlier;
}

FunctionsPlace functions_place(const TrainRequest& request, const JobData& data, const RunRecord& record,
                               bool validates, const TrainingPlan& plan, std::chrono::steady_clock::time_point began,
                               std::optional<double> training_start_seconds, const std::optional<WorkerJob>& going_on) {
  const auto& job = request.job;
  auto place = place_of(job, request.prices);
  place.run_id = record.id();
  place.folder = resume_folder(std::filesystem::absolute(record.folder()));
  place.uri = record.uri().empty() ? "" : absolute_uri(uri_within(record.uri(), "functions"));
  place.origin = began;
  place.ledger = ledger_path(record.folder());
  place.settings = settings_text(request.settings, std::filesystem::current_path());
  place.resume = request.resume.has_value();
  place.training_start_seconds = training_start_seconds;
  if (place.resume) {
    for (const auto& entry : request.resume->history) place.reported.insert(entry.round);
  }
  place.program = request.function_program;
  place.cores = request.cores;
  place.data = absolute_uri(data.train.uri);
  if (data.validation) place.validation = absolute_uri(data.validation->uri);
  if (!place.uri.empty() || !store_directory(data.train.uri) ||
      (data.validation && !store_directory(data.validation->uri))) {
    place.environment["VIRGA_DATA_TOKEN"] = token_for_functions("s3://", "", {Deadline::in(kStoreTime)});
  }
  if (const auto folder = process_environment()("SSL_CERT_DIR")) place.environment["SSL_CERT_DIR"] = *folder;
  place.validates = validates;
  place.store_token = token_for_functions(place.store, request.channel_token, {Deadline::in(kStoreTime)});
  const auto wanted = wanted_pattern(job, plan.workers);
  place.pattern = wanted.pattern;
  place.chooses_pattern = wanted.is_probed;
  if (place.resume) {
    place.pattern = going_on->pattern;
    place.pieces = going_on->pieces;
  } else if (place.pattern == Pattern::kPipelined) {
    const auto& manifest = data.train.manifest;
    const auto rounds_per_epoch = make_schedule(plan, manifest, job.seed).rounds_per_epoch();
    place.pieces = usual_pieces(expected_round_size(plan, manifest, rounds_per_epoch));
  }
  auto functions = job.functions;
  functions.workers = plan.workers;
  place.memory_bytes = function_size(functions, request.cores, request.prices).memory_bytes;
  place.cache_bytes = request.cache_bytes / plan.workers;
  const bool is_vm = place.engine == FunctionsPlace::EngineKind::kVm;
  try {
    const auto memory = evaluation_memory_of(plan, data, place.memory_bytes);
    if (memory && is_vm) place.memory_bytes -= memory->needed_bytes;  // it works beside a worker
  } catch (const Error& error) {
    if (is_vm) throw machine_too_small(error, place.instance);
    throw;
  }
  return place;
}

/// What the first driver found out: the rate, how many workers there are, and how they add up.
WorkerJob go_on(const Run& from, TrainingRun& run) {
  const auto store = open_object_store(resume_uri(from));
  const auto bytes = store->get(kJobObject);
  auto job = decode_worker_job(as_text(bytes));
  run.plan.workers = job.plan.workers;
  run.plan.learning_rate = job.plan.learning_rate;
  return job;
}

SplitName test_split(const JobData& data) {
  return data.test && data.test->manifest.test.rows == 0 ? SplitName::kTrain : SplitName::kTest;
}

bool has_test_rows(const JobData& data) {
  const auto& set = data.test ? *data.test : data.train;
  return data.test_file || split_of(set.manifest, test_split(data)).rows > 0;
}

std::optional<Evaluation> evaluate_test(const ModelFile& model, const JobData& data, const TrainRequest& request,
                                        const std::stop_token& stop) {
  if (!has_test_rows(data)) return std::nullopt;
  if (data.test_file) {
    RawReader reader({*data.test_file}, model.encoding, {.label_required = has_labels(model.spec), .stop = stop});
    return evaluate(model, groups_of(reader), request.cores);
  }
  const auto& set = data.test ? *data.test : data.train;
  const auto manifest = manifest_for(model, set.manifest, set.uri);
  GroupCache cache(*set.store, manifest, request.cache_bytes / 4);
  return evaluate(model, cache, test_split(data), request.cores);
}

/// To the run's record, and where the user wants it.
void write_model(const ModelFile& model, RunRecord& record, const std::string& output) {
  const auto bytes = encode_model(model);
  record.keep_model(bytes);
  if (is_s3_uri(output)) {
    write_file_or_object(output, bytes);
  } else {
    copy_file_atomically(record.model_path(), output, bytes);
  }
}

}  // namespace

void check_channel(const TrainRequest& request) {
  if (request.job.functions.engine != "single") check_functions_meet(place_of(request.job, request.prices));
  const auto store = own_store(request.job);
  if (request.job.functions.engine == "single" || store.empty()) return;
  try {
    ask_for_channel(store, request.channel_token, {Deadline::in(kStoreTime)});
  } catch (const Error& error) {
    auto remedy = error.remedy();
    if (store.starts_with("ps:")) {
      remedy = error.kind() == ErrorKind::kUnauthorized
                   ? "set the variable VIRGA_CHANNEL_TOKEN to what the store was started with, or to nothing"
                   : fmt::format("start it with: virga-ps --listen {}", store.substr(3));
    }
    throw Error(error.kind(), fmt::format("exchange.channel: {}", error.what()), remedy);
  }
}

namespace {

/// For people: "the prices of AWS Lambda of 2025-08-01".
std::string name_of(const PriceTable& prices) {
  return fmt::format("the prices of {} of {}", prices.name, prices.date);
}

void check_instance(const Job::Functions& job, const PriceTable& prices) {
  const auto& types = prices.instances.types;
  if (types.contains(job.instance)) return;
  if (types.empty()) {
    throw Error(ErrorKind::kUsage, fmt::format("functions.engine \"vm\": {} have no virtual machines", name_of(prices)),
                "let functions work (--engine local), or take a table that has machines (--prices NAME|FILE)");
  }
  std::vector<std::string> known;
  for (const auto& [name, type] : types) known.push_back(name);
  const auto near = nearest_word(job.instance, known);
  throw Error(ErrorKind::kUsage,
              fmt::format("functions.instance: '{}' is not one of {}, the types that {} have", job.instance,
                          fmt::join(known, ", "), name_of(prices)),
              near.empty() ? "take one of these, or add it to a price table of your own, under instances"
                           : fmt::format("did you mean {}?", near));
}

void check_function_memory(std::uint64_t bytes, const PriceTable& prices) {
  const auto most = prices.functions.largest_mb;
  const auto wanted = billed_megabytes(prices.functions, bytes);
  if (wanted <= most) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("functions.memory: by {} no function has more than {}MB, and these have {}MB",
                          name_of(prices), most, wanted),
              fmt::format("give them less (--memory {}MB), or take another table (--prices NAME|FILE)", most));
}

}  // namespace

void check_prices(const TrainRequest& request) {
  const auto& functions = request.job.functions;
  if (functions.engine == "single") return;
  if (functions.engine == "vm") {
    check_instance(functions, request.prices);
  } else {
    check_function_memory(function_size(functions, request.cores, request.prices).memory_bytes, request.prices);
  }
  check_services_have_prices(place_of(request.job, request.prices));
}

std::optional<FunctionMemory> evaluation_memory_of(const TrainingPlan& plan, const JobData& data,
                                                   std::uint64_t limit_bytes) {
  if (data.validation) return evaluation_memory(plan, data.validation->manifest, SplitName::kTrain, limit_bytes);
  if (data.train.manifest.validation.rows == 0) return std::nullopt;
  return evaluation_memory(plan, data.train.manifest, SplitName::kValidation, limit_bytes);
}

FunctionsPlace place_of(const Job& job, const PriceTable& prices) {
  FunctionsPlace place;
  place.prices = prices;
  if (job.functions.engine == "local") place.engine = FunctionsPlace::EngineKind::kLocal;
  if (job.functions.engine == "vm") {
    place.engine = FunctionsPlace::EngineKind::kVm;
    place.instance = job.functions.instance;
  }
  if (job.exchange.channel == "directory") place.channel = FunctionsPlace::ChannelKind::kDirectory;
  if (is_direct_uri(job.exchange.channel)) {
    place.channel = FunctionsPlace::ChannelKind::kDirect;
    place.direct_host = direct_host(job.exchange.channel);
  }
  place.data = job.data.train;
  place.validation = job.data.validation;
  place.uri = job.output.run.value_or("");
  place.store = own_store(job);
  place.emulate = job.exchange.emulate;
  place.faults = job.exchange.faults;
  place.lifetime = std::chrono::duration_cast<std::chrono::milliseconds>(job.functions.lifetime);
  place.rounds_per_invocation = job.functions.rounds_per_invocation.value_or(0);
  if (job.stop.usd) place.budget = Usd::of(*job.stop.usd);
  return place;
}

std::filesystem::path resume_folder(const std::filesystem::path& run_folder) { return run_folder / "functions"; }
std::string resume_uri(const Run& run) {
  return run.uri.empty() ? resume_folder(run.folder).string() : uri_within(run.uri, "functions");
}
bool left_work(const Run& run) {
  return run.uri.empty() ? std::filesystem::exists(resume_folder(run.folder))
                         : open_object_store(resume_uri(run))->exists(kJobObject);
}
std::filesystem::path ledger_path(const std::filesystem::path& run_folder) { return run_folder / "ledger.jsonl"; }

TrainRequest resumed_request(const Run& found, std::vector<Setting> anew, const std::filesystem::path& home,
                             unsigned cores, std::uint64_t cache_bytes, const std::filesystem::path& function_program,
                             const std::string& channel_token) {
  const auto run = refresh_run(home, found);
  if (run.state == RunState::kRunning) {
    throw Error(ErrorKind::kConflict, fmt::format("run {} is still running", run.id),
                fmt::format("stop it first: virga stop {}", run.uri.empty() ? run.id : run.uri));
  }
  const auto store = open_object_store(resume_uri(run));
  if (!store->exists(kJobObject) || !store->exists(kSettingsObject)) {
    throw Error(ErrorKind::kNotFound,
                fmt::format("run {} ({}) has left nothing to go on with", run.id, to_string(run.state)),
                "runs on functions that were stopped or died can be resumed; start others anew");
  }
  const auto bytes = store->get(kSettingsObject);
  auto settings = settings_from_text(as_text(bytes));
  settings.set(std::move(anew));
  std::vector<std::string> told_before;
  auto job = make_job(settings, told_before);
  return {std::move(job), std::move(settings), home, cores, cache_bytes, run, function_program,
          channel_token,  read_run_prices(run)};
}

std::string_view word_for(EndReason reason) noexcept {
  switch (reason) {
    case EndReason::kEpochs:
      return "epochs";
    case EndReason::kTargetLoss:
      return "target_loss";
    case EndReason::kPatience:
      return "patience";
    case EndReason::kConverged:
      return "converged";
    case EndReason::kSeconds:
      return "seconds";
    case EndReason::kBudget:
      return "budget";
    case EndReason::kStopped:
      return "signal";
  }
  return "epochs";
}

TrainOutcome train(const TrainRequest& request, const JobData& job_data, TrainObserver& observer,
                   const std::stop_token& stop) {
  using SteadyClock = std::chrono::steady_clock;
  if (!request.resume) check_prices(request);
  const auto earlier = request.resume ? earlier_drivers(*request.resume) : Earlier();
  const auto began = SteadyClock::now() -
                     std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(earlier.seconds));
  const auto& data = job_data.train;
  const auto* validation = job_data.validation ? &*job_data.validation : nullptr;
  if (validation != nullptr) check_same_encoding(data, *validation);
  auto run = run_of(request, data);
  std::optional<RunRecord> own_record;
  std::optional<WorkerJob> going_on;
  if (request.resume) {
    going_on = go_on(*request.resume, run);
    own_record.emplace(*request.resume);
  } else {
    own_record.emplace(request.home, request.settings, std::chrono::system_clock::now(),
                       request.job.output.run.value_or(""));
  }
  auto& record = *own_record;
  const auto& job = request.job;
  const auto level = best_simd_level();
  try {
    if (job.functions.engine != "single" && !request.resume) record.keep_prices(request.prices);
    // Rows that are seen once need not be kept: then the same memory serves for all.
    const auto once = std::max(store_directory(data.uri) ? kOnceBytesOfFolder : kOnceBytes,
                               one_pass_cache_bytes(run.plan, data.manifest));
    const auto keep = run.plan.epochs == 1 ? std::min(request.cache_bytes, once) : request.cache_bytes;
    GroupCache cache(*data.store, data.manifest, keep);
    find_first_centres(run, seeding_of(job), cache, stop);
    record.resolve({{"data.train_checksum", fmt::format("{:08x}", manifest_checksum(data.manifest))},
                    {"model.kind", to_string(run.plan.model.kind)},
                    {"model.base_loss", run.plan.constant_loss},
                    {"optimizer.batch_size", run.plan.batch_size},
                    {"functions.workers", run.plan.workers}});
    std::optional<GroupCache> other;
    if (validation != nullptr) other.emplace(*validation->store, validation->manifest, request.cache_bytes / 4);
    const bool own_split = validation == nullptr && data.manifest.validation.rows > 0;
    auto* validation_cache = other ? &*other : own_split ? &cache : nullptr;
    const auto split = other ? SplitName::kTrain : SplitName::kValidation;
    // A run without test data is judged by others that it did not train on.
    run.evaluates_on_validation = validation_cache != nullptr && !has_test_rows(job_data);
    observer.started({record.id(), job.functions.engine, std::string(to_string(level)), run.plan, data.manifest,
                      make_schedule(run.plan, data.manifest, run.seed).rounds_per_epoch(),
                      validation_cache != nullptr});

    Recorder recorder(record, observer, [&](const TrainingResult& so_far) {
      record.keep_model(encode_model(make_model_file(request, data, run.plan, so_far, so_far.parameters)));
    });
    std::optional<FunctionsReport> functions;
    if (job.functions.engine != "single") functions.emplace();
    if (functions && request.resume) {
      functions->driver = earlier.record.driver;
      functions->driver.push_back({.what = "resumed", .start_seconds = earlier.seconds, .seconds = 0});
    }
    auto result =
        functions ? train_on_functions(run,
                                       functions_place(request, job_data, record, validation_cache != nullptr, run.plan,
                                                       began, earlier.record.training_start_seconds, going_on),
                                       cache, kernels(level), recorder, stop, &*functions)
                  : train_on_threads(run, cache, validation_cache, split, kernels(level), recorder, stop);
    auto model = make_model_file(request, data, run.plan, result, std::move(result.parameters));
    auto written = std::async(std::launch::async, [&] { write_model(model, record, job.output.model); });
    const bool stopped = result.reason == EndReason::kStopped;
    std::optional<Evaluation> test;
    if (!stopped) test = evaluate_test(model, job_data, request, stop);
    std::optional<Evaluation> validated;
    if (!stopped && run.evaluates_on_validation) {
      validated = result.scored.empty() ? evaluate(model, *validation_cache, split, request.cores)
                                        : evaluate(model, std::exchange(result.scored, {}), request.cores);
    }
    written.get();
    const auto& classes = data.manifest.encoding.classes;
    if (functions) {
      StretchClock(began, functions->driver).lap("model and test");
      const auto wall = std::chrono::duration<double>(SteadyClock::now() - began).count();
      auto all = earlier.ledger.invocations;
      all.insert(all.end(), functions->ledger.invocations.begin(), functions->ledger.invocations.end());
      functions->wall = account_wall_time(all, functions->driver, wall);
      record.keep_functions(functions_json(*functions, request.prices));
    }
    if (test) record.keep_test(evaluation_json(*test, classes));
    if (validated) record.keep_validation(evaluation_json(*validated, classes));
    record.finish(stopped ? RunState::kStopped : RunState::kFinished, word_for(result.reason), stopped ? 130 : 0, "");
    const auto exchanges = exchanges_after(run.plan, result.last.round,
                                           make_schedule(run.plan, data.manifest, run.seed).rounds_per_epoch());
    result.parameters = std::move(model.parameters);
    return {record.id(), job.output.model, run.plan, std::move(result), classes, std::move(test), functions, exchanges};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kConflict) record.let_go();  // another driver may have taken over
    try {
      record.finish(error.kind() == ErrorKind::kInterrupted ? RunState::kStopped : RunState::kFailed,
                    to_string(error.kind()), exit_code(error.kind()), error.what());
    } catch (const Error&) {
      // Why it cannot be written is likely to be why the run has failed, which says more.
    }
    throw;
  }
}

}  // namespace virga
