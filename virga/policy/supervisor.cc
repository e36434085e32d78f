#include "virga/policy/supervisor.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace virga {
namespace {

/// Is the model chosen for good? A run that is stopped chooses among all it has evaluated.
bool chosen(const std::optional<EndReason>& end) {
  return end == EndReason::kTargetLoss || end == EndReason::kPatience;
}

}  // namespace

Supervisor::Supervisor(Options options)
    : options_(std::move(options)),
      start_round_(options_.start_round),
      epochs_seen_(static_cast<std::uint32_t>(options_.decided.size())) {
  view_.number = options_.first_view - 1;
  for (WorkerId worker = 0; worker < options_.workers; ++worker) {
    const auto at = options_.generations.find(worker);
    view_.members.push_back({worker, at == options_.generations.end() ? 0 : at->second});
  }
  Commands known;
  for (const auto& evaluation : options_.decided) decide(evaluation, known);
  evaluations_wanted_ = evaluations_decided_;
  stop_written_ = false;
}

std::vector<SupervisorCommand> Supervisor::handle(const SupervisorEvent& event) {
  Commands out;
  if (over_) return out;
  std::visit([&](const auto& e) { on(e, out); }, event);
  if (!over_) finish_if_over(out);
  return out;
}

void Supervisor::on(const Begin&, Commands& out) {
  if (trained() || end_) {
    over_ = true;  // a resumed run that had nothing left to do but to end
    out.emplace_back(Finish{end_.value_or(natural_end_)});
    return;
  }
  open_view(out);
}

/// A new view from the newest checkpoint; who is not alive comes as its next generation.
void Supervisor::open_view(Commands& out) {
  ++view_.number;
  leaving_ = false;
  open_at_seconds_.reset();
  done_.clear();
  std::vector<Member> invited;
  for (auto& member : view_.members) {
    if (alive_.contains(member.worker)) continue;
    ++member.generation;
    alive_.insert(member.worker);
    invited.push_back(member);
  }
  out.emplace_back(OpenView{view_, start_round_});
  for (const auto& member : invited) out.emplace_back(InvokeWorker{member});
}

bool Supervisor::trained() const noexcept {
  return epochs_seen_ >= options_.epochs || stopped_seen_ || done_.size() == view_.members.size();
}

void Supervisor::on(const WorkerEnded& event, Commands& out) {
  const bool current = event.member.worker < view_.members.size() && view_.members[event.member.worker] == event.member;
  if (!current) return;  // an older generation has gone
  using How = WorkerEnded::How;
  alive_.erase(event.member.worker);
  switch (event.how) {
    case How::kDone:
    case How::kContinue:
      if (event.view < view_.number) {  // it left before it heard of this view, which counts on it
        if (trained()) {
          dismiss(out);
        } else if (!open_at_seconds_) {
          open_view(out);
        }
        return;
      }
      if (event.how == How::kDone) done_.insert(event.member.worker);
      leaving_ = true;
      break;
    case How::kSuperseded:
    case How::kOrphaned:
    case How::kCrashed:
      if (trained()) return dismiss(out);
      if (open_at_seconds_) return;
      restart(fmt::format("worker {}: {}", event.member.worker, event.text), event.remedy, Pause::kNone, out);
      return;
    case How::kFailed: {
      if (trained()) return dismiss(out);
      const auto why = fmt::format("worker {}: {}", event.member.worker, event.text);
      // What another try may mend: the others were gone, the channel was. Who waited for others has waited already.
      if (!is_retryable(event.error)) {
        fail(event.error, why, event.remedy, out);
      } else if (!open_at_seconds_) {
        const bool waited = event.error == ErrorKind::kDeadlineExceeded;
        restart(why, event.remedy, waited ? Pause::kNone : Pause::kGrowing, out);
      }
      return;
    }
  }
  // All have left, or left and finished: those that finished had no news of the rest.
  if (alive_.empty() && !trained() && !open_at_seconds_) open_view(out);
}

/// The work is done, and somebody is gone: the others might wait for him.
void Supervisor::dismiss(Commands& out) {
  for (const auto worker : alive_) out.emplace_back(KillWorker{view_.members[worker]});
  alive_.clear();
}

void Supervisor::restart(const std::string& why, const std::string& remedy, Pause pause, Commands& out) {
  if (++restarts_ > options_.most_restarts) {
    fail(ErrorKind::kUnavailable,
         fmt::format("{} restarts in a row without getting further; the last one: {}", options_.most_restarts, why),
         remedy, out);
    return;
  }
  if (pause == Pause::kNone) {
    open_view(out);
  } else {
    constexpr double kMostDoubled = 100;
    open_at_seconds_ = now_seconds_ + options_.first_pause_seconds *
                                          std::min(std::ldexp(1.0, static_cast<int>(restarts_) - 1), kMostDoubled);
  }
}

void Supervisor::fail(ErrorKind kind, const std::string& text, const std::string& remedy, Commands& out) {
  over_ = true;
  dismiss(out);
  out.emplace_back(Fail{kind, text, remedy});
}

void Supervisor::on(const CheckpointSeen& event, Commands&) {
  if (event.round <= start_round_) return;
  start_round_ = event.round;
  restarts_ = 0;
}

void Supervisor::on(const SnapshotSeen& event, Commands& out) {
  if (event.stopped ? stopped_seen_ : event.epoch <= epochs_seen_) return;
  restarts_ = 0;
  if (event.stopped) {
    stopped_seen_ = true;
    // Told to stop after an epoch, then lost: who went on from a checkpoint stopped before it.
    if (event.epoch <= epochs_seen_) return;
  } else {
    epochs_seen_ = event.epoch;
    if (event.converged) {
      options_.epochs = event.epoch;
      natural_end_ = EndReason::kConverged;
    }
  }
  if (chosen(end_)) return;
  if (!options_.validates) {
    decide({.epoch = event.epoch, .stopped = event.stopped, .loss = event.train_loss, .crash = ""}, out);
    return;
  }
  waiting_.push_back({event.epoch, event.stopped});
  ++evaluations_wanted_;
  start_evaluations(out);
}

/// Workers may be far ahead: not all of what they leave is evaluated at once.
void Supervisor::start_evaluations(Commands& out) {
  while (!waiting_.empty() && evaluations_running_ < options_.most_evaluations) {
    out.emplace_back(waiting_.front());
    waiting_.pop_front();
    ++evaluations_running_;
  }
}

void Supervisor::on(const EvaluationEnded& event, Commands& out) {
  if (chosen(end_)) return;
  if (!event.crash.empty()) {
    if (++evaluation_crashes_ > options_.most_restarts) {
      fail(ErrorKind::kUnavailable, "the evaluation of a snapshot fails again and again: " + event.crash, "", out);
    } else {
      out.emplace_back(InvokeEvaluation{event.epoch, event.stopped});
    }
    return;
  }
  evaluation_crashes_ = 0;
  --evaluations_running_;
  undecided_[event.stopped ? options_.epochs + 1 : event.epoch] = event;
  while (!over_ && !undecided_.empty()) {
    const auto next = undecided_.begin();
    const bool in_order = next->second.stopped ? decided_ == epochs_seen_ : next->first == decided_ + 1;
    if (!in_order) break;
    const auto evaluation = next->second;
    undecided_.erase(next);
    decide(evaluation, out);
  }
  if (end_ == EndReason::kTargetLoss || end_ == EndReason::kPatience) waiting_.clear();  // the model is chosen
  start_evaluations(out);
}

void Supervisor::decide(const EvaluationEnded& evaluation, Commands& out) {
  if (!evaluation.stopped) decided_ = evaluation.epoch;
  ++evaluations_decided_;
  if (chosen(end_)) return;
  // Without validation rows there is nothing to choose by: the last parameters are the model.
  const bool best = !options_.validates || (evaluation.loss && (!best_loss_ || *evaluation.loss < *best_loss_));
  if (best) {
    best_loss_ = evaluation.loss;
    since_best_ = 0;
  } else if (evaluation.epoch > options_.patience_after) {
    ++since_best_;
  }
  out.emplace_back(Evaluated{evaluation.epoch, evaluation.stopped, evaluation.loss, best});
  if (end_) return;
  if (options_.target_loss && evaluation.loss && *evaluation.loss <= *options_.target_loss) {
    end_ = EndReason::kTargetLoss;
  } else if (options_.validates && options_.patience > 0 && since_best_ >= options_.patience) {
    end_ = EndReason::kPatience;
  }
  if (end_ && !trained() && !stop_written_) {
    stop_written_ = true;
    out.emplace_back(WriteStop{});
  }
}

void Supervisor::on(const StopWanted& event, Commands& out) {
  if (!end_) end_ = event.why;
  if (stop_written_ || trained()) return;
  stop_written_ = true;
  out.emplace_back(WriteStop{});
}

void Supervisor::on(const Tick& event, Commands& out) {
  now_seconds_ = event.now_seconds;
  if (open_at_seconds_ && !trained()) {
    if (now_seconds_ >= *open_at_seconds_) open_view(out);
    return;
  }
  // Who has not left with the others is lost; who is still there after the end has nothing more to do.
  if (!(leaving_ || trained()) || alive_.empty() || event.idle_seconds < options_.leave_seconds) return;
  std::string who;
  for (const auto worker : alive_) {
    out.emplace_back(KillWorker{view_.members[worker]});
    who +=
        fmt::format("{}worker {} (generation {})", who.empty() ? "" : ", ", worker, view_.members[worker].generation);
  }
  alive_.clear();
  if (trained()) return;
  restart(fmt::format("{} did not leave with the others within {} s", who, options_.leave_seconds), "", Pause::kNone,
          out);
}

void Supervisor::finish_if_over(Commands& out) {
  if (!trained() || !alive_.empty()) return;
  if (options_.validates && !chosen(end_) && evaluations_decided_ < evaluations_wanted_) return;
  over_ = true;
  out.emplace_back(Finish{end_.value_or(natural_end_)});
}

}  // namespace virga
