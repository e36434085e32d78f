#include "virga/driver/functions_run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "virga/base/environment.h"
#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/hash.h"
#include "virga/base/memory.h"
#include "virga/base/system_random.h"
#include "virga/base/units.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/open_channel.h"
#include "virga/control/run_folder.h"
#include "virga/control/run_place.h"
#include "virga/cost/bill.h"
#include "virga/cost/ledger.h"
#include "virga/data/schedule.h"
#include "virga/driver/choose_pattern.h"
#include "virga/driver/meter.h"
#include "virga/driver/open_engine.h"
#include "virga/driver/run_budget.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/sandbox.h"
#include "virga/exchange/asp_exchange.h"
#include "virga/net/socket.h"
#include "virga/net/tls.h"
#include "virga/policy/silence_watch.h"
#include "virga/policy/supervisor.h"
#include "virga/ps/server.h"
#include "virga/storage/object_store.h"
#include "virga/storage/object_uri.h"
#include "virga/storage/s3_client.h"
#include "virga/training/function_memory.h"
#include "virga/training/function_worker.h"
#include "virga/training/state_file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kReaction = 1s;       // for workers to learn that they are to stop, and to do so
constexpr auto kKeepInterval = 10s;  // how long the best model may exist in memory alone
constexpr std::size_t kCheckpointsKept = 2;
constexpr auto kVmLifetime = std::chrono::hours(24 * 365);  // of a process: longer than any run
constexpr std::size_t kLogLines = 3;

Wait request_time() { return {Deadline::in(30s)}; }
/// For what may as well be left undone.
Wait short_time() { return {Deadline::in(5s)}; }

/// Both kinds of snapshot under one number: an epoch's, and where the run was stopped.
struct SnapshotName {
  std::uint32_t epoch = 0;
  bool stopped = false;
  auto operator<=>(const SnapshotName&) const = default;  // NOLINT(modernize-use-nullptr): it knows no <=>
};
std::string object_of(const SnapshotName& name) {
  return name.stopped ? std::string(kStoppedTakenObject) : snapshot_object(name.epoch);
}

/// The last lines of `text`, for people; nothing if there are none.
std::string last_lines(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::size_t begin = text.size();
  for (std::size_t line = 0; line < kLogLines && begin != std::string_view::npos && begin > 0; ++line) {
    begin = text.rfind('\n', begin - 1);
  }
  if (begin != std::string_view::npos && begin < text.size()) text.remove_prefix(begin + 1);
  return text.empty() ? "" : "; it said: " + std::string(text);
}

WorkerEnded::How how_of(const std::string& end) {
  for (const auto& [word, how] : {std::pair{WorkerEnd::kDone, WorkerEnded::How::kDone},
                                  {WorkerEnd::kContinue, WorkerEnded::How::kContinue},
                                  {WorkerEnd::kSuperseded, WorkerEnded::How::kSuperseded},
                                  {WorkerEnd::kOrphaned, WorkerEnded::How::kOrphaned}}) {
    if (end == to_string(word)) return how;
  }
  return WorkerEnded::How::kCrashed;
}

ErrorKind error_kind(const std::string& word) {
  for (int kind = 0; kind <= static_cast<int>(ErrorKind::kInternal); ++kind) {
    if (word == to_string(static_cast<ErrorKind>(kind))) return static_cast<ErrorKind>(kind);
  }
  return ErrorKind::kInternal;
}

/// The run's URI.
std::string uri_of(const FunctionsPlace& place) { return place.uri.empty() ? place.folder.string() : place.uri; }

/// Of a run that has ended, all that lies at its URI.
void clear_away(const FunctionsPlace& place) noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(place.folder, ignored);
  if (place.uri.empty()) return;
  try {
    const auto store = open_object_store(place.uri);
    std::vector<std::string> names;
    for (auto& object : store->list()) names.push_back(std::move(object.name));
    store->remove_all(names);
  } catch (const Error&) {
    // What is left there does no harm: no driver goes on with a run whose record says that it has ended.
  }
}

/// Opens the data store to this run's functions alone.
std::string random_token() {
  std::array<std::byte, 32> bytes{};
  fill_with_system_random(bytes);
  std::string token;
  for (const auto byte : bytes) token += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return token;
}

/// What a service would bill for messages that are put, got and retired, each found at the first look. DynamoDB bills
/// units: one for each KB that is written or deleted, one for each 4 KB that is read, a part of one for a whole one.
PaidRequests expected_requests(std::string_view service, const Traffic& traffic) {
  if (service != "dynamodb") return {.writes = traffic.messages_put, .reads = traffic.messages_got};
  return {.writes = 2 * (traffic.messages_put + traffic.bytes_put / 1024),
          .reads = traffic.messages_got + traffic.bytes_got / 4096};
}

/// Of the services that bill requests. Those of a channel at S3 are among all that is asked of S3.
struct RequestPrices {
  bool channel_at_s3 = false;
  ServicePrices channel;
  ServicePrices objects;
  [[nodiscard]] bool channel_bills() const noexcept { return channel.usd_per_write > 0 || channel.usd_per_read > 0; }
};

constexpr const char* kObjectStore = "object-store";

/// What of the run lies at S3, for people; null: nothing.
const char* what_lies_at_s3(const FunctionsPlace& place) {
  if (is_s3_uri(place.store)) return "the channel (exchange.channel)";
  if (is_s3_uri(place.uri)) return "the place of the run (output.run)";
  if (is_s3_uri(place.data)) return "the data (data.train)";
  return place.validation && is_s3_uri(*place.validation) ? "the data (data.validation)" : nullptr;
}

RequestPrices request_prices(const FunctionsPlace& place) {
  const auto& table = place.prices;
  RequestPrices prices{.channel_at_s3 = !place.emulate && is_s3_uri(place.store), .channel = {}, .objects = {}};
  // Where it has no price, nothing lies there: check_services_have_prices().
  if (const auto found = table.services.find(kObjectStore); found != table.services.end()) {
    prices.objects = found->second;
  }
  if (const auto service = paid_channel(place); service && !prices.channel_at_s3) {
    prices.channel = service_prices(table, *service);
  }
  return prices;
}

/// Enough for a round, a checkpoint, and what comes before and after.
Usd least_requests(const FunctionsPlace& place) {
  constexpr ServiceUse kLeast{.writes = 32, .reads = 256};
  const auto prices = request_prices(place);
  const auto least = service_use_price(prices.channel, kLeast);
  return what_lies_at_s3(place) != nullptr ? least + service_use_price(prices.objects, kLeast) : least;
}

/// Performs what the supervisor decides, and tells it what happens.
class FunctionsRun {
 public:
  FunctionsRun(const TrainingRun& run, const FunctionsPlace& place, const Manifest& manifest, double learning_rate,
               RunBudget& budget, TrainingObserver& observer, const std::stop_token& stop)
      : run_(run),
        place_(place),
        schedule_(make_schedule(run.plan, manifest, run.seed)),
        learning_rate_(learning_rate),
        observer_(observer),
        stop_(stop),
        run_place_(open_run_place(uri_of(place))),
        store_(run_place_.objects.get()),
        registers_(*run_place_.registers),
        token_(place.store.empty() ? random_token() : place.store_token),
        meter_(place.origin, place.ledger, place.memory_bytes, place.prices, fleet_of(place, run.plan.workers)),
        request_prices_(request_prices(place)),
        budget_(budget),
        silence_(place.silence),
        supervisor_(take_over()) {
    result_.learning_rate = learning_rate;
    std::filesystem::create_directories(place.folder);
    uri_ = reached(uri_of(place));
    write_job(manifest);
    engine_ = open_engine(place, {{"VIRGA_CHANNEL_TOKEN", token_}}, services_);
    report_.sandbox = engine_->limits();
  }

  ~FunctionsRun() { clear(); }
  FunctionsRun(const FunctionsRun&) = delete;
  FunctionsRun& operator=(const FunctionsRun&) = delete;

  /// Adds to what the report says of the driver.
  TrainingResult run(FunctionsReport& report) {
    began_ = last_event_ = kept_ = Clock::now();
    limited_since_ = started_ = began_ - elapsed_before_;
    if (place_.training_start_seconds) {  // then the history's times and the ledger's go on together
      const std::chrono::duration<double> start(*place_.training_start_seconds);
      started_ = std::min(started_, place_.origin + std::chrono::round<Clock::duration>(start));
    }
    report_.training_start_seconds = std::max(0.0, meter_.seconds_since_origin(started_));
    tell(Begin{});
    while (!finished_) {
      const auto look_interval = std::max(place_.look_interval, run_place_.tempo.driver_look);
      for (const auto& ended : engine_->wait(look_interval)) on_ended(ended);
      tell_status();
      if (place_.watch) place_.watch(*engine_);
      if (finished_) break;
      beat();
      look();
      ask_the_doubted();
      if (place_.as_events) ask_the_silent();
      pay_own_requests();
      keep_within_budget();
      if (stop_.stop_requested()) tell_stop(EndReason::kStopped);
      if (run_.time_limit && Clock::now() - limited_since_ >= *run_.time_limit) tell_stop(EndReason::kSeconds);
      const auto now = Clock::now();
      tell(Tick{.idle_seconds = std::chrono::duration<double>(now - last_event_).count(),
                .now_seconds = std::chrono::duration<double>(now - began_).count()});
    }
    clear();
    report_.ledger = meter_.ledger();
    report_.driver = std::move(report.driver);
    report = std::move(report_);
    if (!chosen_) throw ended_without_model();
    result_.elapsed = result_.last.elapsed;
    return std::move(result_);
  }

 private:
  /// Nobody works any more, and what was said in this driver's views is no longer of use. If the data store is gone,
  /// its messages are.
  void clear() noexcept {
    if (engine_) engine_->kill_all();
    if (std::exchange(cleared_, true) || !has_begun_) return;
    sweep();
    try {
      meter_.abandon();
      meter_.give_back_machines();
      bill_services();
      keep_leased(*store_, budget_.paid_before() + price(meter_.ledger(), place_.prices).total());
    } catch (const Error&) {
    }
  }

  void bill_services() {
    auto objects = objects_;
    objects += own_objects();
    const auto service = paid_channel(place_);
    if (service && !request_prices_.channel_at_s3) {
      const auto& traffic = report_.traffic;
      auto requests = report_.paid;
      if (channel_ && !place_.emulate) requests += channel_->paid();
      // Of who bills none, messages are told.
      if (!request_prices_.channel_bills()) requests = {.writes = traffic.messages_put, .reads = traffic.messages_got};
      meter_.service(*service, store_since_, requests.writes, requests.reads, traffic.bytes_put + traffic.bytes_got);
    }
    if (objects == ServiceUse() && !request_prices_.channel_at_s3) return;
    meter_.service(kObjectStore, store_since_, objects.writes, objects.reads, objects.bytes);
  }

  // Requests that are billed.

  /// What the driver itself took from S3.
  [[nodiscard]] ServiceUse own_objects() const noexcept { return S3Client::used_by_process().since(objects_before_); }
  [[nodiscard]] Usd own_requests() const {
    auto sum = service_use_price(request_prices_.objects, own_objects());
    if (channel_ && !place_.emulate) sum += price_of(channel_->paid());
    return sum;
  }
  [[nodiscard]] Usd price_of(const PaidRequests& paid) const {
    return service_use_price(request_prices_.channel, {paid.writes, paid.reads, 0});
  }
  /// Of an invocation. One that did not answer may have spent all that it was leased.
  [[nodiscard]] Usd price_of_requests(const Engine::Ended& ended) const {
    if (!ended.answer) {
      if (!place_.budget) return {};
      return workers_.contains(ended.invocation) ? budget_.requests() : budget_.least_requests();
    }
    const auto& answer = *ended.answer;
    return service_use_price(request_prices_.objects, answer.objects) +
           (answer.work ? price_of(answer.work->paid) : Usd());
  }
  void pay_own_requests() {
    const auto sum = own_requests();
    budget_.pay(sum - own_paid_);
    own_paid_ = sum;
  }

  void sweep() noexcept {
    if (!channel_) return;  // messages were the workers'
    try {
      report_.messages_left = channel_->contents(short_time()).messages;
      channel_->sweep(supervisor_.view().number + 1, short_time());
      for (const auto view : views_) forget_model(view);
    } catch (const Error&) {
    }
  }

  /// Claims the folder, and finds out how far another driver has come.
  Supervisor::Options take_over() {
    Supervisor::Options options{.workers = run_.plan.workers,
                                .epochs = run_.plan.epochs,
                                .validates = place_.validates,
                                .target_loss = run_.target_loss,
                                .patience = run_.patience,
                                .patience_after = run_.plan.patience_after,
                                .first_pause_seconds = std::chrono::duration<double>(place_.restart_pause).count()};
    const auto driver = registers_.read(kDriverRegister, request_time());
    driver_version_ = driver ? driver->version : 0;
    beat();
    if (!place_.resume) return options;
    for (const auto name : {kControlRegister, kStopRegister}) registers_.remove(name, request_time());
    store_->remove(kStoppedObject);
    for (const auto& answer : store_->list("answers/")) store_->remove(answer.name);
    if (const auto value = registers_.read(kViewRegister, request_time())) {
      const auto record = decode_view(as_text(value->bytes.view()));
      options.first_view = record.view.number + 1;
      for (const auto& member : record.view.members) options.generations[member.worker] = member.generation;
    }
    for (const auto& object : store_->list("checkpoints/")) {
      if (const auto round = number_of(object.name, "checkpoints/")) options.start_round = *round;
    }
    view_start_ = options.start_round;
    for (std::uint32_t epoch = 1; store_->exists(evaluation_object(epoch)); ++epoch) {
      const auto bytes = store_->get(evaluation_object(epoch));
      const auto record = decode_evaluation(as_text(bytes));
      recall(record);
      options.decided.push_back({.epoch = epoch,
                                 .stopped = false,
                                 .loss = place_.validates ? record.validation_loss : record.train_loss,
                                 .crash = ""});
    }
    return options;
  }

  /// What another driver has decided on.
  void recall(const EvaluationRecord& record) {
    EpochReport report{.epoch = record.epoch,
                       .round = record.round,
                       .examples = record.examples,
                       .learning_rate = record.learning_rate,
                       .train_loss = record.train_loss,
                       .validation_loss = record.validation_loss,
                       .updates = {record.updates, record.lost_updates}};
    report.elapsed =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(record.seconds));
    report.best = record.best;
    elapsed_before_ = std::chrono::duration_cast<Clock::duration>(report.elapsed);
    seen_.insert({.epoch = record.epoch, .stopped = false});
    if (record.best && store_->exists(snapshot_object(record.epoch))) {
      best_object_ = snapshot_object(record.epoch);
      result_.parameters = decode_snapshot(store_->get(best_object_)).parameters;
      result_.best = report;
      chosen_ = unkept_ = true;
    }
    result_.last = report;
    if (!place_.reported.contains(record.round)) observer_.evaluated(report);
  }

  void write_job(const Manifest& manifest) {
    WorkerJob job;
    job.run = place_.run_id;
    job.data = reached(place_.data);
    job.data_checksum = manifest_checksum(manifest);
    job.channel = start_channel();
    job.emulate = place_.emulate;
    job.faults = place_.faults;
    if (place_.channel != FunctionsPlace::ChannelKind::kDirect) channel_ = open_channel(job.channel, job.run, token_);
    const bool chooses = place_.chooses_pattern && !place_.resume && run_.plan.workers > 1;
    job.pattern = chooses ? fitting_patterns(run_.plan, manifest, place_.memory_bytes).front() : place_.pattern;
    job.pieces = place_.pieces;
    job.plan = run_.plan;
    job.plan.learning_rate = learning_rate_;
    job.seed = run_.seed;
    job.has_start = run_.start.has_value();
    if (place_.validation) job.validation = reached(*place_.validation);
    job.validates = place_.validates;
    job.rounds_per_invocation = place_.rounds_per_invocation;
    job.checkpoint_interval = place_.checkpoint_interval;
    job.patience = place_.patience;
    job.orphan_timeout = place_.orphan_timeout;
    job.memory_bytes = place_.memory_bytes;
    job.cache_bytes = place_.cache_bytes;
    if (run_.start) {
      Snapshot start;
      start.parameters = *run_.start;
      store_->put(kStartObject, encode_snapshot(start));
    }
    if (!place_.settings.empty()) store_->put(kSettingsObject, as_bytes(place_.settings));
    store_->put(kJobObject, as_bytes(encode_worker_job(job)));
    has_begun_ = true;
    if (run_.plan.algorithm.protocol == ProtocolKind::kAsp) models_ = open_register(job.channel, job.run, token_);
    if (!chooses) return;
    // Now, as whoever goes on with a run whose driver died over the probe sweeps what it left.
    const auto choice = choose_pattern_of(manifest);
    job.pattern = choice.pattern;
    job.pieces = choice.pieces;
    store_->put(kJobObject, as_bytes(encode_worker_job(job)));
  }

  PatternChoice choose_pattern_of(const Manifest& manifest) {
    PriceOfRound price;
    const auto service = paid_channel(place_);
    if (service) {
      const auto prices = service_prices(place_.prices, *service);
      if (prices.usd_per_write > 0 || prices.usd_per_read > 0) {
        price = [=](const Traffic& traffic) {
          const auto [writes, reads] = expected_requests(*service, traffic);
          return Usd::of(static_cast<double>(writes) * prices.usd_per_write +
                         static_cast<double>(reads) * prices.usd_per_read);
        };
      }
    }
    auto [choice, traffic] = probe_for_pattern(*channel_, place_.emulate, run_.plan, manifest,
                                               schedule_.rounds_per_epoch(), place_.memory_bytes, price, stop_);
    report_.traffic += traffic;  // it is paid for, too
    if (service && place_.emulate) {
      const auto paid = expected_requests(*service, traffic);
      report_.paid += paid;
      requests_usd_ += price_of(paid);
      budget_.pay(price_of(paid));
    }
    observer_.pattern_chosen(choice);
    return std::move(choice);
  }

  /// Its URI for the workers.
  std::string start_channel() {
    if (place_.channel == FunctionsPlace::ChannelKind::kDirectory) {
      return "directory:" + (place_.folder / "channel").string();
    }
    if (place_.channel == FunctionsPlace::ChannelKind::kDirect) return "direct:" + place_.direct_host;
    if (!place_.store.empty()) return reached(place_.store);
    // A Unix socket is faster, but its path must be short.
    constexpr std::size_t kLongestPath = 100;
    // One of its own for each driver: what another one started may hold that one's for a moment after its death.
    const auto path = (place_.folder / fmt::format("ps-{}.socket", driver_version_)).string();
    PsServerOptions options;
    options.listen = {path.size() <= kLongestPath ? "unix:" + path : "tcp:127.0.0.1:0"};
    options.token = token_;
    server_ = std::make_unique<PsServer>(options);
    return reached("ps:" + server_->addresses()[0]);
  }
  /// `uri`, whose store functions are to reach. They may know no names of hosts, and do not see every file.
  std::string reached(const std::string& uri) {
    const auto address = tcp_address_of_channel(uri);
    if (!address) return uri;
    auto at = numbered(*address, request_time().deadline);
    auto service = at;
    service.tls.reset();
    if (std::ranges::find(services_, service) == services_.end()) services_.push_back(service);
    if (at.tls) at.tls->authorities = kept_authorities(at.tls->authorities);
    return channel_at(uri, at);
  }
  /// A copy in the run's folder of the authorities that are believed, unless they are this system's, which all see.
  std::string kept_authorities(std::string file) {
    if (file.empty()) file = process_environment()("SSL_CERT_FILE").value_or("");
    if (file.empty()) return file;
    const auto bytes = read_file(file, kMostAuthorityBytes);
    const auto copy = place_.folder / fmt::format("authorities-{:08x}.pem", crc32c(bytes));
    write_file_atomically(copy, bytes, /*durable=*/false);
    return copy.string();
  }

  void beat() {
    const auto now = Clock::now();
    if (now - beaten_ < run_place_.tempo.heartbeat) return;
    beaten_ = now;
    const auto version = registers_.compare_exchange(kDriverRegister, driver_version_, as_bytes("{}"), request_time());
    if (!version) {
      throw Error(ErrorKind::kConflict, fmt::format("another driver has taken over run {}", place_.run_id),
                  "'virga runs' says how it goes on");
    }
    driver_version_ = *version;
  }

  // Money.

  [[nodiscard]] double now() const { return meter_.seconds_since_origin(Clock::now()); }
  [[nodiscard]] Error ended_without_model() const {
    if (result_.reason != EndReason::kBudget) {
      return {ErrorKind::kInterrupted, "the run was stopped before its first evaluation"};
    }
    return {ErrorKind::kBudgetExhausted,
            fmt::format("the budget of {} was spent before the first evaluation", format_usd(budget_.limit())),
            fmt::format("go on with a larger one: virga resume {} --budget USD", place_.run_id)};
  }

  /// Tells workers to stop as long as they live, if there would be no others after them; begins what had to wait for
  /// money; and ends the run if it waits in vain.
  void keep_within_budget() {
    if (is_vm()) {
      if (keep_machines_within_budget()) return;
    } else if (!stop_told_ && !workers_.empty()) {
      const auto margin = leaving_margin(place_.lifetime) + std::min<Clock::duration>(kReaction, place_.lifetime / 4);
      // Who leaves after so many rounds may be about to, and the next generation is then the one that is told.
      const bool few_rounds = place_.rounds_per_invocation > 0;
      const bool last_moment = few_rounds || std::ranges::any_of(workers_, [&](const auto& worker) {
                                 return Clock::now() >= meter_.since(worker.first) + place_.lifetime - margin;
                               });
      if (last_moment && !budget_.has_generations(few_rounds ? 2 : 1, now())) tell_stop(EndReason::kBudget);
    }
    for (auto held = std::exchange(held_, {}); const auto& command : held) {
      std::visit([&](const auto& c) { perform(c); }, command);
    }
    if (held_.empty() || !evaluations_.empty()) return;
    const bool only_evaluations = std::ranges::all_of(
        held_, [](const auto& command) { return std::holds_alternative<InvokeEvaluation>(command); });
    if (only_evaluations && !workers_.empty()) return;
    // Nothing that is under way will give back so much that it goes on.
    result_.reason = EndReason::kBudget;
    finished_ = true;
  }

  [[nodiscard]] bool is_vm() const { return place_.engine == FunctionsPlace::EngineKind::kVm; }
  /// Tells workers to stop while there is money for the end; true if there is none any more.
  bool keep_machines_within_budget() {
    if (Clock::now() - leased_at_ >= std::chrono::duration<double>(RunBudget::kLeaseSeconds / 2)) {
      keep_leased(*store_, budget_.leased(now()));
      leased_at_ = Clock::now();
    }
    if (!budget_.has_generations(1, now())) tell_stop(EndReason::kBudget);
    if (now() < budget_.end_seconds()) return false;
    result_.reason = EndReason::kBudget;
    finished_ = true;
    return true;
  }

  void tell_stop(EndReason why) {
    if (!std::exchange(stop_told_, true)) tell(StopWanted{why});
  }

  void tell(const SupervisorEvent& event) {
    if (!std::holds_alternative<Tick>(event)) last_event_ = Clock::now();
    for (const auto& command : supervisor_.handle(event)) {
      std::visit([&](const auto& c) { perform(c); }, command);
    }
  }

  void tell_status() {
    auto spent = budget_.paid_before() + meter_.spent() + requests_usd_ + own_requests();
    if (const auto service = paid_channel(place_)) spent += meter_.service_price(*service, store_since_);
    observer_.functions_changed({.alive = static_cast<std::uint32_t>(workers_.size()),
                                 .workers = run_.plan.workers,
                                 .invocations = report_.invocations,
                                 .restarts = restarts_,
                                 .usd = spent.dollars(),
                                 .usd_limit = place_.budget ? std::optional(place_.budget->dollars()) : std::nullopt});
  }

  // What the supervisor wants.

  void perform(const OpenView& command) {
    ++report_.views;
    registers_.write(kViewRegister, as_bytes(encode_view({command.view, command.start_round})), request_time());
    view_start_ = command.start_round;
    if (std::exchange(doubt_, false)) doubt_members_of(command.view);
    views_.insert(command.view.number);
    if (!channel_) return;  // workers sweep for themselves
    try {
      channel_->sweep(command.view.number, short_time());
      if (command.view.number > 1) forget_model(command.view.number - 1);
    } catch (const Error& error) {
      if (!is_retryable(error.kind())) throw;  // else the workers will say so, and it is swept with the next view
    }
  }
  /// The global model of a view, if there is one.
  void forget_model(std::uint32_t view) {
    if (models_) models_->remove(AspExchange::register_name(view), short_time());
  }
  void perform(const InvokeWorker& command) {
    const auto invocation = invoke(RunBudget::Use::kWorker,
                                   {.run = uri_,
                                    .task = "worker",
                                    .member = command.member,
                                    .epoch = 0,
                                    .lifetime = is_vm() ? kVmLifetime : place_.lifetime,
                                    .leaves_answer = place_.as_events},
                                   fmt::format("worker-{}-{}", command.member.worker, command.member.generation));
    if (!invocation) return held_.emplace_back(command), void();
    workers_[*invocation] = command.member;
  }
  /// None if there is no money for it now.
  std::optional<Engine::Invocation> invoke(RunBudget::Use use, Payload payload, const std::string& name) {
    const auto ticket = budget_.lease(use, now());
    if (!ticket) return std::nullopt;
    if (place_.budget && use == RunBudget::Use::kWorker && budget_.requests() > Usd()) {
      payload.requests = RequestLease{.usd = budget_.requests(),
                                      .channel_write = request_prices_.channel.usd_per_write,
                                      .channel_read = request_prices_.channel.usd_per_read,
                                      .object_write = request_prices_.objects.usd_per_write,
                                      .object_read = request_prices_.objects.usd_per_read};
    }
    keep_leased(*store_, budget_.leased(now()));
    const auto invocation = engine_->invoke(payload, name);
    meter_.began(invocation, payload);
    tickets_[invocation] = *ticket;
    ++report_.invocations;
    return invocation;
  }
  void perform(const KillWorker& command) {
    std::erase_if(held_, [&](const auto& held) {
      const auto* worker = std::get_if<InvokeWorker>(&held);
      return worker != nullptr && worker->member == command.member;
    });
    for (const auto& [invocation, member] : workers_) {
      if (member == command.member) engine_->kill(invocation);
    }
  }
  void perform(const InvokeEvaluation& command) {
    const auto invocation = invoke(workers_.empty() ? RunBudget::Use::kLastEvaluation : RunBudget::Use::kEvaluation,
                                   {.run = uri_,
                                    .task = "evaluate",
                                    .member = {},
                                    .epoch = command.stopped ? 0 : command.epoch,
                                    .lifetime = place_.lifetime},
                                   command.stopped ? "evaluate-stopped" : fmt::format("evaluate-{}", command.epoch));
    if (!invocation) return held_.emplace_back(command), void();
    evaluations_[*invocation] = {command.epoch, command.stopped};
  }
  void perform(const Evaluated& command) {
    const SnapshotName name{command.epoch, command.stopped};
    auto report = reports_.at(name);
    if (place_.validates) report.validation_loss = command.loss.value_or(NAN);
    check_hope(report, run_.plan, learning_rate_);
    report.best = command.best;
    report.elapsed = Clock::now() - started_;
    // Before it is used, so that a resumed run decides the same. Where a run was stopped is for this driver alone.
    if (!command.stopped) {
      store_->put(evaluation_object(command.epoch),
                  as_bytes(encode_evaluation({.epoch = report.epoch,
                                              .round = report.round,
                                              .examples = report.examples,
                                              .learning_rate = report.learning_rate,
                                              .train_loss = report.train_loss,
                                              .validation_loss = report.validation_loss,
                                              .seconds = std::chrono::duration<double>(report.elapsed).count(),
                                              .best = report.best,
                                              .updates = report.updates.written,
                                              .lost_updates = report.updates.lost})));
    }
    auto unwanted = object_of(name);
    if (command.best) {
      result_.parameters = decode_snapshot(store_->get(object_of(name))).parameters;
      result_.best = report;
      chosen_ = unkept_ = true;
      if (!command.stopped) unwanted = std::exchange(best_object_, unwanted);
    }
    result_.last = report;
    observer_.evaluated(report);
    if (!unwanted.empty()) store_->remove(unwanted);
    if (unkept_ && Clock::now() - kept_ >= kKeepInterval) {
      observer_.keep(result_);
      kept_ = Clock::now();
      unkept_ = false;
    }
  }
  void perform(const WriteStop&) {
    stop_written_ = true;
    registers_.write(kControlRegister, as_bytes("{\"stop\":true}"), request_time());
  }
  void perform(const Finish& command) {
    result_.reason = command.why;
    finished_ = true;
  }
  [[noreturn]] void perform(const Fail& command) { throw Error(command.kind, command.text, command.remedy); }

  // What happens.

  void on_ended(const Engine::Ended& ended) {
    count(ended);
    if (const auto at = evaluations_.find(ended.invocation); at != evaluations_.end()) {
      const auto name = at->second;
      evaluations_.erase(at);
      on_evaluation(name, ended);
      return;
    }
    const auto at = workers_.find(ended.invocation);
    if (at == workers_.end()) return;
    WorkerEnded event{.member = at->second, .text = "", .remedy = ""};
    workers_.erase(at);
    silence_.ended(event.member);
    look();  // what it left behind counts before its end does
    if (finished_) return;
    if (!ended.answer) {
      event.how = WorkerEnded::How::kCrashed;
      const auto lost = lost_.extract(ended.invocation);
      event.text = lost ? lost.mapped() : ended.death;
      event.text += "; " + life_text(event.member, life_of(event.member), wall_clock()) + last_lines(ended.log_tail);
    } else if (!ended.answer->error_kind.empty()) {
      event.how = WorkerEnded::How::kFailed;
      event.error = error_kind(ended.answer->error_kind);
      event.text = ended.answer->message;
      event.remedy = ended.answer->remedy;
    } else {
      event.how = how_of(ended.answer->end);
      if (ended.answer->work) event.view = ended.answer->work->view;
      event.text = "it ended as " + ended.answer->end;
    }
    using How = WorkerEnded::How;
    if (event.how == How::kCrashed || event.how == How::kFailed) ++restarts_;
    if (event.how == How::kFailed && event.error == ErrorKind::kDeadlineExceeded) doubt_ = true;
    tell(event);
  }

  /// Of those who go on in it; who is new in it comes later.
  void doubt_members_of(const View& view) {
    std::vector<Member> running;
    for (const auto& [invocation, member] : workers_) {
      if (view.rank_of(member)) running.push_back(member);
    }
    silence_.doubt(running, view.number, Clock::now());
  }
  /// Kills who gives no sign of life though others have waited for somebody in vain.
  void ask_the_doubted() {
    for (const auto& member : silence_.doubted()) {
      const auto life = life_of(member);
      if (life && life->generation == member.generation) silence_.seen(member, life->view);
    }
    for (const auto& member : silence_.lost(Clock::now())) {
      for (const auto& [invocation, its] : workers_) {
        if (its != member) continue;
        lost_[invocation] = "killed, because others ran out of patience and it did not take its place in the next view";
        engine_->kill(invocation);
      }
    }
  }
  /// Nobody says of a worker that was invoked as an Event that it died. But the others wait for it, so that soon no
  /// worker gives signs of life any more; then the one that has been silent longest is given up, and the others are
  /// doubted: if it is one of them, it does not take its place in the next view.
  void ask_the_silent() {
    if (workers_.size() < run_.plan.workers) return signs_.clear();  // they wait for a view, or for the end
    auto silent = workers_.end();
    Clock::time_point newest;
    for (auto at = workers_.begin(); at != workers_.end(); ++at) {
      const auto life = registers_.read(worker_register(at->second.worker), request_time());
      const auto version = life ? life->version : 0;
      auto& sign = signs_.try_emplace(at->first, Sign{version, Clock::now()}).first->second;
      if (sign.version != version) sign = {version, Clock::now()};
      newest = std::max(newest, sign.since);
      if (silent == workers_.end() || sign.since < signs_.at(silent->first).since) silent = at;
    }
    if (Clock::now() - newest < place_.silence) return;
    lost_[silent->first] = "given up, because no worker gave a sign of life any more and it was silent longest";
    engine_->kill(silent->first);
    doubt_ = true;
    signs_.clear();
  }
  std::optional<LifeRecord> life_of(const Member& member) {
    const auto value = registers_.read(worker_register(member.worker), request_time());
    if (!value) return std::nullopt;
    return decode_life(as_text(value->bytes.view()));
  }

  void count(const Engine::Ended& ended) {
    if (const auto at = workers_.find(ended.invocation); at != workers_.end() && ended.answer && ended.answer->work) {
      if (const auto& staleness = ended.answer->work->staleness; staleness.steps > 0) {
        report_.staleness[at->second.worker] += staleness;
      }
    }
    meter_.ended(ended, lost_.contains(ended.invocation));
    const auto requests = price_of_requests(ended);
    requests_usd_ += requests;
    if (ended.answer) objects_ += ended.answer->objects;
    if (const auto ticket = tickets_.extract(ended.invocation)) {
      budget_.settle(ticket.mapped(), price(meter_.ledger().invocations.back(), place_.prices).total() + requests);
    }
    report_.invocation_seconds += meter_.ledger().invocations.back().seconds;
    if (!ended.answer) return;
    const auto& answer = *ended.answer;
    report_.cpu_seconds += answer.cpu_seconds;
    report_.peak_memory_bytes = std::max(report_.peak_memory_bytes, answer.peak_memory_bytes);
    if (!answer.work) return;
    const auto& work = *answer.work;
    report_.worker_rounds += work.rounds;
    report_.times += work.times;
    report_.paid += work.paid;
    report_.retries += work.retries;
    report_.traffic += {work.messages_put, work.messages_got, work.bytes_put, work.bytes_got};
  }

  void on_evaluation(const SnapshotName& name, const Engine::Ended& ended) {
    EvaluationEnded event{.epoch = name.epoch, .stopped = name.stopped, .loss = std::nullopt, .crash = ""};
    if (!ended.answer) {
      event.crash = ended.death + last_lines(ended.log_tail);
    } else if (!ended.answer->error_kind.empty()) {
      event.crash = ended.answer->message;
    } else {
      event.loss = ended.answer->loss;
    }
    tell(event);
  }

  /// For what workers have put at the run's URI.
  void look() {
    auto checkpoints = store_->list("checkpoints/");
    if (!checkpoints.empty()) {
      const auto round = number_of(checkpoints.back().name, "checkpoints/").value_or(0);
      if (round > checkpoint_) tell(CheckpointSeen{checkpoint_ = round});
      for (std::size_t i = 0; i + kCheckpointsKept < checkpoints.size(); ++i) {
        if (checkpoints[i].name == checkpoint_object(view_start_)) continue;
        const auto old = number_of(checkpoints[i].name, "checkpoints/");
        store_->remove(checkpoints[i].name);
        if (!has_own_states(run_.plan) || !old) continue;
        for (Rank rank = 1; rank < run_.plan.workers; ++rank) store_->remove(own_state_object(*old, rank));
      }
    }
    std::vector<SnapshotName> found;
    for (const auto& object : store_->list("snapshots/")) {
      if (const auto epoch = number_of(object.name, "snapshots/"))
        found.push_back({static_cast<std::uint32_t>(*epoch)});
    }
    for (const auto& name : found) see(name);
    // Nobody stops before it is told to, unless another driver told it.
    if (!finished_ && stop_written_ && store_->exists(kStoppedObject)) see({.epoch = 0, .stopped = true});
    if (!place_.uri.empty() && registers_.read(kStopRegister, request_time())) tell_stop(EndReason::kStopped);
    if (const auto value = registers_.read(kProgressRegister, request_time()); value && value->version != progress_) {
      progress_ = value->version;
      const auto p = decode_progress(as_text(value->bytes.view()));
      observer_.progressed({.epoch = p.epoch,
                            .examples = p.examples,
                            .total = schedule_.rows_per_epoch() * run_.plan.epochs,
                            .train_loss = p.weight > 0 ? p.loss / p.weight : 0});
    }
  }

  void see(SnapshotName name) {
    if (finished_ || seen_.contains(name)) return;
    seen_.insert(name);
    const auto bytes = store_->get(name.stopped ? std::string(kStoppedObject) : object_of(name));
    // Who is told late may stop elsewhere and write it again.
    if (name.stopped) store_->put(kStoppedTakenObject, bytes);
    const auto snapshot = decode_snapshot(bytes);
    name.epoch = snapshot.epoch;
    const auto& sums = snapshot.sums;
    const EpochReport report{.epoch = snapshot.epoch,
                             .round = snapshot.round,
                             .examples = sums.examples,
                             .learning_rate = snapshot.learning_rate,
                             .train_loss = sums.weight > 0 ? sums.loss / sums.weight : 0,
                             .updates = {sums.updates, sums.lost_updates}};
    reports_[name] = report;
    report_.updates += report.updates;
    tell(SnapshotSeen{.epoch = snapshot.epoch,
                      .stopped = name.stopped,
                      .train_loss = report.train_loss,
                      .converged = snapshot.last && !name.stopped && snapshot.epoch < run_.plan.epochs});
  }

  const TrainingRun& run_;
  const FunctionsPlace& place_;
  const Schedule schedule_;
  const double learning_rate_;
  TrainingObserver& observer_;
  const std::stop_token stop_;
  const RunPlace run_place_;
  ObjectStore* const store_;
  Register& registers_;
  std::string uri_;  // of the run, as functions reach it
  const std::string token_;
  std::unique_ptr<PsServer> server_;
  std::unique_ptr<Channel> channel_;  // none: its ends are the workers
  std::unique_ptr<Register> models_;  // of protocol ASP: in the channel's store
  std::set<std::uint32_t> views_;     // that this driver has opened
  std::vector<Address> services_;     // that functions must reach
  std::unique_ptr<Engine> engine_;

  std::map<Engine::Invocation, Member> workers_;
  std::map<Engine::Invocation, SnapshotName> evaluations_;
  InvocationMeter meter_;
  Clock::time_point store_since_ = Clock::now();
  const RequestPrices request_prices_;
  const ServiceUse objects_before_ = S3Client::used_by_process();
  ServiceUse objects_;  // of functions that answered: all that they took from S3
  Usd requests_usd_;    // of functions, and of a probe
  Usd own_paid_;        // of own_requests(): what the budget knows
  RunBudget& budget_;
  std::map<Engine::Invocation, Budget::Ticket> tickets_;
  std::vector<std::variant<InvokeWorker, InvokeEvaluation>> held_;  // until there is money
  std::uint64_t restarts_ = 0;                                      // of workers that died
  SilenceWatch silence_;
  struct Sign {
    std::uint64_t version = 0;  // of the worker's register
    Clock::time_point since;
  };
  std::map<Engine::Invocation, Sign> signs_;  // of life, where nobody says who has died
  bool doubt_ = false;                        // somebody ran out of patience: who goes on in the next view is doubted
  std::map<Engine::Invocation, const char*> lost_;  // why they were killed
  std::set<SnapshotName> seen_;
  std::map<SnapshotName, EpochReport> reports_;
  std::uint64_t driver_version_ = 0;
  std::string best_object_;           // a resumed run needs it
  Clock::duration elapsed_before_{};  // of the drivers before this one
  std::uint64_t view_start_ = 0;
  std::uint64_t checkpoint_ = 0;  // the newest that the supervisor knows
  std::uint64_t progress_ = 0;
  bool stop_told_ = false;
  bool stop_written_ = false;
  bool has_begun_ = false;
  bool cleared_ = false;
  bool finished_ = false;
  bool chosen_ = false;
  bool unkept_ = false;
  Clock::time_point began_, started_, limited_since_, last_event_, kept_, beaten_{}, leased_at_{};
  TrainingResult result_;
  FunctionsReport report_;
  Supervisor supervisor_;  // last: what it starts from is found out with the others
};

}  // namespace

void check_machine_holds(const FunctionsPlace& place, std::uint32_t workers) {
  if (place.engine != FunctionsPlace::EngineKind::kLocal) return;
  constexpr std::uint64_t kMegabyte = 1'000'000;
  const auto each = ((place.memory_bytes + kMegabyte - 1) / kMegabyte) << 20U;  // as the platform counts megabytes
  const auto functions = workers + (place.validates ? 1U : 0U);
  const auto machine = memory_limit();
  if (each <= machine / functions) return;
  throw Error(ErrorKind::kTooLarge,
              fmt::format("{} workers{} of {} need {}, and this machine has {}", workers,
                          place.validates ? " and an evaluation" : "", format_bytes(place.memory_bytes),
                          format_bytes(each * functions), format_bytes(machine)),
              "fewer workers (--workers), or less memory of each (--memory)");
}

void check_functions_meet(const FunctionsPlace& place) {
  if (place.engine != FunctionsPlace::EngineKind::kLocal) return;
  if (place.channel != FunctionsPlace::ChannelKind::kDirect) return;
  const auto network = SandboxMaker("meet").powers().network;
  if (network.empty()) return;
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("exchange.channel \"direct\": functions of engine local cannot reach each other, as the sandbox "
                  "gives each a network of its own (by {})",
                  network),
      "run them as plain processes (--engine process), or let them talk through a store (--channel ps)");
}

Error machine_too_small(const Error& error, const std::string& instance) {
  if (error.kind() != ErrorKind::kTooLarge) return error;
  return {ErrorKind::kTooLarge, fmt::format("virtual machines of type {} are too small: {}", instance, error.what()),
          "take larger ones (--instance), or smaller mini-batches (--batch-size)"};
}

std::optional<VmFleet> fleet_of(const FunctionsPlace& place, std::uint32_t workers) {
  if (place.engine != FunctionsPlace::EngineKind::kVm) return std::nullopt;
  return vm_fleet(place.prices, place.instance, workers);
}

bool keeps_messages(const FunctionsPlace& place) { return place.channel == FunctionsPlace::ChannelKind::kDirect; }

std::optional<std::string> paid_channel(const FunctionsPlace& place) {
  if (place.emulate) {
    const auto paid_as = find_service_profile(*place.emulate).paid_as;
    if (!paid_as.empty()) return std::string(paid_as);
  }
  if (place.channel != FunctionsPlace::ChannelKind::kDataStore) return std::nullopt;
  if (place.store.empty()) return "data-store";
  return paid_service_of(place.store);
}

void check_services_have_prices(const FunctionsPlace& place) {
  const auto check_price = [&](const std::string& service, std::string_view user) {
    try {
      static_cast<void>(service_prices(place.prices, service));
    } catch (const Error& error) {
      throw Error(ErrorKind::kUsage, fmt::format("{} is paid for as '{}': {}", user, service, error.what()),
                  "take a channel or place that has a price, or a table that has this one (--prices NAME|FILE)");
    }
  };
  if (const auto service = paid_channel(place)) check_price(*service, "the channel (exchange.channel)");
  if (const auto* what = what_lies_at_s3(place)) check_price(kObjectStore, what);
}

bool bills_requests(const FunctionsPlace& place) { return least_requests(place) > Usd(); }

RunBudget lease_run(const FunctionsPlace& place, std::uint32_t workers, Usd paid) {
  RunBudget::Options options{.limit = place.budget.value_or(Usd::most()),
                             .paid = paid,
                             .workers = workers,
                             .validates = place.validates,
                             .memory_bytes = place.memory_bytes,
                             .lifetime = place.lifetime,
                             .overrun = std::max<std::chrono::milliseconds>(place.grace, lambda::kInitTimeout) + 1s,
                             .services = {},
                             .least_requests = place.budget ? least_requests(place) : Usd(),
                             .fleet = fleet_of(place, workers),
                             .orphan_timeout = place.orphan_timeout};
  if (const auto service = paid_channel(place)) options.services.push_back(*service);
  const auto since_origin = InvocationMeter::Clock::now() - place.origin;
  return {std::move(options), place.prices, std::chrono::duration<double>(since_origin).count()};
}

namespace {

void check_memory(const TrainingRun& run, const FunctionsPlace& place, const Manifest& manifest) try {
  if (place.chooses_pattern && !place.resume) {
    (void)fitting_patterns(run.plan, manifest, place.memory_bytes);
  } else {
    (void)worker_memory(run.plan, place.pattern, manifest, place.memory_bytes, keeps_messages(place));
  }
  if (place.validates && !place.validation) {
    (void)evaluation_memory(run.plan, manifest, SplitName::kValidation, place.memory_bytes);
  }
} catch (const Error& error) {
  if (place.engine == FunctionsPlace::EngineKind::kVm) throw machine_too_small(error, place.instance);
  throw;
}

}  // namespace

TrainingResult train_on_functions(const TrainingRun& run, const FunctionsPlace& place, GroupCache& train,
                                  const Kernels& kernels, TrainingObserver& observer, const std::stop_token& stop,
                                  FunctionsReport* report) {
  // Before anything is done: what has no price, too little memory for a function.
  check_services_have_prices(place);
  check_functions_meet(place);
  check_memory(run, place, train.manifest());
  check_machine_holds(place, run.plan.workers);
  const auto ledger = place.resume && std::filesystem::exists(place.ledger) ? read_ledger(place.ledger) : Ledger();
  const auto recorded = price(ledger, place.prices).total();
  const auto leased = read_leased(*open_object_store(uri_of(place)));
  auto budget = lease_run(place, run.plan.workers, std::max(recorded, leased.value_or(Usd())));
  auto leased_place = place;
  leased_place.lifetime = budget.lifetime();
  FunctionsReport own;
  auto& said = report != nullptr ? *report : own;
  StretchClock stretches(place.origin, said.driver);
  stretches.lap("opening");
  const auto rate = find_learning_rate(run, train, kernels, observer, stop);
  stretches.lap("learning-rate search");
  TrainingResult result;
  {
    FunctionsRun functions(run, leased_place, train.manifest(), rate, budget, observer, stop);
    stretches.lap("launch");
    result = functions.run(said);
    stretches.lap("supervision");
  }
  stretches.lap("closing");
  const bool may_go_on = leaves_work(result.reason);
  if (!may_go_on) clear_away(place);
  return result;
}

}  // namespace virga
