#include "virga/driver/run_record.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/driver/process.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr int kSchemaVersion = 1;
constexpr const char* kPricesFile = "prices.json";
constexpr std::chrono::seconds kPutInterval{1};  // of files that grow, at the run's URI

std::tm utc(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return parts;
}

/// JSON has no NaN and no infinity.
json finite(std::optional<double> number) { return number && std::isfinite(*number) ? json(*number) : json(nullptr); }

/// Strings may hold what is not UTF-8 (paths); those bytes are replaced.
std::string to_text(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// Makes a folder of its own for the run. A name that is taken is that of a run which started in the same 15 us: this
/// one takes the next.
std::pair<std::string, std::filesystem::path> make_folder(const std::filesystem::path& home,
                                                          std::chrono::system_clock::time_point now) {
  const auto runs = home / "runs";
  std::error_code error;
  std::filesystem::create_directories(runs, error);
  if (error) throw system_error("cannot create " + runs.string(), error.value());
  const std::chrono::duration<std::int64_t, std::ratio<1, 65536>> tick(1);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const auto time = now + attempt * std::chrono::ceil<std::chrono::microseconds>(tick);
    const auto second = std::chrono::floor<std::chrono::seconds>(time);
    auto id = fmt::format("{:%Y%m%d-%H%M%S}-{:04x}", utc(time), (time - second) / tick);
    auto folder = runs / id;
    if (::mkdir(folder.c_str(), 0777) == 0) return {std::move(id), std::move(folder)};
    if (errno != EEXIST) throw system_error("cannot create " + folder.string(), errno);
  }
  throw Error(ErrorKind::kConflict, "cannot find a free name for a run in " + runs.string());
}

json running_status(const std::filesystem::path& folder) {
  const auto process = this_process();
  return {{"schema_version", kSchemaVersion},
          {"state", to_string(RunState::kRunning)},
          {"folder", std::filesystem::absolute(folder).string()},
          {"process", {{"pid", process.pid}, {"start_ticks", process.start_ticks}, {"boot", process.boot}}}};
}

json to_json(const HistoryEntry& entry) {
  json j = {{"epoch", entry.epoch},
            {"round", entry.round},
            {"train_loss", finite(entry.train_loss)},
            {"validation_loss", finite(entry.validation_loss)},
            {"learning_rate", finite(entry.learning_rate)},
            {"examples", entry.examples},
            {"seconds", finite(entry.seconds)}};
  if (entry.updates > 0) {
    j["updates"] = entry.updates;
    j["lost_updates"] = entry.lost_updates;
  }
  return j;
}

}  // namespace

std::string_view to_string(RunState state) noexcept {
  switch (state) {
    case RunState::kRunning:
      return "running";
    case RunState::kFinished:
      return "finished";
    case RunState::kFailed:
      return "failed";
    case RunState::kStopped:
      return "stopped";
    case RunState::kDied:
      return "died";
    case RunState::kDamaged:
      return "damaged";
  }
  return "damaged";
}

std::optional<double> deciding_loss(const HistoryEntry& entry) noexcept {
  return entry.validation_loss ? entry.validation_loss : entry.train_loss;
}

RunRecord::RunRecord(const std::filesystem::path& home, const Settings& settings,
                     std::chrono::system_clock::time_point now, const std::string& uri)
    : uri_(uri) {
  if (!uri_.empty()) {
    store_ = open_object_store(uri_);
    if (!store_->list("config.json").empty()) {
      throw Error(ErrorKind::kConflict, fmt::format("{}: a run lies there", store_->uri()),
                  fmt::format("virga resume {0} goes on with it, virga rm {0} deletes it; or take another place",
                              store_->uri()));
    }
  }
  std::tie(id_, folder_) = make_folder(home, now);
  config_ = to_text({{"schema_version", kSchemaVersion},
                     {"run", id_},
                     {"started_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc(now))},
                     {"settings", settings_json(settings)},
                     {"resolved", json::object()}});
  // The status comes last: without it, the folder is not a run that somebody should look at.
  write_config();
  const auto history = folder_ / "history.jsonl";
  history_ = ::open(history.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (history_ < 0) throw system_error("cannot write " + history.string(), errno);
  write("status.json", as_bytes(to_text(running_status(folder_), 2) + "\n"), false);
}

RunRecord::RunRecord(const Run& run) : id_(run.id), folder_(run.folder), uri_(run.uri) {
  if (run.state == RunState::kRunning) {
    throw Error(ErrorKind::kConflict, fmt::format("run {} is still running", run.id), "stop it first");
  }
  config_ = to_text(read_run_config(run));
  const auto path = folder_ / "history.jsonl";
  // A line that was cut off is no line.
  const auto history = read_file(path, std::uint64_t{64} << 20);
  const auto whole = as_text(history).rfind('\n') + 1;  // 0 if there is none
  history_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (history_ < 0 || ::ftruncate(history_, static_cast<off_t>(whole)) != 0) {
    throw system_error("cannot write " + path.string(), errno);
  }
  if (!uri_.empty()) store_ = open_object_store(uri_);
  write("status.json", as_bytes(to_text(running_status(folder_), 2) + "\n"), false);
}

RunRecord::~RunRecord() {
  if (!finished_) {
    try {
      finish(RunState::kFailed, "error", 1, "");
    } catch (const Error&) {
      // Nothing is left to tell it to: the record says "running", and its readers will see that the process is gone.
    }
  }
  ::close(history_);
}

void RunRecord::write(const char* file, ByteView bytes, bool durable) const {
  write_file_atomically(folder_ / file, bytes, durable);
  if (store_) store_->put(file, bytes, durable ? Durability::kDurable : Durability::kVisible);
}

void RunRecord::write_config() const { write("config.json", as_bytes(to_text(json::parse(config_), 2) + "\n"), false); }

void RunRecord::keep_model(ByteView bytes) { write("model.safetensors", bytes, true); }

void RunRecord::put_grown() {
  if (!store_) return;
  for (const auto* file : {"history.jsonl", "ledger.jsonl"}) {
    std::error_code none;
    const auto size = std::filesystem::file_size(folder_ / file, none);
    if (none || put_[file] == size) continue;
    store_->put(file, read_file(folder_ / file));
    put_[file] = size;
  }
  put_at_ = std::chrono::steady_clock::now();
}

void RunRecord::keep_up() {
  if (store_ && std::chrono::steady_clock::now() - put_at_ >= kPutInterval) put_grown();
}

void RunRecord::resolve(const nlohmann::json& inputs) {
  auto config = json::parse(config_);
  config["resolved"].update(inputs);
  config_ = to_text(config);
  write_config();
  durable_ = false;
}

void RunRecord::make_durable() {
  if (!durable_) make_small_files_durable();
  durable_ = true;
  if (::fsync(history_) != 0) throw system_error("cannot write " + (folder_ / "history.jsonl").string(), errno);
  put_grown();
}

void RunRecord::keep_prices(const PriceTable& prices) {
  write(kPricesFile, as_bytes(price_table_text(prices)), false);
  durable_ = false;
}

void RunRecord::make_small_files_durable() const {
  virga::make_durable(folder_ / "config.json");
  if (std::filesystem::exists(folder_ / kPricesFile)) virga::make_durable(folder_ / kPricesFile);
}

void RunRecord::add(const HistoryEntry& entry) {
  const auto line = to_text(to_json(entry)) + "\n";
  std::string_view rest = line;
  while (!rest.empty()) {
    const auto written = ::write(history_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error("cannot write " + (folder_ / "history.jsonl").string(), errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

void RunRecord::keep(const char* file, const nlohmann::json& members) const {
  json document = {{"schema_version", kSchemaVersion}};
  document.update(members);
  write(file, as_bytes(to_text(document, 2) + "\n"), true);
}

void RunRecord::keep_test(const nlohmann::json& evaluation) { keep("test.json", evaluation); }
void RunRecord::keep_validation(const nlohmann::json& evaluation) { keep("validation.json", evaluation); }
void RunRecord::keep_functions(const nlohmann::json& report) { keep("functions.json", report); }

void RunRecord::finish(RunState state, std::string_view reason, int exit_code, std::string_view message) {
  check(state == RunState::kFinished || state == RunState::kFailed || state == RunState::kStopped,
        "a run ends finished, failed or stopped");
  finished_ = true;
  auto status = running_status(folder_);
  status["state"] = to_string(state);
  status["reason"] = reason;
  status["exit_code"] = exit_code;
  status["message"] = message;
  const auto text = to_text(status, 2) + "\n";
  // Here first, wherever else it cannot be said.
  if (!durable_) make_small_files_durable();
  if (::fsync(history_) != 0) throw system_error("cannot write " + (folder_ / "history.jsonl").string(), errno);
  write_file_atomically(folder_ / "status.json", as_bytes(text));
  put_grown();
  if (store_) store_->put("status.json", as_bytes(text), Durability::kDurable);
}

}  // namespace virga
