#include "virga/cli/dry_run.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/open_channel.h"
#include "virga/collective/all_reduce.h"
#include "virga/cost/estimate.h"
#include "virga/data/schedule.h"
#include "virga/driver/choose_pattern.h"
#include "virga/driver/functions_run.h"
#include "virga/policy/supervisor.h"
#include "virga/training/function_memory.h"
#include "virga/training/function_size.h"
#include "virga/training/plan.h"

namespace virga {
namespace {

using nlohmann::json;

/// What it takes that functions leave after so many rounds; at most, as a run may end before its last epoch.
struct Succession {
  std::uint64_t generations = 0;  // of each worker
  std::uint64_t invocations = 0;  // of all workers
  std::uint64_t checkpoints_put = 0, checkpoints_got = 0;
  double start_seconds = 0;  // until the workers are there again, all together
  Usd start_usd;
};

// Until ten functions of AWS run: LambdaML (SIGMOD 2021). Not verified; functions that are used again are faster.
constexpr auto kStartTime = std::chrono::milliseconds(1200);

/// All that a run would decide before its first round.
struct Outlook {
  const Job& job;
  const PriceTable& prices;
  FunctionSize size;
  std::string pattern;        // "auto": it would be probed for
  bool on_functions = false;  // or on virtual machines
  [[nodiscard]] bool is_vm() const { return job.functions.engine == "vm"; }
  std::chrono::milliseconds lifetime{};  // of a function
  double startup_seconds = 0;            // of virtual machines
  bool bills_requests = false;           // somebody does
  // What follows is known with the data only.
  std::optional<TrainingPlan> plan;
  std::uint64_t rows = 0, features = 0, rounds = 0;
  std::optional<FunctionMemory> worker, evaluation;
  std::optional<Succession> succession;
  std::optional<CostEstimate> cost;
};

std::string megabytes(std::uint64_t bytes) { return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6); }

std::string text_of(const WantedPattern& wanted) {
  return wanted.is_probed ? "auto" : std::string(to_string(wanted.pattern));
}

/// Of an invocation: a budget may shorten it. Throws if it is too small.
std::chrono::milliseconds lifetime_of(const Outlook& outlook, bool validates) {
  auto place = place_of(outlook.job, outlook.prices);
  place.validates = validates;
  place.memory_bytes = outlook.size.memory_bytes;
  check_machine_holds(place, outlook.size.workers);
  return lease_run(place, outlook.size.workers, Usd()).lifetime();
}

Succession succession_of(const TrainingPlan& plan, std::uint64_t rounds_per_epoch, std::uint64_t rounds_per_invocation,
                         std::uint64_t memory_bytes, const FunctionPrices& prices) {
  const auto rounds = rounds_per_epoch * plan.epochs;
  Succession all;
  all.generations = std::min((rounds + rounds_per_invocation - 1) / rounds_per_invocation,
                             std::max<std::uint64_t>(exchanges_after(plan, rounds, rounds_per_epoch), 1));
  all.invocations = all.generations * plan.workers;
  const auto successors = all.generations - 1;
  all.checkpoints_put = successors * (has_own_states(plan) ? plan.workers : 1);
  all.checkpoints_got = successors * plan.workers;
  all.start_seconds = static_cast<double>(all.generations) * std::chrono::duration<double>(kStartTime).count();
  const auto billed = prices.bills_init ? kStartTime : std::chrono::milliseconds(0);
  all.start_usd = bounded_usd(static_cast<double>(all.invocations) *
                              invocation_price(prices, memory_bytes, billed_time(prices, billed)).dollars());
  return all;
}

CostEstimate cost_of(const Outlook& outlook, bool validates) {
  const auto& job = outlook.job;
  const FunctionsPlace usual;
  const Supervisor::Options supervision;
  RunOutline outline{.workers = outlook.size.workers,
                     .memory_bytes = outlook.size.memory_bytes,
                     .lifetime = outlook.lifetime,
                     .early_ends = outlook.succession ? outlook.succession->generations : 0,
                     .restarts = supervision.most_restarts,
                     .evaluations = validates ? job.stop.epochs + 1 : 0,
                     .evaluations_at_once = validates ? 1U : 0U,
                     .evaluation_memory_bytes = outlook.size.memory_bytes,
                     .evaluation_timeout = outlook.lifetime,
                     .instance = outlook.is_vm() ? job.functions.instance : std::string(),
                     .startup_seconds = outlook.startup_seconds,
                     .services = {},
                     .request_service = {},
                     .time_limit = job.stop.seconds,
                     .closing = usual.patience,
                     .budget = job.stop.usd ? std::optional(Usd::of(*job.stop.usd)) : std::nullopt};
  if (const auto service = paid_channel(place_of(job, outlook.prices))) outline.services.push_back(*service);
  return estimate_cost(outline, outlook.prices);
}

void look_at_data(Outlook& outlook, const JobData& data, const TrainRequest& request) {
  const auto& manifest = data.train.manifest;
  if (data.validation) check_same_encoding(data.train, *data.validation);
  outlook.plan = plan_training(request.job, manifest, request.cores);
  outlook.rows = manifest.train.rows;
  outlook.features = manifest.encoding.features;
  outlook.rounds = make_schedule(*outlook.plan, manifest, request.job.seed).rounds_per_epoch();
  if (!outlook.on_functions) return;
  auto functions = request.job.functions;
  functions.workers = outlook.plan->workers;
  outlook.size = function_size(functions, request.cores, request.prices);
  if (const auto most = functions.rounds_per_invocation) {
    outlook.succession =
        succession_of(*outlook.plan, outlook.rounds, *most, outlook.size.memory_bytes, request.prices.functions);
  }
  const auto wanted = wanted_pattern(request.job, outlook.plan->workers);
  outlook.pattern = text_of(wanted);
  const auto limit = outlook.size.memory_bytes;
  const auto& plan_of = *outlook.plan;
  try {
    outlook.evaluation = evaluation_memory_of(plan_of, data, limit);
    // On a virtual machine it works beside a worker.
    const auto left = limit - (outlook.is_vm() && outlook.evaluation ? outlook.evaluation->needed_bytes : 0);
    const auto pattern = wanted.is_probed ? fitting_patterns(plan_of, manifest, left).front() : wanted.pattern;
    outlook.worker =
        worker_memory(plan_of, pattern, manifest, left, keeps_messages(place_of(request.job, request.prices)));
  } catch (const Error& error) {
    if (outlook.is_vm()) throw machine_too_small(error, request.job.functions.instance);
    throw;
  }
}

Outlook look(const TrainRequest& request) {
  const auto& job = request.job;
  Outlook outlook{.job = job,
                  .prices = request.prices,
                  .size = function_size(job.functions, request.cores, request.prices),
                  .on_functions = job.functions.engine != "single",
                  .plan = {},
                  .worker = {},
                  .evaluation = {},
                  .succession = {},
                  .cost = {}};
  const auto data = find_job_data(job.data, job.seed, request.home);
  if (data) {
    look_at_data(outlook, *data, request);
  } else if (outlook.size.workers == 0) {
    outlook.size.workers = request.cores;
  }
  if (!data) outlook.pattern = text_of(wanted_pattern(job, outlook.size.workers));
  // Of raw data it is not known yet whether a part will be held out for validation: the bound counts it.
  if (outlook.on_functions) {
    const auto place = place_of(job, request.prices);
    check_functions_meet(place);
    const bool validates = !data || outlook.evaluation.has_value();
    outlook.lifetime = lifetime_of(outlook, validates);
    if (const auto fleet = fleet_of(place, outlook.size.workers)) {
      outlook.startup_seconds = fleet->startup_seconds;
    }
    outlook.cost = cost_of(outlook, validates);
    outlook.bills_requests = bills_requests(place);
  }
  return outlook;
}

json succession_json(const std::optional<Succession>& succession) {
  if (!succession) return nullptr;
  return {{"generations", succession->generations},         {"invocations", succession->invocations},
          {"checkpoints_put", succession->checkpoints_put}, {"checkpoints_got", succession->checkpoints_got},
          {"start_seconds", succession->start_seconds},     {"start_usd", succession->start_usd.dollars()}};
}

json report_of(const Outlook& outlook) {
  const auto& size = outlook.size;
  const auto& plan = outlook.plan;
  const auto needed = [](const std::optional<FunctionMemory>& memory) {
    return memory ? json(memory->needed_bytes) : json(nullptr);
  };
  const bool functions = outlook.on_functions;
  return {
      {"dry_run", true},
      {"imported", plan.has_value()},
      {"data", outlook.job.data.train},
      {"engine", outlook.job.functions.engine},
      {"model", plan ? json(to_string(plan->model.kind)) : json(nullptr)},
      {"train_rows", plan ? json(outlook.rows) : json(nullptr)},
      {"features", plan ? json(outlook.features) : json(nullptr)},
      {"batch_size", plan ? json(plan->batch_size) : json(nullptr)},
      {"rounds_per_epoch", plan ? json(outlook.rounds) : json(nullptr)},
      {"epochs", outlook.job.stop.epochs},
      {"workers", plan        ? json(plan->workers)
                  : functions ? json(size.workers)
                              : json(nullptr)},
      {"memory_bytes", functions ? json(size.memory_bytes) : json(nullptr)},
      {"vcpus", functions ? json(size.cpus) : json(nullptr)},
      {"oversubscribed", functions ? json(size.oversubscribed) : json(nullptr)},
      {"lifetime_seconds",
       functions && !outlook.is_vm() ? json(std::chrono::duration<double>(outlook.lifetime).count()) : json(nullptr)},
      {"succession", succession_json(outlook.succession)},
      {"instance", outlook.is_vm() ? json(outlook.job.functions.instance) : json(nullptr)},
      {"startup_seconds", outlook.is_vm() ? json(outlook.startup_seconds) : json(nullptr)},
      {"protocol", outlook.job.exchange.protocol},
      {"pattern", functions ? json(outlook.pattern) : json(nullptr)},
      {"channel", functions ? json(outlook.job.exchange.channel) : json(nullptr)},
      {"bills_requests", functions ? json(outlook.bills_requests) : json(nullptr)},
      {"worker_needed_bytes", needed(outlook.worker)},
      {"evaluation_needed_bytes", needed(outlook.evaluation)},
      {"cost", outlook.cost ? estimate_json(*outlook.cost, outlook.prices) : json(nullptr)}};
}

std::string channel_text(const std::string& channel) {
  if (channel == "directory") return "files in the run's folder";
  if (is_direct_uri(channel)) return "connections between workers";
  if (channel.starts_with("ps:")) return fmt::format("the data store {}", channel.substr(3));
  return is_store_uri(channel) ? channel : "a data store of its own";
}

std::string memory_text(const Outlook& outlook) {
  auto text = fmt::format("a worker needs {} of {}", megabytes(outlook.worker->needed_bytes),
                          megabytes(outlook.size.memory_bytes));
  if (outlook.evaluation) text += fmt::format(", an evaluation {}", megabytes(outlook.evaluation->needed_bytes));
  return text + ": it fits";
}

std::string succession_text(const Succession& all) {
  return fmt::format(
      "at most {} generations: {} invocations of workers, {} checkpoints put and {} got; as long as ten functions of "
      "AWS took to start (LambdaML), {} and {} for starts alone",
      format_count(all.generations), format_count(all.invocations), format_count(all.checkpoints_put),
      format_count(all.checkpoints_got),
      format_duration(std::chrono::round<std::chrono::nanoseconds>(std::chrono::duration<double>(all.start_seconds))),
      format_usd(all.start_usd));
}

std::string machines_text(const Outlook& outlook) {
  const auto& type = outlook.job.functions.instance;
  const auto& instance = find_instance(outlook.prices, type);
  return fmt::format(
      "{} of type {}, {} vCPUs and {:g} GiB each (engine vm){}; starting them takes {} ({}, not verified), "
      "which is billed, and not waited for here",
      outlook.size.workers, type, instance.vcpus, static_cast<double>(instance.memory_mb) / 1024,
      outlook.size.oversubscribed ? "; more than this machine has" : "", format_seconds(outlook.startup_seconds),
      outlook.prices.startup.name);
}

std::string text_of(const Outlook& outlook) {
  const auto& job = outlook.job;
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<11}{}\n", name, value);
  };
  if (outlook.plan) {
    const auto& plan = *outlook.plan;
    text = fmt::format("Would train {} on {}\n", to_string(plan.model.kind), job.data.train);
    line("data", fmt::format("{} rows x {} features", format_count(outlook.rows), format_count(outlook.features)));
    line("rounds", fmt::format("batch {}, {} rounds an epoch, at most {} epochs", format_count(plan.batch_size),
                               format_count(outlook.rounds), plan.epochs));
  } else {
    text = fmt::format("Would import {}, which is raw, and then train on it\n", job.data.train);
    line("rounds",
         fmt::format("at most {} epochs; model, batch and memory are known after the import", job.stop.epochs));
  }
  if (!outlook.on_functions) {
    line("engine", outlook.plan ? fmt::format("single: {} threads of this machine", outlook.plan->workers)
                                : std::string("single: threads of this machine"));
    line("cost", "nothing on a platform");
    return text;
  }
  if (outlook.is_vm()) {
    line("machines", machines_text(outlook));
  } else {
    line("functions", fmt::format("{} of {}, {:.2f} vCPU each (engine {}){}", outlook.size.workers,
                                  megabytes(outlook.size.memory_bytes), outlook.size.cpus, job.functions.engine,
                                  outlook.size.oversubscribed ? "; more than this machine has" : ""));
    if (outlook.lifetime < job.functions.lifetime) {
      line("", fmt::format("living {} each, so that the budget is kept", format_duration(outlook.lifetime)));
    }
  }
  if (const auto most = job.functions.rounds_per_invocation) {
    line("rounds", fmt::format("{} an invocation{}", format_count(*most),
                               outlook.succession ? ": " + succession_text(*outlook.succession) : ""));
  }
  if (outlook.plan) line("algorithm", algorithm_text(outlook.plan->algorithm));
  const auto pattern = job.exchange.protocol == "asp" ? "one global model"
                       : outlook.pattern == "auto"    ? "what a probe of 2 s at most says is fastest,"
                                                      : outlook.pattern;
  line("exchange", fmt::format("{} through {}{}", pattern, channel_text(job.exchange.channel),
                               job.exchange.emulate ? ", as slow as " + *job.exchange.emulate : ""));
  if (!job.exchange.faults.empty()) line("faults", fmt::format("on purpose: {}", fmt::join(job.exchange.faults, ", ")));
  if (outlook.worker) line("memory", memory_text(outlook));
  auto cost = estimate_text(*outlook.cost, outlook.prices);
  cost.pop_back();  // its newline
  line("cost", cost);
  if (outlook.bills_requests) {
    const bool counted = job.stop.usd && !outlook.is_vm();
    line("",
         fmt::format("requests to S3 or DynamoDB {}",
                     counted ? "are within the budget, too" : "come on top: so many as there are rounds and looks"));
  }
  return text;
}

}  // namespace

void dry_run(const TrainRequest& request, const Session& session) {
  const auto outlook = look(request);
  if (session.json()) return session.print_json(report_of(outlook));
  session.print(text_of(outlook) + "Nothing was started. (--dry-run)\n");
}

}  // namespace virga
