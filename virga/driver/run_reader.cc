// Reading the records of runs: run_record.h, the half that only looks.
#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/control/run_folder.h"
#include "virga/control/run_place.h"
#include "virga/driver/process.h"
#include "virga/driver/run_record.h"
#include "virga/storage/object_uri.h"

namespace virga {
namespace {

using nlohmann::json;

// A record of the largest run that makes sense; beyond, it is not ours.
constexpr std::uint64_t kMaxDocumentBytes = 4 << 20;
constexpr std::uint64_t kMaxHistoryBytes = 64 << 20;
constexpr std::size_t kMaxDepth = 32;

/// nlohmann's parser does not bound nesting by itself, and destroying a deep value recurses.
json parse_bounded(std::string_view text, std::string_view what) {
  const auto callback = [](int depth, json::parse_event_t, json&) {
    if (depth > static_cast<int>(kMaxDepth)) throw Error(ErrorKind::kCorrupt, "is nested too deeply");
    return true;
  };
  try {
    return json::parse(text, callback);
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: is not JSON: {}", what, error.what()));
  } catch (const Error& error) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", what, error.what()));
  }
}

[[noreturn]] void refuse(std::string_view what, std::string_view field) {
  throw Error(ErrorKind::kCorrupt, fmt::format("{}: '{}' is missing or not what it should be", what, field));
}

const json& member(const json& object, std::string_view name, std::string_view what) {
  if (!object.is_object()) refuse(what, name);
  const auto found = object.find(std::string(name));
  if (found == object.end()) refuse(what, name);
  return *found;
}

std::string text_member(const json& object, std::string_view name, std::string_view what) {
  const auto& value = member(object, name, what);
  if (!value.is_string()) refuse(what, name);
  return value.get<std::string>();
}

std::uint64_t count_member(const json& object, std::string_view name, std::string_view what) {
  const auto& value = member(object, name, what);
  if (!value.is_number_unsigned()) refuse(what, name);
  return value.get<std::uint64_t>();
}

std::optional<double> number_member(const json& object, std::string_view name, std::string_view what) {
  const auto& value = member(object, name, what);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number()) refuse(what, name);
  return value.get<double>();
}

void check_version(const json& document, std::string_view what) {
  const auto version = count_member(document, "schema_version", what);
  if (version != 1) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: has version {}, and this program reads version 1", what, version),
                "use the program that wrote it");
  }
}

/// A value of the job as it was set; "" for null.
std::string setting_text(const json& settings, const char* section, const char* key) {
  const auto& value =
      member(member(member(settings, section, "config.json"), key, "config.json"), "value", "config.json");
  if (value.is_null()) return {};
  if (!value.is_string()) refuse("config.json", key);
  return value.get<std::string>();
}

/// The value of output.run; "" also of a record that is older than that option.
std::string place_of_run(const json& settings) {
  const json::json_pointer path("/output/run/value");
  if (!settings.contains(path) || settings[path].is_null()) return {};
  if (!settings[path].is_string()) refuse("config.json", "run");
  return settings[path].get<std::string>();
}

/// As make_folder() makes them: it becomes the name of a folder.
bool is_run_id(std::string_view id) {
  return id.size() >= 8 && id.size() <= 64 &&
         std::ranges::all_of(id, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-'; });
}

void take_config(Run& run, const json& config) {
  check_version(config, "config.json");
  run.id = text_member(config, "run", "config.json");
  run.started_at = text_member(config, "started_at", "config.json");
  const auto& settings = member(config, "settings", "config.json");
  run.uri = place_of_run(settings);
  run.name = setting_text(settings, "output", "name");
  run.data = setting_text(settings, "data", "train");
  run.model = setting_text(settings, "model", "kind");
  const auto& resolved = member(config, "resolved", "config.json");
  if (!resolved.is_object()) refuse("config.json", "resolved");
  if (const auto kind = resolved.find("model.kind"); kind != resolved.end() && kind->is_string()) {
    run.model = kind->get<std::string>();
  }
  const auto& output = member(settings, "output", "config.json");
  const auto& tags = member(member(output, "tags", "config.json"), "value", "config.json");
  for (const auto& tag : tags) {
    if (!tag.is_string()) refuse("config.json", "tags");
    run.tags.push_back(tag.get<std::string>());
  }
}

RunState state_from(const std::string& word) {
  for (const auto state : {RunState::kRunning, RunState::kFinished, RunState::kFailed, RunState::kStopped}) {
    if (word == to_string(state)) return state;
  }
  refuse("status.json", "state");
}

void take_status(Run& run, const json& status) {
  check_version(status, "status.json");
  run.state = state_from(text_member(status, "state", "status.json"));
  if (run.state == RunState::kRunning) return;
  run.reason = text_member(status, "reason", "status.json");
  run.message = text_member(status, "message", "status.json");
  run.exit_code = static_cast<int>(count_member(status, "exit_code", "status.json") & 0xff);
}

HistoryEntry parse_entry(std::string_view line) {
  const auto object = parse_bounded(line, "history.jsonl");
  HistoryEntry entry;
  entry.epoch =
      static_cast<std::uint32_t>(std::min(count_member(object, "epoch", "history.jsonl"), std::uint64_t{~0U}));
  entry.round = count_member(object, "round", "history.jsonl");
  entry.train_loss = number_member(object, "train_loss", "history.jsonl");
  entry.validation_loss = number_member(object, "validation_loss", "history.jsonl");
  entry.learning_rate = number_member(object, "learning_rate", "history.jsonl");
  entry.examples = count_member(object, "examples", "history.jsonl");
  entry.seconds = number_member(object, "seconds", "history.jsonl").value_or(0);
  if (object.contains("updates")) {
    entry.updates = count_member(object, "updates", "history.jsonl");
    entry.lost_updates = count_member(object, "lost_updates", "history.jsonl");
  }
  return entry;
}

void take_history(Run& run, std::string_view text) {
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    run.history.push_back(parse_entry(text.substr(0, end)));
    text.remove_prefix(end + 1);
    const auto loss = deciding_loss(run.history.back());
    if (loss && (!run.best || *loss < *deciding_loss(run.history[*run.best]))) run.best = run.history.size() - 1;
  }
}

ProcessIdentity process_of(const json& status) {
  const auto& process = member(status, "process", "status.json");
  return {.pid = static_cast<std::int64_t>(count_member(process, "pid", "status.json")),
          .start_ticks = count_member(process, "start_ticks", "status.json"),
          .boot = text_member(process, "boot", "status.json")};
}

Run read_run(const std::filesystem::path& folder) {
  Run run;
  try {
    const auto config = read_file(folder / "config.json", kMaxDocumentBytes);
    const auto status = read_file(folder / "status.json", kMaxDocumentBytes);
    const auto history = read_file(folder / "history.jsonl", kMaxHistoryBytes);
    run = parse_run(as_text(config), as_text(status), as_text(history));
    const bool runs = run.state == RunState::kRunning;
    if (runs && !is_alive(process_of(parse_bounded(as_text(status), "status.json")))) {
      run.state = RunState::kDied;
      run.reason = "its process is gone";
    }
  } catch (const Error& error) {
    run = {};
    run.reason = error.what();
  }
  run.id = folder.filename().string();
  run.folder = folder;
  return run;
}

/// Does a driver on another machine still give signs of life?
bool is_driven_elsewhere(const std::string& uri) {
  const auto place = open_run_place(uri_within(uri, "functions"));
  const Wait soon = {Deadline::in(std::chrono::seconds(30))};
  const auto heard = place.registers->read(kDriverRegister, soon);
  if (!heard) return false;
  try {
    (void)place.registers->wait_newer(kDriverRegister, heard->version, {Deadline::in(5 * place.tempo.heartbeat)});
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
    return false;
  }
}

/// Copies a record; the status comes last, as in the folder of its driver.
void copy_record(const ObjectStore& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::create_directories(to, error);
  if (error) throw system_error("cannot create " + to.string(), error.value());
  std::vector<std::string> there;
  for (auto& object : from.list()) {
    if (object.name.find('/') == std::string::npos) there.push_back(std::move(object.name));
  }
  for (const std::string name : {"config.json", "history.jsonl", "ledger.jsonl", "prices.json", "functions.json",
                                 "test.json", "validation.json", "status.json"}) {
    const bool grows = name.ends_with(".jsonl");
    if (std::ranges::find(there, name) != there.end()) {
      const auto bytes = from.get(name, grows ? kMaxHistoryBytes : kMaxDocumentBytes);
      write_file_atomically(to / name, bytes, false);
    } else if (name == "history.jsonl") {
      write_file_atomically(to / name, {}, false);  // nothing was evaluated yet
    } else {
      std::filesystem::remove(to / name, error);
    }
  }
}

/// Ids of all runs, oldest first.
std::vector<std::string> run_ids(const std::filesystem::path& home) {
  std::vector<std::string> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(home / "runs", error), end; !error && entry != end;
       entry.increment(error)) {
    auto name = entry->path().filename().string();
    if (!name.starts_with('.') && entry->is_directory()) ids.push_back(std::move(name));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw system_error("cannot read " + (home / "runs").string(), error.value());
  }
  std::ranges::sort(ids);
  return ids;
}

[[noreturn]] void refuse_several(std::string_view text, const std::vector<std::string>& ids) {
  const std::span shown(ids.data(), std::min<std::size_t>(ids.size(), 5));
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' means several runs: {}{}", text, fmt::join(shown, ", "), ids.size() > 5 ? ", ..." : ""),
              "give more of the id");
}

}  // namespace

Run parse_run(std::string_view config, std::string_view status, std::string_view history) {
  Run run;
  take_config(run, parse_bounded(config, "config.json"));
  take_status(run, parse_bounded(status, "status.json"));
  take_history(run, history);
  return run;
}

std::vector<Run> list_runs(const std::filesystem::path& home) {
  std::vector<Run> runs;
  for (const auto& id : run_ids(home)) runs.push_back(read_run(home / "runs" / id));
  return runs;
}

Run fetch_run(const std::filesystem::path& home, const std::string& uri) {
  const auto store = open_object_store(uri);
  Bytes config_bytes, status_bytes;
  try {
    config_bytes = store->get("config.json", kMaxDocumentBytes);
    status_bytes = store->get("status.json", kMaxDocumentBytes);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    throw Error(ErrorKind::kNotFound, fmt::format("{}: no run lies there ({})", store->uri(), error.what()),
                "give the URI that virga train --run was given");
  }
  const auto config = parse_bounded(as_text(config_bytes), "config.json");
  const auto id = text_member(config, "run", "config.json");
  if (!is_run_id(id)) refuse("config.json", "run");
  const auto status = parse_bounded(as_text(status_bytes), "status.json");
  const bool runs = text_member(status, "state", "status.json") == to_string(RunState::kRunning);
  const auto folder = std::filesystem::absolute(home / "runs" / id);
  const bool is_here = runs && is_alive(process_of(status));
  // The driver that works in that very folder knows more than its copy.
  if (!is_here || text_member(status, "folder", "status.json") != folder.string()) copy_record(*store, folder);
  auto run = read_run(folder);
  run.uri = uri;
  const bool is_elsewhere = runs && !is_here && process_of(status).boot != this_process().boot;
  if (is_elsewhere && run.state == RunState::kDied && is_driven_elsewhere(uri)) {
    run.state = RunState::kRunning;
    run.reason.clear();
  }
  return run;
}

Run refresh_run(const std::filesystem::path& home, Run run) {
  if (run.uri.empty()) return run;
  try {
    auto now = fetch_run(home, run.uri);
    if (now.id == run.id) return now;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
  }
  run.uri.clear();
  return run;
}

Run find_run(const std::filesystem::path& home, std::string_view text, RunChoice choice) {
  if (is_s3_uri(text)) return fetch_run(home, std::string(text));
  const auto ids = run_ids(home);
  if (ids.empty()) {
    throw Error(ErrorKind::kNotFound, fmt::format("there is no run in {}", (home / "runs").string()),
                "start one with virga train");
  }
  if (text == "last") return read_run(home / "runs" / ids.back());
  std::vector<std::string> matches;
  for (const auto& id : ids) {
    if (id == text) return read_run(home / "runs" / id);
    if (!text.empty() && id.starts_with(text)) matches.push_back(id);
  }
  if (matches.size() == 1) return read_run(home / "runs" / matches[0]);
  std::vector<std::string> known;
  std::vector<std::string> named;
  for (const auto& id : ids) {
    const auto run = read_run(home / "runs" / id);
    if (!text.empty() && run.name == text) named.push_back(id);
    known.push_back(run.name.empty() ? id : run.name);
  }
  if (named.size() == 1 || (!named.empty() && choice == RunChoice::kNewest)) {
    return read_run(home / "runs" / named.back());
  }
  if (!named.empty()) refuse_several(text, named);
  if (!matches.empty()) refuse_several(text, matches);
  const auto near = nearest_word(text, known);
  throw Error(ErrorKind::kNotFound, fmt::format("there is no run '{}'", text),
              near.empty() ? "virga runs lists all" : fmt::format("did you mean {}?", near));
}

nlohmann::json parse_run_document(std::string_view text, const std::string& file) {
  auto document = parse_bounded(text, file);
  if (!document.is_object()) throw Error(ErrorKind::kCorrupt, file + " is not an object", "");
  return document;
}

nlohmann::json read_run_config(const Run& run) {
  const auto bytes = read_file(run.folder / "config.json", kMaxDocumentBytes);
  return parse_bounded(as_text(bytes), "config.json");
}

namespace {

nlohmann::json read_document(const Run& run, const std::string& file) {
  if (!std::filesystem::exists(run.folder / file)) return nullptr;
  const auto bytes = read_file(run.folder / file, kMaxDocumentBytes);
  return parse_run_document(as_text(bytes), file);
}

}  // namespace

nlohmann::json read_run_test(const Run& run) { return read_document(run, "test.json"); }
nlohmann::json read_run_validation(const Run& run) { return read_document(run, "validation.json"); }
nlohmann::json read_run_functions(const Run& run) { return read_document(run, "functions.json"); }

PriceTable read_run_prices(const Run& run) {
  const auto path = run.folder / "prices.json";
  if (!std::filesystem::exists(path)) return builtin_price_table();
  try {
    return load_price_table(path);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUsage) throw;
    throw Error(ErrorKind::kCorrupt, error.what(), "it is the run's copy of the prices that it was started with");
  }
}

std::optional<ProcessIdentity> driver_of(const Run& run) {
  const auto status = read_document(run, "status.json");
  if (status.is_null() || text_member(status, "state", "status.json") != to_string(RunState::kRunning)) return {};
  return process_of(status);
}

void remove_run(const Run& run) {
  if (run.state == RunState::kRunning) {
    throw Error(ErrorKind::kConflict, fmt::format("run {} is running", run.id),
                fmt::format("stop it first: virga stop {}", run.id));
  }
  if (!run.uri.empty()) {
    const auto store = open_object_store(run.uri);
    std::vector<std::string> names;
    for (auto& object : store->list()) names.push_back(std::move(object.name));
    store->remove_all(names);
  }
  // Out of sight first, so that a crash in the middle leaves no half of a run.
  const auto hidden = run.folder.parent_path() / (".removed-" + run.id);
  std::error_code error;
  std::filesystem::rename(run.folder, hidden, error);
  if (!error) std::filesystem::remove_all(hidden, error);
  if (error) throw system_error("cannot delete " + run.folder.string(), error.value());
}

}  // namespace virga
