#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "virga/base/error.h"
#include "virga/cost/price_table.h"
#include "virga/cost/usd.h"
#include "virga/data/group_cache.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/meter.h"
#include "virga/driver/run_budget.h"
#include "virga/driver/training_run.h"
#include "virga/engine/process_engine.h"
#include "virga/training/worker_job.h"

namespace virga {

/// Where and how a run's functions work.
struct FunctionsPlace {
  std::string run_id;
  std::filesystem::path folder;  ///< the run's URI while it goes on: a folder of its own
  /// Not empty: the run's URI, at S3; the folder has what stays on this machine: logs, sockets, messages that are
  /// files.
  std::string uri = {};
  std::filesystem::path program;  ///< virga-function
  /// Process: as it is, without limits but its lifetime. Local: a local engine in this process, which runs it as a
  /// Lambda function within limits. Vm: as process, but workers play virtual machines: they live as long as the run,
  /// evaluations work beside the first of them, and what is paid for is the machines.
  enum class EngineKind : std::uint8_t { kProcess, kLocal, kVm };
  EngineKind engine = EngineKind::kProcess;
  std::string instance;  ///< vm: the type of the machines, find_instance()
  PriceTable prices = builtin_price_table();
  /// Local: workers are invoked as Events, whose ends are found at the run's folder. Who dies is found out when no
  /// worker has given a sign of life for `silence`: a round must be shorter than that.
  bool as_events = false;
  bool doubles_events = false;                          ///< for tests: the platform delivers each Event twice
  unsigned cores = 1;                                   ///< of this machine
  std::map<std::string, std::string> environment = {};  ///< of the functions, besides what they need
  std::string data;                                     ///< URI of the training set
  std::optional<std::string> validation;                ///< of a set of its own
  bool validates = false;
  /// Directory: files in the run's folder. Data store: a virga-ps, or what `store` says. Direct: workers are connected
  /// with each other.
  enum class ChannelKind : std::uint8_t { kDirectory, kDataStore, kDirect };
  ChannelKind channel = ChannelKind::kDataStore;
  std::string store;        ///< URI of one's own (open_channel()); empty: it is a virga-ps in this process
  std::string store_token;  ///< that it wants
  std::string direct_host = "127.0.0.1";  ///< direct: where workers listen
  std::optional<std::string> emulate;     ///< WorkerJob::emulate
  std::vector<std::string> faults;        ///< WorkerJob::faults
  Pattern pattern = Pattern::kScatterReduce;
  std::uint32_t pieces = 1;  ///< pipelined: AllReduce::Options::pieces
  /// Both are chosen when the run begins (probe_for_pattern()); a resume goes on with what was chosen, which it says.
  bool chooses_pattern = false;
  std::chrono::milliseconds lifetime{900'000};  ///< of an invocation; vm: of an evaluation
  std::chrono::milliseconds grace{10'000};      ///< process: after its lifetime, then it is killed
  std::uint64_t rounds_per_invocation = 0;      ///< of a worker; 0: as many as its lifetime allows
  std::chrono::milliseconds checkpoint_interval{5000};
  std::chrono::milliseconds patience{60'000};
  std::chrono::milliseconds silence{10'000};  ///< of a worker after others ran out of patience: then it is replaced
  std::chrono::milliseconds orphan_timeout{60'000};
  std::uint64_t memory_bytes = 1'769'000'000;           ///< most of a function
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;  ///< most for decoded rows, a function; less if memory is short
  std::chrono::milliseconds look_interval{100};         ///< for what workers leave at the run's URI
  std::chrono::milliseconds restart_pause{100};         ///< the first one: Supervisor::Options::first_pause_seconds
  std::chrono::steady_clock::time_point origin = std::chrono::steady_clock::now();  ///< when the run began
  /// Resume: when training began, since `origin`; none: what earlier drivers took is not known.
  std::optional<double> training_start_seconds = {};
  std::filesystem::path ledger = {};  ///< file to append to; empty: none
  std::optional<Usd> budget = {};     ///< for the run, earlier drivers included: ends it before more is spent
  std::string settings;               ///< settings_text() of the job, kept for a resume
  /// Goes on with what is in the folder, which another driver has left.
  bool resume = false;
  std::set<Round> reported = {};  ///< resume: rounds whose evaluations the observer need not hear of again
  /// Called now and then with what runs; for tests that kill.
  std::function<void(Engine& engine)> watch = {};
  std::function<ProcessEngine::Twin(const Payload&)> twin = {};  ///< for tests that start functions twice
};

/// Throws Error(kTooLarge) if this machine has not the memory for all functions of a local engine at once: they would
/// be throttled, and wait for each other.
void check_machine_holds(const FunctionsPlace& place, std::uint32_t workers);

/// Throws Error(kUnsupported) if workers are to be connected with each other, and the sandbox of the engine gives each
/// a network of its own.
void check_functions_meet(const FunctionsPlace& place);

/// Why a job does not fit on a machine of this type: what worker_memory() or evaluation_memory() threw, in its words.
[[nodiscard]] Error machine_too_small(const Error& error, const std::string& instance);

/// The virtual machines of a run, if its engine has any.
[[nodiscard]] std::optional<VmFleet> fleet_of(const FunctionsPlace& place, std::uint32_t workers);

/// Do workers keep messages until they are retired? Then they need memory for them.
[[nodiscard]] bool keeps_messages(const FunctionsPlace& place);

/// What carries the messages, as the price table calls it, if it is to be paid for: not a folder, nor a virga-ps of
/// one's own, nor the workers themselves.
[[nodiscard]] std::optional<std::string> paid_channel(const FunctionsPlace& place);
/// Throws Error(kUsage) for a service that the run pays for, the channel's or object storage, and whose price the table
/// does not know: nothing is free because of that.
void check_services_have_prices(const FunctionsPlace& place);
/// Is something asked of a service that bills requests: by the channel, for data, or at the run's place?
[[nodiscard]] bool bills_requests(const FunctionsPlace& place);

/// The leases of a run: within its budget, or within none.
[[nodiscard]] RunBudget lease_run(const FunctionsPlace& place, std::uint32_t workers, Usd paid);

/// Trains with functions, or virtual machines, that are processes of this machine, and supervises them. No process and
/// no message is left afterwards. The folder is gone, too, unless it throws or the run was stopped: then the run can be
/// resumed. Only one driver works on a folder: one that finds that another has taken over throws Error(kConflict). The
/// model is that of train_on_threads() with as many workers, bit for bit. Throws as train_on_threads(), and
/// Error(kUnavailable) when workers die again and again, or the data store stays away. Throws Error(kBudgetExhausted),
/// too.
[[nodiscard]] TrainingResult train_on_functions(const TrainingRun& run, const FunctionsPlace& place, GroupCache& train,
                                                const Kernels& kernels, TrainingObserver& observer,
                                                const std::stop_token& stop, FunctionsReport* report = nullptr);

}  // namespace virga
