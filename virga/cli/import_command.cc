#include <algorithm>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/version.h"
#include "virga/cli/commands.h"
#include "virga/cli/import_display.h"
#include "virga/cli/signals.h"

namespace virga {
namespace {

using nlohmann::json;

/// The words of the flags, before they are understood.
struct Import {
  ImportOptions options;
  std::string format = "auto";
  std::string task = "auto";
  std::string scale = "auto";
  std::string missing = "indicator";
  std::string header = "auto";
  std::string delimiter = "auto";
  double validation_fraction = -1;
  int index_base = -1;
};

template <typename Value, std::size_t N>
std::optional<Value> choose(const std::string& word, const std::pair<const char*, Value> (&words)[N]) {
  for (const auto& [name, value] : words) {
    if (word == name) return value;
  }
  return std::nullopt;  // "auto": CLI11 has refused any other word
}

ImportOptions understand(Import import) {
  auto options = std::move(import.options);
  options.format = choose<SourceFormat>(
      import.format, {{"libsvm", SourceFormat::kLibsvm}, {"csv", SourceFormat::kCsv}, {"idx", SourceFormat::kIdx}});
  options.task = choose<Task>(
      import.task, {{"binary", Task::kBinary}, {"multiclass", Task::kMulticlass}, {"regression", Task::kRegression}});
  options.scale = choose<ScaleKind>(
      import.scale,
      {{"none", ScaleKind::kNone}, {"maxabs", ScaleKind::kMaxAbs}, {"standard", ScaleKind::kStandardise}});
  options.csv.missing = choose<MissingPolicy>(import.missing, {{"indicator", MissingPolicy::kIndicator},
                                                               {"mean", MissingPolicy::kMean},
                                                               {"zero", MissingPolicy::kZero},
                                                               {"error", MissingPolicy::kError}})
                            .value_or(MissingPolicy::kIndicator);
  options.csv.header = choose<bool>(import.header, {{"yes", true}, {"no", false}});
  options.csv.delimiter = choose<char>(import.delimiter, {{"comma", ','}, {"semicolon", ';'}, {"tab", '\t'}});
  if (import.validation_fraction >= 0) options.validation_fraction = import.validation_fraction;
  if (import.index_base >= 0) options.index_base = static_cast<std::uint32_t>(import.index_base);
  options.created_by = created_by();
  return options;
}

json split_json(const Split& split) {
  return {{"rows", split.rows}, {"nonzeros", split.nonzeros}, {"blocks", split.blocks.size()}};
}

json report_json(const ImportReport& report, const std::string& uri) {
  const auto& manifest = report.manifest;
  auto hashed = json::array();
  for (const auto& column : report.hashed_columns) {
    hashed.push_back({{"name", column.name},
                      {"levels", column.levels},
                      {"buckets", column.buckets},
                      {"collision_rate", column.collision_rate}});
  }
  return {{"set", uri},
          {"checksum", fmt::format("{:08x}", manifest_checksum(manifest))},
          {"task", to_string(manifest.encoding.task)},
          {"features", manifest.encoding.features},
          {"dense", manifest.encoding.dense},
          {"scale", to_string(manifest.encoding.scale)},
          {"classes", manifest.encoding.classes},
          {"train", split_json(manifest.train)},
          {"validation", split_json(manifest.validation)},
          {"test", split_json(manifest.test)},
          {"skipped_rows", manifest.skipped_rows},
          {"first_bad_lines", report.first_bad_lines},
          {"label_column", report.label_column.empty() ? json(nullptr) : json(report.label_column)},
          {"constant_columns", report.constant_columns},
          {"hashed_columns", std::move(hashed)},
          {"unseen_values", report.unseen}};
}

int import(const Import& import, Session& session) {
  const StopOnSignal signals;
  auto options = understand(import);
  options.stop = signals.token();
  const auto progress = session.make_progress();
  options.on_progress = [&](const ImportProgress& at) { show_import(at, *progress); };
  const auto report = import_set(options);
  if (session.json()) {
    session.print_json(report_json(report, options.to));
    return 0;
  }
  for (const auto& line : import_summary(report)) session.note(line);
  session.note(fmt::format("next: virga train {}", options.to));
  return 0;
}

void declare(CLI::App& app, Import& import) {
  auto& options = import.options;
  app.add_option("SOURCE", options.train, "Files (several are read one after the other), or a folder of IDX files")
      ->required();
  app.add_option("--to", options.to, "Where the set goes: a folder, or file:// and a path")
      ->required()
      ->type_name("URI");
  app.add_option("--validation", options.validation, "Files of validation rows, instead of a part of SOURCE")
      ->type_name("FILE");
  app.add_option("--test", options.test, "Files of test rows")->type_name("FILE");
  app.add_option("--validation-fraction", import.validation_fraction,
                 "Part of the rows held out for validation (default 0.1)")
      ->type_name("F")
      ->check(CLI::Range(0.0, 0.99));
  app.add_option("--seed", options.seed, "Of the split and the shuffle (default 1)")->type_name("N");
  app.add_option("--format", import.format, "libsvm, csv or idx (default: by the content)")
      ->type_name("F")
      ->check(CLI::IsMember({"auto", "libsvm", "csv", "idx"}));
  app.add_option("--task", import.task, "binary, multiclass or regression (default: by the labels)")
      ->type_name("T")
      ->check(CLI::IsMember({"auto", "binary", "multiclass", "regression"}));
  app.add_option("--scale", import.scale,
                 "none, maxabs or standard (default: maxabs for LIBSVM, standard for CSV, 1/255 for images)")
      ->type_name("HOW")
      ->check(CLI::IsMember({"auto", "none", "maxabs", "standard"}));
  app.add_option("--skip-bad", options.skip_bad, "Tolerate so many bad lines (default 0)")->type_name("N");
  app.add_flag("--overwrite", options.overwrite, "Replace a set that is there already");
  app.add_option("--index-base", import.index_base, "LIBSVM: lowest index, 0 or 1 (default: 0 if an index 0 occurs)")
      ->type_name("N")
      ->check(CLI::Range(0, 1));
  const std::string csv = "CSV";
  app.add_option("--label", options.csv.label,
                 "Label column, by name or number (default: label, target, class or y, else the last)")
      ->type_name("COLUMN")
      ->group(csv);
  app.add_option("--weight", options.csv.weight, "Column of sample weights")->type_name("COLUMN")->group(csv);
  app.add_option("--numeric", options.csv.numeric, "Columns to read as numbers")
      ->type_name("COLUMNS")
      ->delimiter(',')
      ->group(csv);
  app.add_option("--categorical", options.csv.categorical, "Columns to read as categories")
      ->type_name("COLUMNS")
      ->delimiter(',')
      ->group(csv);
  app.add_option("--ignore", options.csv.ignored, "Columns to leave out")
      ->type_name("COLUMNS")
      ->delimiter(',')
      ->group(csv);
  app.add_option("--missing", import.missing,
                 "What stands for a missing value: indicator, mean, zero or error (default indicator)")
      ->type_name("HOW")
      ->check(CLI::IsMember({"indicator", "mean", "zero", "error"}))
      ->group(csv);
  app.add_option("--header", import.header, "Is the first line a header: yes or no (default: by its look)")
      ->type_name("YES|NO")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->group(csv);
  app.add_option("--delimiter", import.delimiter, "comma, semicolon or tab (default: by the first lines)")
      ->type_name("D")
      ->check(CLI::IsMember({"auto", "comma", "semicolon", "tab"}))
      ->group(csv);
}

}  // namespace

void add_import_command(Program& program) {
  auto state = std::make_shared<Import>();
  auto& app = program.add(
      "Data",
      {.name = "import",
       .arguments = "SOURCE...",
       .summary = "Turns raw files into a set that training reads fast",
       .details =
           "Reads LIBSVM, CSV/TSV and IDX images, plain, .gz or .zst, on all cores and in bounded memory; splits and "
           "shuffles by the seed; learns columns, levels and scaling from the training rows. The set is whole or "
           "not there. A bad line ends the import, unless --skip-bad tolerates it.",
       .examples = {{"virga import a9a.gz --to adult", "one LIBSVM file, a tenth of its rows for validation"},
                    {"virga import clicks.csv --label clicked --categorical site,device --to clicks", "a CSV file"},
                    {"virga import /usr/share/datasets/fashion-mnist --to fashion",
                     "IDX images with their test split"}}},
      [state](Session& session) { return import(*state, session); });
  declare(app, *state);
}

}  // namespace virga
