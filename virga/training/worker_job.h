#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/collective/all_reduce.h"
#include "virga/model/model.h"
#include "virga/training/plan.h"

namespace virga {

/// What all workers of a job know about it: every input of its numbers, resolved. Written once, before the first worker
/// is invoked.
struct WorkerJob {
  std::string run;   ///< id
  std::string data;  ///< URI of the imported training set
  std::uint32_t data_checksum = 0;
  std::string channel;                 ///< see open_channel()
  std::optional<std::string> emulate;  ///< as slow as which service: find_service_profile()
  std::vector<std::string> faults;     ///< on purpose: parse_shape(); their seed is that of the job
  Pattern pattern = Pattern::kScatterReduce;
  std::uint32_t pieces = 1;  ///< pipelined: AllReduce::Options::pieces
  TrainingPlan plan;         ///< with its learning rate
  std::uint64_t seed = 1;
  bool has_start = false;                               ///< the object "start" has the first parameters
  std::optional<std::string> validation;                ///< URI of a set of its own
  bool validates = false;                               ///< are there validation rows?
  std::uint64_t rounds_per_invocation = 0;              ///< then a worker leaves; 0: only at the end of its lifetime
  std::chrono::milliseconds checkpoint_interval{5000};  ///< 0: after every round
  std::chrono::milliseconds patience{60'000};           ///< for other workers, in a round
  std::chrono::milliseconds orphan_timeout{60'000};     ///< for a sign of life of the driver
  std::uint64_t memory_bytes = 1'769'000'000;           ///< most of a function
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;  ///< most for decoded rows, a function; less if memory is short
};

/// JSON (docs/formats/run-folder.md); numbers come back as they were.
[[nodiscard]] std::string encode_worker_job(const WorkerJob& job);
/// Throws Error(kCorrupt) for anything that encode_worker_job() does not write.
[[nodiscard]] WorkerJob decode_worker_job(std::string_view text);

}  // namespace virga
