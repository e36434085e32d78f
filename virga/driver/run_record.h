#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/bytes.h"
#include "virga/cost/price_table.h"
#include "virga/driver/process.h"
#include "virga/job/settings.h"
#include "virga/storage/object_store.h"

namespace virga {

/// kDied: its process ended without a word. kDamaged: its record cannot be read.
enum class RunState : std::uint8_t { kRunning, kFinished, kFailed, kStopped, kDied, kDamaged };
[[nodiscard]] std::string_view to_string(RunState state) noexcept;  ///< "running", ...

/// One evaluation.
struct HistoryEntry {
  std::uint32_t epoch = 0;                ///< epochs completed
  std::uint64_t round = 0;                ///< rounds completed
  std::optional<double> train_loss;       ///< absent also if not finite
  std::optional<double> validation_loss;  ///< as train_loss
  std::optional<double> learning_rate;
  std::uint64_t examples = 0;      ///< training rows seen since the start
  double seconds = 0;              ///< since the start of training
  std::uint64_t updates = 0;       ///< of this epoch, where updates can be lost
  std::uint64_t lost_updates = 0;  ///< of these
  bool operator==(const HistoryEntry&) const = default;
};

/// The loss that decides which entry is best: validation's, else training's; nothing if neither is there.
[[nodiscard]] std::optional<double> deciding_loss(const HistoryEntry& entry) noexcept;

struct Run;

/// The record of a run while it runs: the folder $VIRGA_HOME/runs/<id>, described in docs/formats/run-record.md. Files
/// are replaced atomically or appended to line by line, so that a reader, or a crash, never sees a half-written record
/// but for the last line of the history. Of a run that lies at a URI, the folder is a copy: each file is put there as
/// well, those that grow at most once a second. One thread at a time. Members throw Error(kIo), and what the URI's
/// store throws.
class RunRecord {
 public:
  /// Opens a new run that started `now`. Its id is that time (UTC), in 65536ths of a second. `uri`: where it lies, at
  /// S3; empty: in its folder. Throws Error(kConflict) if a run lies there.
  RunRecord(const std::filesystem::path& home, const Settings& settings, std::chrono::system_clock::time_point now,
            const std::string& uri = "");
  /// Goes on with the record of a run that is over, or whose process is gone.
  explicit RunRecord(const Run& run);
  /// A record that was not finished says "failed".
  ~RunRecord();
  RunRecord(const RunRecord&) = delete;
  RunRecord& operator=(const RunRecord&) = delete;

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }
  /// Where it lies; empty: in its folder.
  [[nodiscard]] const std::string& uri() const noexcept { return uri_; }
  /// Where the run's own copy of the model is.
  [[nodiscard]] std::filesystem::path model_path() const { return folder_ / "model.safetensors"; }

  /// Keeps inputs that the job left open ("model.kind", "optimizer.learning_rate", "data.train_checksum"), an object
  /// name -> value, before they are used.
  void resolve(const nlohmann::json& inputs);
  /// Keeps the prices by which the run is reckoned, before anything is spent.
  void keep_prices(const PriceTable& prices);
  void add(const HistoryEntry& entry);
  /// The best model so far, as a file's bytes.
  void keep_model(ByteView bytes);
  /// To be called now and then: puts what has grown at the URI, history and ledger.
  void keep_up();
  /// The run is another driver's now: the URI is left to it.
  void let_go() noexcept { store_.reset(); }
  /// Waits until the record is on the disk; what is written otherwise survives this process, but not the machine.
  void make_durable();
  /// Keeps what evaluation_json() says of the test data.
  void keep_test(const nlohmann::json& evaluation);
  /// Of the validation data, likewise.
  void keep_validation(const nlohmann::json& evaluation);
  /// Keeps what functions_json() says.
  void keep_functions(const nlohmann::json& report);
  /// `reason`: a word for what ended it ("epochs", "patience", "target_loss", "signal", "diverged", ...), `message`:
  /// what a person should read, may be empty.
  void finish(RunState state, std::string_view reason, int exit_code, std::string_view message);

 private:
  void write(const char* file, ByteView bytes, bool durable) const;
  void write_config() const;
  void make_small_files_durable() const;
  void keep(const char* file, const nlohmann::json& members) const;
  void put_grown();

  std::string id_;
  std::filesystem::path folder_;
  std::string uri_;
  std::unique_ptr<ObjectStore> store_;         // at the URI; none: the run is in its folder alone
  std::map<std::string, std::uintmax_t> put_;  // sizes of the files that grow, as they were put last
  std::chrono::steady_clock::time_point put_at_{};
  std::string config_;    // JSON text of config.json
  int history_ = -1;      // descriptor, append only
  bool durable_ = false;  // config.json, and prices.json if it is there
  bool finished_ = false;
};

/// A run as its record has it.
struct Run {
  std::string id;
  std::filesystem::path folder;
  std::string uri;   ///< where it lies, at S3, and the folder is a copy; empty: in the folder
  std::string name;  ///< empty: none
  std::vector<std::string> tags;
  std::string data;
  std::string model;       ///< kind, resolved
  std::string started_at;  ///< UTC, "2026-11-21T05:18:22Z"
  RunState state = RunState::kDamaged;
  std::string reason;   ///< what ended it; of a damaged one, what is wrong
  std::string message;  ///< empty: none
  std::optional<int> exit_code;
  std::vector<HistoryEntry> history;
  std::optional<std::size_t> best;  ///< index into history of the lowest deciding loss, the first of equals
};

/// `home`/runs, each run, oldest first; damaged ones are among them. Bounded in memory by what it returns.
[[nodiscard]] std::vector<Run> list_runs(const std::filesystem::path& home);

enum class RunChoice : std::uint8_t { kNewest, kOnly };
/// The run that `text` means: an s3:// URI, as fetch_run() does, "last", an id or its unique beginning, or a name. Of
/// several with that name the newest is taken, or, for kOnly, none. Throws Error(kNotFound) with the nearest,
/// Error(kUsage) naming the candidates.
[[nodiscard]] Run find_run(const std::filesystem::path& home, std::string_view text, RunChoice choice);

/// The run that lies at `uri`, which is copied to `home`/runs/<id>, unless its driver works there just now. Of one that
/// says that it runs, on another machine, this waits for a heartbeat for some seconds. Throws Error(kNotFound) if there
/// is none, kCorrupt, and what the store throws.
[[nodiscard]] Run fetch_run(const std::filesystem::path& home, const std::string& uri);

/// `run` as it is now, where another machine may have gone on with it: fetch_run(), if it lies at a URI. Without one if
/// it does not lie there any more.
[[nodiscard]] Run refresh_run(const std::filesystem::path& home, Run run);

/// config.json of a run as it stands. Throws Error(kCorrupt, kNotFound, kIo).
[[nodiscard]] nlohmann::json read_run_config(const Run& run);

/// The object that test.json, validation.json or functions.json holds, whatever its members; pure, bounded in depth.
/// Throws Error(kCorrupt), naming `file`.
[[nodiscard]] nlohmann::json parse_run_document(std::string_view text, const std::string& file);
/// test.json of a run: what evaluation_json() said of its test data, or null. Throws Error(kCorrupt, kIo).
[[nodiscard]] nlohmann::json read_run_test(const Run& run);
/// validation.json, likewise: of a run without test data.
[[nodiscard]] nlohmann::json read_run_validation(const Run& run);
/// functions.json, likewise.
[[nodiscard]] nlohmann::json read_run_functions(const Run& run);

/// The prices by which a run is reckoned: its own copy, or, of one whose record has none, builtin_price_table(). Throws
/// Error(kCorrupt, kIo).
[[nodiscard]] PriceTable read_run_prices(const Run& run);

/// The process that drives a run which says that it is running; nothing if it is over. Throws Error(kCorrupt, kIo).
[[nodiscard]] std::optional<ProcessIdentity> driver_of(const Run& run);

/// Deletes the run's folder, and what lies at its URI. Throws Error(kConflict) while it runs.
void remove_run(const Run& run);

/// What the three files of a record say; pure. kRunning is what the status says: whether the process still lives is
/// seen by list_runs and find_run. Throws Error(kCorrupt) for anything that a RunRecord does not write, but for an
/// unfinished last line of the history, which is left out.
[[nodiscard]] Run parse_run(std::string_view config, std::string_view status, std::string_view history);

}  // namespace virga
