#include <charconv>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/import_display.h"
#include "virga/cli/inspect.h"
#include "virga/cli/job_flags.h"
#include "virga/cli/signals.h"

namespace virga {
namespace {

using nlohmann::json;

struct Import {
  std::vector<std::string> sources;
  std::vector<std::string> validation;
  std::vector<std::string> test;
  std::string to;
  std::string format = "auto";
  std::string task = "auto";
  std::string delimiter;
  std::string index_base;
  std::string memory;
  std::optional<std::string> header;  // "true", "false"; CLI11 2.1 would set a bool that was not given
  std::uint64_t skip_bad = 0;
  bool overwrite = false;
  JobFlags flags;
};

/// The one of `all` that `word` names; nothing for "auto". Throws Error(kUsage), naming `flag`.
template <typename Enum>
std::optional<Enum> parse_word(std::string_view flag, const std::string& word, std::initializer_list<Enum> all) {
  if (word == "auto") return std::nullopt;
  std::vector<std::string> known{"auto"};
  for (const auto one : all) {
    if (to_string(one) == word) return one;
    known.emplace_back(to_string(one));
  }
  const auto near = nearest_word(word, known);
  throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is not one of {}", flag, word, fmt::join(known, ", ")),
              near.empty() ? "" : fmt::format("did you mean {}?", near));
}

char parse_delimiter(const std::string& text) {
  if (text == "comma") return ',';
  if (text == "semicolon") return ';';
  if (text == "tab") return '\t';
  if (text.size() == 1) return text[0];
  throw Error(ErrorKind::kUsage, fmt::format("--delimiter: '{}' is not one character", text),
              "give one, or comma, semicolon or tab");
}

std::optional<std::uint32_t> parse_index_base(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "0" || text == "1") return text == "1" ? 1U : 0U;
  throw Error(ErrorKind::kUsage, fmt::format("--index-base: '{}' is neither 0 nor 1", text));
}

ImportOptions options_of(const Import& import, const Session& session) {
  const auto settings = load_settings(session, "", import.flags.settings());
  std::vector<std::string> warnings;
  const auto job = make_job(settings, warnings);
  auto options = import_options(job.data, job.seed);
  options.train = import.sources;
  options.validation = import.validation;
  options.test = import.test;
  const bool said = settings.get("data", "validation_fraction").source != Source::kDefault;
  if (!import.validation.empty() && !said) options.validation_fraction.reset();
  options.to = import.to;
  options.format =
      parse_word("--format", import.format, {SourceFormat::kLibsvm, SourceFormat::kCsv, SourceFormat::kIdx});
  options.task = parse_word("--task", import.task, {Task::kBinary, Task::kMulticlass, Task::kRegression});
  options.skip_bad = import.skip_bad;
  options.overwrite = import.overwrite;
  if (import.header) options.csv.header = *import.header == "true";
  options.index_base = parse_index_base(import.index_base);
  if (!import.delimiter.empty()) options.csv.delimiter = parse_delimiter(import.delimiter);
  if (!import.memory.empty()) options.memory_bytes = parse_bytes(import.memory, "--memory");
  return options;
}

json report_json(const ImportOptions& options, const ImportReport& report, double seconds) {
  auto document = set_json(report.manifest);
  std::uint64_t bytes = 0;
  for (const auto& source : report.manifest.sources) bytes += source.bytes;
  document["set"] = options.to;
  document["source_bytes"] = bytes;
  document["elapsed_seconds"] = seconds;
  document["first_bad_lines"] = report.first_bad_lines;
  document["label_column"] = report.label_column.empty() ? json(nullptr) : json(report.label_column);
  document["constant_columns"] = report.constant_columns;
  document["empty_columns"] = report.empty_columns;
  auto almost = json::array();
  for (const auto& column : report.almost_numeric_columns) almost.push_back(column.name);
  document["almost_numeric_columns"] = std::move(almost);
  document["unseen_values"] = report.unseen;
  document["spilled_bytes"] = report.spilled_bytes;
  auto hashed = json::array();
  for (const auto& column : report.hashed_columns) {
    hashed.push_back({{"name", column.name},
                      {"levels", column.levels},
                      {"buckets", column.buckets},
                      {"collision_rate", column.collision_rate}});
  }
  document["hashed_columns"] = std::move(hashed);
  return document;
}

int run_import(const Import& import, Session& session) {
  const StopOnSignal signals;
  auto options = options_of(import, session);
  const auto progress = session.make_progress();
  options.stop = signals.token();
  options.on_progress = [&](const ImportProgress& now) { show_import(now, *progress); };
  const auto start = std::chrono::steady_clock::now();
  const auto report = import_set(options);
  progress->finish();
  const auto elapsed = std::chrono::steady_clock::now() - start;
  const auto seconds = std::chrono::duration<double>(elapsed).count();
  auto document = report_json(options, report, seconds);
  if (session.json()) return session.print_json(std::move(document)), 0;
  for (const auto& line : import_summary(report)) session.note(line);
  const auto bytes = document["source_bytes"].get<std::uint64_t>();
  constexpr std::uint64_t kTold = 10'000'000;  // the rate of less is that of starting up
  const auto rate = fmt::format(" ({:.0f} MB/s)", static_cast<double>(bytes) / 1e6 / seconds);
  session.note(fmt::format("{} in {}{}: {}", format_bytes(bytes), format_duration(elapsed), bytes < kTold ? "" : rate,
                           options.to));
  return 0;
}

void declare_flags(CLI::App& app, Import& import) {
  app.add_option("SOURCE", import.sources, "Training files (read one after the other), or a folder of IDX files")
      ->required();
  const auto add = [&](const char* flag, auto& value, const char* type, const char* text) {
    return app.add_option(flag, value, text)->type_name(type)->group("Import");
  };
  add("--to", import.to, "URI", "Where the set goes: a folder, or file:// and a path")->required();
  for (const auto& [flag, files, text] :
       {std::tuple{"--validation", &import.validation, "Validation file, in place of a part of the training rows"},
        std::tuple{"--test", &import.test, "Test file"}}) {
    add(flag, *files, "FILE", text)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  add("--format", import.format, "NAME", "libsvm, csv or idx (default auto: by content)");
  add("--task", import.task, "NAME", "binary, multiclass or regression (default auto: by the labels)");
  add_count(app, "--skip-bad", import.skip_bad, "Bad lines that are tolerated (default 0)")->group("Import");
  app.add_flag("--overwrite", import.overwrite, "Replace a set that is there already")->group("Import");
  add("--index-base", import.index_base, "N", "LIBSVM: number of the first feature, 0 or 1 (default: by content)");
  add("--delimiter", import.delimiter, "CHARACTER",
      "CSV: one character, comma, semicolon or tab (default: by content)");
  app.add_flag("--header,!--no-header", import.header, "CSV: is the first line a header? (default: by content)")
      ->group("Import");
  add("--memory", import.memory, "BYTES", "Memory for rows before they go to a temporary file (default 256MiB)");
  import.flags.declare(app, {"data.validation_fraction", "data.label", "data.weight", "data.numeric",
                             "data.categorical", "data.ignore", "data.scale", "data.missing", "seed"});
}

}  // namespace

void add_import_command(Program& program) {
  auto state = std::make_shared<Import>();
  auto& app = program.add(
      "Data",
      {.name = "import",
       .arguments = "SOURCE... --to URI",
       .summary = "Turns raw files into a set that trains fast",
       .details =
           "Reads LIBSVM, CSV/TSV (also .gz and .zst) and IDX images; splits, shuffles, encodes and stores rows "
           "in blocks, with all that is needed to read further rows of the same kind. The same files, options and "
           "seed give the same set. What is cut off leaves nothing that looks whole. `virga train` imports raw "
           "files by itself; importing first is for large files and for more control.",
       .examples = {{"virga import clicks.csv --to clicks --label clicked",
                     "a tenth of the rows becomes the validation split"},
                    {"virga import train.gz --test test.gz --to news --seed 2", "LIBSVM files, with a test split"},
                    {"virga import /usr/share/datasets/fashion-mnist --to fashion", "IDX images with their test split"},
                    {"virga import log.tsv --to log --skip-bad 100 --json", "tolerates bad lines, and says how many"}}},
      [state](Session& session) { return run_import(*state, session); });
  declare_flags(app, *state);
}

}  // namespace virga
