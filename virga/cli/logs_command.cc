// virga logs: what the functions of a run wrote.
#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/log_lines.h"
#include "virga/cli/run_summary.h"
#include "virga/cost/ledger.h"
#include "virga/driver/process.h"
#include "virga/driver/run_record.h"
#include "virga/driver/train_run.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr auto kLookInterval = std::chrono::milliseconds(200);
constexpr std::size_t kChunkBytes = 256 << 10;

struct Logs {
  std::string which = "last";
  bool follow = false;
  std::optional<std::uint64_t> worker;
  std::optional<std::uint64_t> tail;
};

/// One log file, which may grow, and be deleted when the run has ended: what is open can still be read.
class GrowingFile {
 public:
  explicit GrowingFile(const fs::path& path) : file_(path), reader_(path.stem().string()) {}

  /// Calls `on_line` for each line that has become complete.
  template <class OnLine>
  void read(const OnLine& on_line) {
    std::vector<std::byte> chunk(kChunkBytes);
    while (const auto count = file_.read_at(offset_, chunk)) {
      offset_ += count;
      for (const auto& line : reader_.read(as_text(std::span(chunk).first(count)))) on_line(line);
    }
  }
  template <class OnLine>
  void finish(const OnLine& on_line) {
    for (const auto& line : reader_.rest()) on_line(line);
  }

 private:
  ReadableFile file_;
  LogReader reader_;
  std::uint64_t offset_ = 0;
};

/// Logs of both engines, in the order of their names.
std::vector<fs::path> log_files(const fs::path& run_folder) {
  std::vector<fs::path> files;
  for (const auto* folder : {"logs", "engine/logs"}) {
    std::error_code error;
    for (fs::directory_iterator entry(resume_folder(run_folder) / folder, error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->path().extension() == ".log") files.push_back(entry->path());
    }
  }
  std::ranges::sort(files);
  return files;
}

/// Prints lines, or keeps them for one document.
class Sink {
 public:
  Sink(const Logs& logs, const Session& session) : logs_(logs), session_(session) {}

  void add(const LogLine& line) {
    if (logs_.worker && (line.origin.task != "worker" || line.origin.worker != *logs_.worker)) return;
    any_ = true;
    if (session_.json()) {
      const bool worker = line.origin.task == "worker";
      lines_.push_back({{"task", line.origin.task.empty() ? json(nullptr) : json(line.origin.task)},
                        {"worker", worker ? json(line.origin.worker) : json(nullptr)},
                        {"generation", worker ? json(line.origin.generation) : json(nullptr)},
                        {"line", line.text}});
    } else {
      session_.print(fmt::format("{:<8}  {}\n", to_string(line.origin), line.text));
    }
  }
  [[nodiscard]] bool any() const noexcept { return any_; }
  [[nodiscard]] bool wants(const LogLine& line) const {
    return !logs_.worker || (line.origin.task == "worker" && line.origin.worker == *logs_.worker);
  }
  [[nodiscard]] const json& lines() const noexcept { return lines_; }

 private:
  const Logs& logs_;
  const Session& session_;
  json lines_ = json::array();
  bool any_ = false;
};

/// All of a file, or the end of it.
void show_so_far(GrowingFile& file, const Logs& logs, Sink& sink, bool ended) {
  std::deque<LogLine> last;
  const auto take = [&](const LogLine& line) {
    if (!logs.tail) return sink.add(line);
    if (!sink.wants(line) || *logs.tail == 0) return;
    if (last.size() == *logs.tail) last.pop_front();
    last.push_back(line);
  };
  file.read(take);
  if (ended) file.finish(take);
  for (const auto& line : last) sink.add(line);
}

bool is_driven(const Run& run) {
  const auto driver = driver_of(run);
  return driver && is_alive(*driver);
}

void follow(const Run& run, const Logs& logs, Sink& sink) {
  std::map<fs::path, GrowingFile> open;
  const auto add = [&](const LogLine& line) { sink.add(line); };
  for (bool first = true, goes_on = true; goes_on; first = false) {
    goes_on = is_driven(run);  // before the last look, so that nothing is missed
    for (auto& [path, file] : open) file.read(add);
    for (const auto& path : log_files(run.folder)) {
      if (open.contains(path)) continue;
      try {
        auto& file = open.try_emplace(path, path).first->second;
        first ? show_so_far(file, logs, sink, false) : file.read(add);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw;  // deleted meanwhile: the run has ended
      }
    }
    if (goes_on) std::this_thread::sleep_for(kLookInterval);
  }
  for (auto& [path, file] : open) file.finish(add);
}

/// What is left of the logs of a run that has ended: the last words of those that died.
std::size_t show_last_words(const Run& run, Sink& sink) {
  const auto path = ledger_path(run.folder);
  if (!fs::exists(path)) return 0;
  std::size_t died = 0;
  for (const auto& record : read_ledger(path).invocations) {
    if (record.said.empty()) continue;
    ++died;
    const bool worker = record.task == "worker";
    LogReader reader(worker ? fmt::format("worker-{}-{}", record.worker, record.generation) : std::string("evaluate"));
    for (const auto& line : reader.read(record.said)) sink.add(line);
    for (const auto& line : reader.rest()) sink.add(line);
  }
  return died;
}

int logs(const Logs& what, Session& session) {
  if (what.follow && session.json()) {
    throw Error(ErrorKind::kUsage, "--json is one document and cannot follow", "leave out --follow or --json");
  }
  const auto run = find_run(session.home(), what.which, RunChoice::kNewest);
  if (run.state == RunState::kDamaged) throw Error(ErrorKind::kCorrupt, fmt::format("run {}: {}", run.id, run.reason));
  if (engine_of(run) == "single") {
    throw Error(ErrorKind::kNotFound,
                fmt::format("run {} had no functions, and so no logs: its engine is single", run.id),
                fmt::format("virga show {} shows how it went", run.id));
  }
  Sink sink(what, session);
  const bool runs = run.state == RunState::kRunning;
  const auto files = log_files(run.folder);
  const bool deleted = files.empty() && !runs;
  std::size_t died = 0;
  if (deleted) {
    died = show_last_words(run, sink);
  } else if (what.follow && runs) {
    follow(run, what, sink);
  } else {
    for (const auto& path : files) {
      GrowingFile file(path);
      show_so_far(file, what, sink, true);
    }
  }
  if (session.json()) {
    session.print_json({{"run", run.id}, {"logs_deleted", deleted}, {"lines", sink.lines()}});
  } else if (deleted) {
    session.note(
        fmt::format("The logs of run {} were deleted when it ended; {}.", run.id,
                    died > 0 ? "above are the last words of the functions that died" : "no function of it died"));
  } else if (files.empty() && !run.uri.empty()) {
    session.note(fmt::format("The logs of run {} are on the machine of its driver.", run.id));
  } else if (!sink.any()) {
    session.note("Nothing was written yet.");
  } else if (what.follow) {
    const auto ended = find_run(session.home(), run.id, RunChoice::kOnly);
    session.note(fmt::format("run {}: {}{}", run.id, to_string(ended.state),
                             ended.reason.empty() ? "" : fmt::format(" ({})", ended.reason)));
  }
  return 0;
}

}  // namespace

void add_logs_command(Program& program) {
  struct Given {
    std::uint64_t worker_number = 0, tail_lines = 0;
    const CLI::Option* worker = nullptr;
    const CLI::Option* tail = nullptr;
  };
  auto what = std::make_shared<Logs>();
  auto given = std::make_shared<Given>();
  auto& app = program.add(
      "Runs",
      {.name = "logs",
       .arguments = "[RUN]",
       .summary = "Prints what the functions of a run wrote",
       .details = "Each line begins with its worker and generation (0.2 is worker 0 after one restart), or with "
                  "\"evaluate\". When a run has ended well its logs are deleted; what functions that died said last is "
                  "kept, and shown instead. RUN is as for virga show; none means the newest.",
       .examples = {{"virga logs -f", "follow the newest run until it ends"},
                    {"virga logs last --worker 2 --tail 20", "the last lines of worker 2"}}},
      [what, given](Session& session) {
        if (given->worker->count() > 0) what->worker = given->worker_number;
        if (given->tail->count() > 0) what->tail = given->tail_lines;
        return logs(*what, session);
      });
  app.add_option("RUN", what->which, "Run");
  app.add_flag("-f,--follow", what->follow, "Go on until the run has ended");
  given->worker = add_count(app, "--worker", given->worker_number, "Only this worker");
  given->tail = add_count(app, "--tail", given->tail_lines, "Only the last lines of each function's log");
}

}  // namespace virga
