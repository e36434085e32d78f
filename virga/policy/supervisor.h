#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "virga/base/error.h"
#include "virga/base/view.h"
#include "virga/training/epoch_control.h"

namespace virga {

// What happens.
struct Begin {};  ///< comes first
/// An invocation of a worker is over.
struct WorkerEnded {
  enum class How : std::uint8_t { kDone, kContinue, kSuperseded, kOrphaned, kCrashed, kFailed };
  Member member;
  How how = How::kDone;
  std::uint32_t view = 0;                  ///< of kDone and kContinue: in which it worked
  ErrorKind error = ErrorKind::kInternal;  ///< of kFailed
  std::string text;                        ///< of kFailed and kCrashed, for people
  std::string remedy;
};
struct CheckpointSeen {
  std::uint64_t round = 0;
};
/// A snapshot is there. Those of epochs come in order; one where the run was stopped comes last.
struct SnapshotSeen {
  std::uint32_t epoch = 0;
  bool stopped = false;  ///< in the middle of that epoch
  double train_loss = 0;
  bool converged = false;  ///< the workers end with it, though there are epochs left
};
struct EvaluationEnded {
  std::uint32_t epoch = 0;
  bool stopped = false;
  std::optional<double> loss;  ///< none: it was not finite
  std::string crash;           ///< not empty: the evaluation itself failed, and is to be repeated
};
struct StopWanted {
  EndReason why = EndReason::kStopped;
};
/// Some time has passed.
struct Tick {
  double idle_seconds = 0;  ///< since the last other event
  double now_seconds = 0;   ///< by any clock that never goes back
};
using SupervisorEvent =
    std::variant<Begin, WorkerEnded, CheckpointSeen, SnapshotSeen, EvaluationEnded, StopWanted, Tick>;

// What is to be done.
/// To be in the run's register before the next command.
struct OpenView {
  View view;
  std::uint64_t start_round = 0;
  bool operator==(const OpenView&) const = default;
};
struct InvokeWorker {
  Member member;
  bool operator==(const InvokeWorker&) const = default;
};
struct KillWorker {
  Member member;
  bool operator==(const KillWorker&) const = default;
};
struct InvokeEvaluation {
  std::uint32_t epoch = 0;
  bool stopped = false;
  bool operator==(const InvokeEvaluation&) const = default;
};
/// One evaluation is decided on; these come in the order of epochs.
struct Evaluated {
  std::uint32_t epoch = 0;
  bool stopped = false;
  std::optional<double> loss;
  bool best = false;
  bool operator==(const Evaluated&) const = default;
};
struct WriteStop {
  bool operator==(const WriteStop&) const = default;
};
/// The run is over; the last Evaluated that was best is the model.
struct Finish {
  EndReason why = EndReason::kEpochs;
  bool operator==(const Finish&) const = default;
};
struct Fail {
  ErrorKind kind = ErrorKind::kInternal;
  std::string text;
  std::string remedy;
  bool operator==(const Fail&) const = default;
};
using SupervisorCommand =
    std::variant<OpenView, InvokeWorker, KillWorker, InvokeEvaluation, Evaluated, WriteStop, Finish, Fail>;

/// Decides who works from where, when a run ends and what its model is: a pure state machine. The model is a function
/// of the evaluations in the order of epochs alone, so it does not depend on who died or how far others had come.
class Supervisor {
 public:
  struct Options {
    std::uint32_t workers = 1;
    std::uint32_t epochs = 1;
    bool validates = true;  ///< else the last snapshot is the model, and nothing is evaluated
    std::optional<double> target_loss;
    std::uint32_t patience = 0;          ///< evaluations without a better one; 0: never
    std::uint32_t patience_after = 0;    ///< epochs that patience does not count
    std::uint32_t most_evaluations = 4;  ///< at once
    std::uint32_t most_restarts = 10;    ///< in a row, without a newer checkpoint or snapshot
    double leave_seconds = 10;           ///< for all members to leave once one has
    /// Before a restart because a service was not there: doubles with each in a row, up to a hundred times as long.
    double first_pause_seconds = 0.1;
    std::uint32_t first_view = 1;
    std::map<WorkerId, Generation> generations = {};  ///< those of a run that is resumed
    std::uint64_t start_round = 0;
    /// Evaluations that a resumed run has decided on, from epoch 1 on.
    std::vector<EvaluationEnded> decided = {};
  };

  explicit Supervisor(Options options);

  [[nodiscard]] std::vector<SupervisorCommand> handle(const SupervisorEvent& event);
  [[nodiscard]] bool over() const noexcept { return over_; }
  /// Who is working, as far as is known.
  [[nodiscard]] const View& view() const noexcept { return view_; }

 private:
  using Commands = std::vector<SupervisorCommand>;
  void on(const Begin&, Commands& out);
  void on(const WorkerEnded& event, Commands& out);
  void on(const CheckpointSeen& event, Commands& out);
  void on(const SnapshotSeen& event, Commands& out);
  void on(const EvaluationEnded& event, Commands& out);
  void on(const StopWanted& event, Commands& out);
  void on(const Tick& event, Commands& out);

  void open_view(Commands& out);
  enum class Pause : std::uint8_t { kNone, kGrowing };
  void dismiss(Commands& out);
  void restart(const std::string& why, const std::string& remedy, Pause pause, Commands& out);
  void start_evaluations(Commands& out);
  void decide(const EvaluationEnded& evaluation, Commands& out);
  void finish_if_over(Commands& out);
  void fail(ErrorKind kind, const std::string& text, const std::string& remedy, Commands& out);
  [[nodiscard]] bool trained() const noexcept;

  Options options_;
  View view_;
  std::set<WorkerId> alive_;
  std::set<WorkerId> done_;
  bool leaving_ = false;  // somebody left with a checkpoint: the others will
  double now_seconds_ = 0;
  std::optional<double> open_at_seconds_;  // the view is lost; when the next one is due
  std::uint64_t start_round_;
  std::uint32_t restarts_ = 0;
  std::uint32_t epochs_seen_ = 0;
  EndReason natural_end_ = EndReason::kEpochs;
  bool stopped_seen_ = false;
  std::optional<EndReason> end_;  // decided, though workers may still be at it
  bool stop_written_ = false;
  bool over_ = false;

  // Evaluations, decided in order.
  std::uint32_t decided_ = 0;
  std::map<std::uint32_t, EvaluationEnded> undecided_;  // stopped ones under epochs + 1
  std::deque<InvokeEvaluation> waiting_;
  std::uint32_t evaluations_running_ = 0;
  std::uint32_t evaluations_wanted_ = 0;
  std::uint32_t evaluations_decided_ = 0;
  std::uint32_t evaluation_crashes_ = 0;
  std::optional<double> best_loss_;
  std::uint32_t since_best_ = 0;
};

}  // namespace virga
