#include "virga/control/run_folder.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using nlohmann::json;

template <typename Read>
auto parsed(std::string_view text, std::string_view what, const Read& read) {
  try {
    return read(json::parse(text));
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{} cannot be read: {}", what, error.what()));
  }
}

}  // namespace

std::string checkpoint_object(std::uint64_t round) { return fmt::format("checkpoints/{:012}", round); }
std::string own_state_object(std::uint64_t round, Rank rank) { return fmt::format("own/{:012}/{}", round, rank); }
std::string snapshot_object(std::uint32_t epoch) { return fmt::format("snapshots/{:06}", epoch); }
std::string evaluation_object(std::uint32_t epoch) { return fmt::format("evaluations/{:06}.json", epoch); }
std::string answer_object(const Member& member) {
  return fmt::format("answers/{}-{}", member.worker, member.generation);
}
std::string worker_register(WorkerId worker) { return fmt::format("workers/{}", worker); }

std::optional<std::uint64_t> number_of(std::string_view object, std::string_view prefix) {
  if (!object.starts_with(prefix)) return std::nullopt;
  object.remove_prefix(prefix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(object.data(), object.data() + object.size(), number);
  if (error != std::errc() || end != object.data() + object.size()) return std::nullopt;
  return number;
}

std::string encode_evaluation(const EvaluationRecord& record) {
  json j = {{"epoch", record.epoch},
            {"round", record.round},
            {"examples", record.examples},
            {"learning_rate", record.learning_rate},
            {"train_loss", record.train_loss},
            {"validation_loss", record.validation_loss ? json(*record.validation_loss) : json(nullptr)},
            {"seconds", record.seconds},
            {"best", record.best}};
  if (record.updates > 0) {
    j["updates"] = record.updates;
    j["lost_updates"] = record.lost_updates;
  }
  return j.dump();
}

EvaluationRecord decode_evaluation(std::string_view text) {
  return parsed(text, "an evaluation of a run", [](const json& j) {
    EvaluationRecord record;
    record.epoch = j.at("epoch");
    record.round = j.at("round");
    record.examples = j.at("examples");
    record.learning_rate = j.at("learning_rate");
    record.train_loss = j.at("train_loss");
    if (!j.at("validation_loss").is_null()) record.validation_loss = j.at("validation_loss").get<double>();
    record.seconds = j.at("seconds");
    record.best = j.at("best");
    if (j.contains("updates")) {
      record.updates = j.at("updates");
      record.lost_updates = j.at("lost_updates");
    }
    return record;
  });
}

std::string encode_view(const ViewRecord& record) {
  auto members = json::array();
  for (const auto& member : record.view.members) members.push_back({member.worker, member.generation});
  return json{{"view", record.view.number}, {"members", members}, {"start_round", record.start_round}}.dump();
}

ViewRecord decode_view(std::string_view text) {
  return parsed(text, "the view of a run", [](const json& j) {
    ViewRecord record;
    record.view.number = j.at("view");
    for (const auto& member : j.at("members")) record.view.members.push_back({member.at(0), member.at(1)});
    record.start_round = j.at("start_round");
    return record;
  });
}

std::string encode_progress(const ProgressRecord& record) {
  return json{{"round", record.round},
              {"epoch", record.epoch},
              {"examples", record.examples},
              {"loss", record.loss},
              {"weight", record.weight}}
      .dump();
}

ProgressRecord decode_progress(std::string_view text) {
  return parsed(text, "the progress of a run", [](const json& j) {
    return ProgressRecord{j.at("round"), j.at("epoch"), j.at("examples"), j.at("loss"), j.at("weight")};
  });
}

std::string encode_life(const LifeRecord& record) {
  return json{{"generation", record.generation},
              {"view", record.view},
              {"round", record.round},
              {"time_ms", record.time.count()}}
      .dump();
}

LifeRecord decode_life(std::string_view text) {
  return parsed(text, "a worker's sign of life", [](const json& j) {
    return LifeRecord{j.at("generation"), j.at("view"), j.at("round"),
                      std::chrono::milliseconds(j.at("time_ms").get<std::int64_t>())};
  });
}

std::chrono::milliseconds wall_clock() noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
}

std::string life_text(const Member& member, const std::optional<LifeRecord>& life, std::chrono::milliseconds now) {
  const auto who = fmt::format("worker {} (generation {})", member.worker, member.generation);
  if (!life || life->generation != member.generation) return who + ", not seen yet";
  const std::chrono::duration<double> age = std::max(now - life->time, std::chrono::milliseconds(0));
  if (life->view == 0) return fmt::format("{}, started {:.1f} s ago", who, age.count());
  return fmt::format("{}, last seen {:.1f} s ago before round {} of view {}", who, age.count(), life->round,
                     life->view);
}

}  // namespace virga
