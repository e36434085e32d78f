#include <chrono>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/base/version.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/import_display.h"
#include "virga/cli/signals.h"
#include "virga/data/generate.h"

namespace virga {
namespace {

using nlohmann::json;

struct Generate {
  std::string kind;
  std::string to;
  std::uint64_t rows = 1'000'000;
  std::uint64_t seed = 1;
  double validation_fraction = 0.1;
  bool overwrite = false;
};

int run_generate(const Generate& generate, Session& session) {
  const StopOnSignal signals;
  const auto progress = session.make_progress();
  GenerateOptions options{.kind = parse_synthetic_kind(generate.kind),
                          .rows = generate.rows,
                          .seed = generate.seed,
                          .to = generate.to,
                          .overwrite = generate.overwrite,
                          .stop = signals.token()};
  options.on_rows = [&](std::uint64_t rows, std::uint64_t total) {
    progress->report(
        {.phase = "generate", .done = static_cast<double>(rows), .total = static_cast<double>(total), .unit = "rows"});
  };
  options.import.validation_fraction = generate.validation_fraction;
  options.import.seed = generate.seed;
  options.import.created_by = created_by();
  options.import.on_progress = [&](const ImportProgress& now) { show_import(now, *progress); };
  const auto start = std::chrono::steady_clock::now();
  const auto report = virga::generate(options);
  progress->finish();
  const auto elapsed = std::chrono::steady_clock::now() - start;
  if (session.json()) {
    session.print_json({{"to", generate.to},
                        {"kind", to_string(options.kind)},
                        {"rows", report.rows},
                        {"positive_rows", report.positive},
                        {"text_bytes", report.bytes},
                        {"planted_log_loss", report.planted_log_loss},
                        {"elapsed_seconds", std::chrono::duration<double>(elapsed).count()}});
    return 0;
  }
  session.note(fmt::format("{} rows, {:.1f} % of them positive, {} of text in {}: {}", format_count(report.rows),
                           100 * static_cast<double>(report.positive) / static_cast<double>(report.rows),
                           format_bytes(report.bytes), format_duration(elapsed), generate.to));
  session.note(fmt::format("the planted model's own log-loss is {:.4f}", report.planted_log_loss));
  return 0;
}

}  // namespace

void add_generate_command(Program& program) {
  auto state = std::make_shared<Generate>();
  auto& app = program.add(
      "Data",
      {.name = "generate",
       .arguments = "ctr|criteo|dense --to FILE|URI",
       .summary = "Makes synthetic rows with a planted model",
       .details =
           "ctr: click logs, 39 binary features a row out of 2^20. criteo: 13 numbers and 26 categorical columns. "
           "dense: 28 numbers. The labels are drawn by a logistic model whose log-loss is printed: no model is "
           "expected to do better. The same kind, rows and seed give the same file. A name that ends in .libsvm, "
           ".svm, .txt, .csv or .tsv is a text file, any other an imported set.",
       .examples = {{"virga generate ctr --to clicks", "a million rows as an imported set"},
                    {"virga generate criteo --to ads.csv --rows 10000", "a CSV file"}}},
      [state](Session& session) { return run_generate(*state, session); });
  app.add_option("KIND", state->kind, "ctr, criteo or dense")->required();
  app.add_option("--to", state->to, "Text file, or folder of the set")->required()->type_name("FILE|URI");
  add_count(app, "--rows", state->rows, "How many (default 1000000)");
  add_count(app, "--seed", state->seed, "Of labels, values and order (default 1)");
  app.add_option("--validation-fraction", state->validation_fraction,
                 "Of a set: part held out for validation (default 0.1)")
      ->type_name("FRACTION");
  app.add_flag("--overwrite", state->overwrite, "Replace what is there already");
}

}  // namespace virga
