#include "virga/function/run_task.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/emulated_register.h"
#include "virga/channel/metered_channel.h"
#include "virga/channel/open_channel.h"
#include "virga/channel/retrying_channel.h"
#include "virga/channel/shape_text.h"
#include "virga/channel/shaped_channel.h"
#include "virga/control/run_folder.h"
#include "virga/control/run_place.h"
#include "virga/data/group_cache.h"
#include "virga/data/manifest.h"
#include "virga/math/kernels.h"
#include "virga/storage/object_store.h"
#include "virga/storage/object_uri.h"
#include "virga/storage/s3_client.h"
#include "virga/training/function_memory.h"
#include "virga/training/function_worker.h"
#include "virga/training/split_loss.h"
#include "virga/training/state_file.h"

namespace virga {
namespace {

WorkerJob read_job(const ObjectStore& run) {
  const auto bytes = run.get(kJobObject, std::uint64_t{64} << 20);
  return decode_worker_job(as_text(bytes));
}

using Log = std::function<void(std::string_view)>;

/// What the register "view" says of a view; one that is not the newest is over.
std::optional<DirectView> find_view(Register& registers, std::uint32_t number, const Wait& wait) {
  const auto value = registers.read(kViewRegister, wait);
  if (!value) return std::nullopt;
  auto record = decode_view(as_text(value->bytes.view()));
  if (record.view.number != number) return std::nullopt;
  return DirectView{.members = std::move(record.view.members), .over_before = number};
}

/// The end of a direct channel that this worker is.
std::unique_ptr<DirectChannel> open_direct(const WorkerJob& job, const Member& me, Register& registers,
                                           const std::string& token) {
  return std::make_unique<DirectChannel>(
      registers, DirectChannel::Options{.host = direct_host(job.channel),
                                        .token = token,
                                        .job = job.run,
                                        .me = me,
                                        .memory_bytes = job.memory_bytes / 2,
                                        .find_view = [&registers](std::uint32_t number, const Wait& wait) {
                                          return find_view(registers, number, wait);
                                        }});
}

/// A channel that fails as the job says, to somebody who tries again.
class FaultyChannel {
 public:
  FaultyChannel(Channel& inner, const WorkerJob& job, const Member& me)
      : failing_(inner, shape_of(job)),
        metered_(failing_),
        trying_(metered_, {.seed = job.seed ^ (std::uint64_t{me.worker} << 32U | me.generation)}) {}

  [[nodiscard]] Channel& channel() noexcept { return trying_; }
  [[nodiscard]] std::uint64_t retries() const noexcept { return trying_.retries(); }
  /// With the requests that were made again.
  [[nodiscard]] Traffic traffic(Traffic once) const {
    const auto use = metered_.use();
    once.messages_put = use.put.requests;
    once.messages_got = use.get.requests + use.try_get.requests;
    return once;
  }

 private:
  static Shape shape_of(const WorkerJob& job) {
    auto shape = parse_shape(job.faults, "the faults of a job");
    shape.seed = job.seed;
    return shape;
  }

  ShapedChannel failing_;
  MeteredChannel metered_;
  RetryingChannel trying_;
};

/// The part of the lease that requests have cost; all of it but what is kept for the end counts as 1.
double part_spent(const RequestLease& lease, const PaidRequests& channel, const ServiceUse& objects) {
  const auto cost = [](std::uint64_t writes, double write, std::uint64_t reads, double read) {
    return static_cast<double>(writes) * write + static_cast<double>(reads) * read;
  };
  const auto usd = cost(channel.writes, lease.channel_write, channel.reads, lease.channel_read) +
                   cost(objects.writes, lease.object_write, objects.reads, lease.object_read);
  return usd / (lease.usd - leaving_margin(lease)).dollars();
}

Answer work(const Payload& payload, RunPlace& run_place, const std::string& token, const ServiceUse& objects_before,
            const Log& log) {
  PhaseClock clock;
  const auto end_of_life = Deadline::in(payload.lifetime - leaving_margin(payload.lifetime));
  auto& run = *run_place.objects;
  auto& registers = *run_place.registers;
  const auto job = read_job(run);
  const auto direct = is_direct_uri(job.channel) ? open_direct(job, payload.member, registers, token)
                                                 : std::unique_ptr<DirectChannel>();
  const auto store = direct ? std::unique_ptr<Channel>() : open_channel(job.channel, job.run, token);
  Channel& fast = direct ? static_cast<Channel&>(*direct) : *store;
  std::optional<EmulatedChannel> slow;
  if (job.emulate) slow.emplace(fast, find_service_profile(*job.emulate), job.plan.workers - 1);
  Channel& working = slow ? static_cast<Channel&>(*slow) : fast;
  std::optional<FaultyChannel> faulty;
  if (!job.faults.empty()) faulty.emplace(working, job, payload.member);
  Channel& channel = faulty ? faulty->channel() : working;
  std::unique_ptr<Register> stored;
  if (job.plan.algorithm.protocol == ProtocolKind::kAsp) stored = open_register(job.channel, job.run, token);
  std::optional<EmulatedRegister> slow_models;
  if (stored && job.emulate) slow_models.emplace(*stored, find_service_profile(*job.emulate));
  Register* const models = slow_models ? &*slow_models : stored.get();
  const auto paid = [&] {
    auto all = channel.paid();
    if (models != nullptr) all += models->paid();
    return all;
  };
  std::function<double()> requests_spent;
  if (const auto& lease = payload.requests) {
    requests_spent = [&] { return part_spent(*lease, paid(), S3Client::used_by_process().since(objects_before)); };
  }
  const WorkerPlace place{
      job,   payload.member,  run,           registers, channel, models, kernels(best_simd_level()), end_of_life,
      clock, run_place.tempo, requests_spent};
  const auto work = run_function_worker(place);
  if (direct && work.end != WorkerEnd::kSuperseded) direct->leave({end_of_life});
  if (const auto first = clock.first(WorkPhase::kApply); first && log) {
    log(fmt::format("worker {} generation {}: first step applied after {:.3f} ms", payload.member.worker,
                    payload.member.generation, std::chrono::duration<double, std::milli>(*first).count()));
  }
  const auto traffic = faulty ? faulty->traffic(work.traffic) : work.traffic;
  return {.end = std::string(to_string(work.end)),
          .work = Answer::Work{.view = work.view,
                               .rounds = work.rounds,
                               .messages_put = traffic.messages_put,
                               .messages_got = traffic.messages_got,
                               .bytes_put = traffic.bytes_put,
                               .bytes_got = traffic.bytes_got,
                               .paid = paid(),
                               .retries = faulty ? faulty->retries() : 0,
                               .staleness = work.staleness,
                               .times = clock.times()}};
}

Answer evaluate(const Payload& payload, const ObjectStore& run) {
  crash_point("before_evaluation");
  const auto job = read_job(run);
  const auto object = payload.epoch == 0 ? std::string(kStoppedTakenObject) : snapshot_object(payload.epoch);
  const auto snapshot = decode_snapshot(run.get(object));
  const auto store = open_object_store(job.validation.value_or(job.data));
  const auto manifest = read_manifest(*store);
  const auto split = job.validation ? SplitName::kTrain : SplitName::kValidation;
  const auto memory = evaluation_memory(job.plan, manifest, split, job.memory_bytes);
  GroupCache cache(*store, manifest, std::min(memory.cache_bytes, job.cache_bytes));
  const auto loss = split_loss(cache, split, job.plan.model, snapshot.parameters, kernels(best_simd_level()), 1);
  return {.end = "evaluated", .loss = std::isfinite(loss) ? std::optional(loss) : std::nullopt};
}

Answer try_task(const Payload& payload, const std::string& token, const ServiceUse& objects_before,
                const Log& log) noexcept {
  try {
    auto run = open_run_place(payload.run);
    return payload.task == "worker" ? work(payload, run, token, objects_before, log) : evaluate(payload, *run.objects);
  } catch (const Error& error) {
    return {.end = "error",
            .error_kind = std::string(to_string(error.kind())),
            .message = error.what(),
            .remedy = error.remedy()};
  } catch (const std::exception& error) {
    return {.end = "error", .error_kind = "internal", .message = error.what()};
  }
}

/// For who does not hear the response. An invocation that was superseded leaves none: another has worked in its name,
/// or after it.
void leave(const Answer& answer, const Payload& payload, const Log& log) noexcept {
  if (answer.end == to_string(WorkerEnd::kSuperseded)) return;
  try {
    open_object_store(payload.run)->put(answer_object(payload.member), as_bytes(encode_answer(answer)));
  } catch (const Error& error) {
    if (log) log(fmt::format("cannot leave the answer: {}", error.what()));
  }
}

}  // namespace

Answer run_task(const Payload& payload, const std::string& token, const ProcessUsage& charged,
                const Log& log) noexcept {
  const auto objects_before = S3Client::used_by_process();
  auto answer = try_task(payload, token, objects_before, log);
  answer.objects = S3Client::used_by_process().since(objects_before);
  const auto usage = process_usage();
  answer.cpu_seconds = usage.cpu_seconds - charged.cpu_seconds;
  answer.peak_memory_bytes = usage.peak_memory_bytes;
  if (payload.leaves_answer && payload.task == "worker") {
    if (is_s3_uri(payload.run)) ++answer.objects.writes;  // the one that follows
    leave(answer, payload, log);
  }
  return answer;
}

}  // namespace virga
