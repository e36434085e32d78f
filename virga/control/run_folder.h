#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/view.h"

namespace virga {

// What lies at a run's URI while functions work on it (docs/formats/run-folder.md). Objects are written once (a twin
// writes the same bytes); registers are the view, the control record and signs of life.

inline constexpr std::string_view kJobObject = "job.json";
inline constexpr std::string_view kSettingsObject = "settings.json";  ///< what the job was made from, for a resume
inline constexpr std::string_view kStartObject = "start";
inline constexpr std::string_view kStoppedObject = "stopped";             ///< a snapshot in the middle of an epoch
inline constexpr std::string_view kStoppedTakenObject = "stopped-taken";  ///< the driver's copy, which is evaluated
inline constexpr std::string_view kViewRegister = "view";
inline constexpr std::string_view kControlRegister = "control";
inline constexpr std::string_view kStopRegister = "stop";      ///< at S3: somebody elsewhere wants the driver to stop
inline constexpr std::string_view kDriverRegister = "driver";  ///< driver epoch and heartbeat
inline constexpr std::string_view kProgressRegister = "progress";  ///< of rank 0

[[nodiscard]] std::string checkpoint_object(std::uint64_t round);  ///< "checkpoints/000000000017"
/// "own/000000000017/3": the state of a rank that has one of its own; rank 0's is in the checkpoint.
[[nodiscard]] std::string own_state_object(std::uint64_t round, Rank rank);
[[nodiscard]] std::string snapshot_object(std::uint32_t epoch);    ///< "snapshots/000003"
[[nodiscard]] std::string evaluation_object(std::uint32_t epoch);  ///< "evaluations/000003.json"
[[nodiscard]] std::string answer_object(const Member& member);     ///< "answers/2-5": worker 2, generation 5
[[nodiscard]] std::string worker_register(WorkerId worker);        ///< "workers/2"
/// The number at the end of such a name.
[[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view object, std::string_view prefix);

/// One evaluation that was decided on: in the run's folder before it is used, so that a resumed run decides the same.
struct EvaluationRecord {
  std::uint32_t epoch = 0;
  std::uint64_t round = 0;
  std::uint64_t examples = 0;
  double learning_rate = 0;
  double train_loss = 0;
  std::optional<double> validation_loss;
  double seconds = 0;
  bool best = false;
  std::uint64_t updates = 0;       ///< of this epoch, where updates can be lost
  std::uint64_t lost_updates = 0;  ///< of these
  bool operator==(const EvaluationRecord&) const = default;
};
[[nodiscard]] std::string encode_evaluation(const EvaluationRecord& record);
/// Throws Error(kCorrupt).
[[nodiscard]] EvaluationRecord decode_evaluation(std::string_view text);

/// What the register "view" holds: who takes part, and from where. Rounds before `start_round` are done; its state is
/// in checkpoint_object(start_round), or, for 0, the job's start.
struct ViewRecord {
  View view;
  std::uint64_t start_round = 0;
  bool operator==(const ViewRecord&) const = default;
};
[[nodiscard]] std::string encode_view(const ViewRecord& record);
/// Throws Error(kCorrupt).
[[nodiscard]] ViewRecord decode_view(std::string_view text);

/// What rank 0 says of itself now and then.
struct ProgressRecord {
  std::uint64_t round = 0;
  std::uint32_t epoch = 0;
  std::uint64_t examples = 0;
  double loss = 0;
  double weight = 0;
};
[[nodiscard]] std::string encode_progress(const ProgressRecord& record);
[[nodiscard]] ProgressRecord decode_progress(std::string_view text);

/// A worker's last sign of life.
struct LifeRecord {
  Generation generation = 0;
  std::uint32_t view = 0;   ///< in which it has taken its place
  std::uint64_t round = 0;  ///< that comes next
  /// Wall clock, since 1970: to tell people its age.
  std::chrono::milliseconds time{0};
};
[[nodiscard]] std::string encode_life(const LifeRecord& record);
[[nodiscard]] LifeRecord decode_life(std::string_view text);
[[nodiscard]] std::chrono::milliseconds wall_clock() noexcept;  ///< as in LifeRecord
/// For people: "worker 1 (generation 2), last seen 61.2 s ago before round 17 of view 3". `life`: what its register
/// holds, if anything.
[[nodiscard]] std::string life_text(const Member& member, const std::optional<LifeRecord>& life,
                                    std::chrono::milliseconds now);

/// What a member says instead of a control record's number when its time is nearly over: all members leave together,
/// after the same round.
inline constexpr std::uint64_t kLeave = ~std::uint64_t{0};

}  // namespace virga
