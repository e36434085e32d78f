#include "virga/function/run_task.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/directory_register.h"
#include "virga/channel/open_channel.h"
#include "virga/control/run_folder.h"
#include "virga/data/group_cache.h"
#include "virga/data/manifest.h"
#include "virga/math/kernels.h"
#include "virga/storage/object_store.h"
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

Answer work(const Payload& payload, ObjectStore& run, const std::string& token, const Log& log) {
  PhaseClock clock;
  const auto end_of_life = Deadline::in(payload.lifetime - leaving_margin(payload.lifetime));
  const auto job = read_job(run);
  DirectoryRegister registers(payload.run + "/registers");
  const auto channel = open_channel(job.channel, job.run, token);
  const WorkerPlace place{job,         payload.member, run, registers, *channel, kernels(best_simd_level()),
                          end_of_life, clock};
  const auto work = run_function_worker(place);
  if (const auto first = clock.first(WorkPhase::kApply); first && log) {
    log(fmt::format("worker {} generation {}: first step applied after {:.3f} ms", payload.member.worker,
                    payload.member.generation, std::chrono::duration<double, std::milli>(*first).count()));
  }
  const auto& traffic = work.traffic;
  return {.end = std::string(to_string(work.end)),
          .work = Answer::Work{.view = work.view,
                               .rounds = work.rounds,
                               .messages_put = traffic.messages_put,
                               .messages_got = traffic.messages_got,
                               .bytes_put = traffic.bytes_put,
                               .bytes_got = traffic.bytes_got,
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

Answer try_task(const Payload& payload, const std::string& token, const Log& log) noexcept {
  try {
    const auto run = open_object_store(payload.run);
    return payload.task == "worker" ? work(payload, *run, token, log) : evaluate(payload, *run);
  } catch (const Error& error) {
    return {.end = "error",
            .error_kind = std::string(to_string(error.kind())),
            .message = error.what(),
            .remedy = error.remedy()};
  } catch (const std::exception& error) {
    return {.end = "error", .error_kind = "internal", .message = error.what()};
  }
}

}  // namespace

Answer run_task(const Payload& payload, const std::string& token, const ProcessUsage& charged,
                const Log& log) noexcept {
  auto answer = try_task(payload, token, log);
  const auto usage = process_usage();
  answer.cpu_seconds = usage.cpu_seconds - charged.cpu_seconds;
  answer.peak_memory_bytes = usage.peak_memory_bytes;
  return answer;
}

}  // namespace virga
