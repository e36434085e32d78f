#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/phase_clock.h"
#include "virga/base/view.h"
#include "virga/channel/channel.h"
#include "virga/channel/register.h"
#include "virga/collective/all_reduce.h"
#include "virga/control/run_place.h"
#include "virga/exchange/staleness.h"
#include "virga/math/kernels.h"
#include "virga/storage/object_store.h"
#include "virga/training/worker_job.h"

namespace virga {

/// How an invocation of a worker ended.
enum class WorkerEnd : std::uint8_t {
  kDone,        ///< the job's rounds are run, or it was told to stop
  kContinue,    ///< its time, its rounds, or its requests are over: a checkpoint is there, the next generation goes on
  kSuperseded,  ///< another invocation works in its place: of a later generation, or a twin that came first
  kOrphaned,    ///< the driver gave no sign of life
};
[[nodiscard]] std::string_view to_string(WorkerEnd end) noexcept;

/// What an invocation of a worker did.
struct WorkerWork {
  WorkerEnd end = WorkerEnd::kDone;
  std::uint32_t view = 0;    ///< the last in which it worked; 0: none
  std::uint64_t rounds = 0;  ///< completed, over all views
  Traffic traffic;
  StalenessCounts staleness;  ///< over all views
};

/// What an invocation works with; everything is borrowed.
struct WorkerPlace {
  const WorkerJob& job;
  Member me;
  ObjectStore& run;     ///< the run's URI
  Register& registers;  ///< at the run's URI
  Channel& channel;
  Register* models;  ///< in the channel's store: of protocol ASP, else null
  const Kernels& kernels;
  Deadline end_of_life;  ///< leave before
  PhaseClock& clock;     ///< told what the time goes to
  RunTempo tempo = {};   ///< of the run's URI
  /// The part of what may be spent on requests that is spent; the worker leaves before it is 1. Empty: there is no end.
  std::function<double()> requests_spent = {};
};

/// The life of one invocation: takes its place in the newest view, trains from where that view starts, and takes its
/// place in the next one when the view changes under it. Rank 0 of a view writes checkpoints and, at the end of each
/// epoch, a snapshot. Whatever is interrupted where, the bits of the snapshots are those of an undisturbed run, but
/// with protocols SSP and ASP, whose bits are those of no other run.
///
/// Throws Error: kDiverged, and what reading data, the channel or the run's URI throw; kDeadlineExceeded names who was
/// waited for and their last signs of life.
[[nodiscard]] WorkerWork run_function_worker(const WorkerPlace& place);

}  // namespace virga
