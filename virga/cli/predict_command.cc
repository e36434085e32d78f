#include <array>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/output.h"
#include "virga/cli/raw_rows.h"
#include "virga/cli/signals.h"
#include "virga/driver/data_set.h"
#include "virga/training/output_file.h"
#include "virga/training/predict.h"

namespace virga {
namespace {

struct Predict {
  std::string model;
  std::string data;
  std::string out;
  std::string output = "label";
  std::uint64_t skip_bad = 0;
};

void check_flags(const Predict& flags, const Session& session) {
  if (session.json() && flags.out.empty()) {
    throw Error(ErrorKind::kUsage, "--json: standard output already takes the predictions",
                "write them to a file: --out FILE");
  }
  if (flags.data != "-" && is_data_set(flags.data)) {
    throw Error(ErrorKind::kUsage, fmt::format("{} is an imported set, whose rows are shuffled", flags.data),
                "predict from the raw file, which keeps their order");
  }
  if (!flags.out.empty()) check_replaces_no_input(flags.out, std::array{flags.model, flags.data});
}

int run_predict(const Predict& flags, Session& session) {
  const StopOnSignal signals;
  check_flags(flags, session);
  const auto kind = parse_prediction_kind(flags.output);
  const auto model = read_model_file(flags.model);
  RawReader reader({flags.data}, model.encoding, {.skip_bad = flags.skip_bad, .stop = signals.token()});
  std::optional<OutputFile> file;
  if (!flags.out.empty()) file.emplace(flags.out);
  const auto display = session.make_progress();
  const auto write = [&](std::string_view text) { file ? file->write(text) : write_stdout(text); };
  const auto rows = predict(model, shown_groups(reader, *display, "predict"), kind, usable_cores(), write);
  if (file) file->commit();
  display->finish();
  note_oddities(reader, session);
  if (file && !session.json()) session.note(fmt::format("{} predictions in {}", format_count(rows), flags.out));
  if (session.json()) {
    session.print_json({{"rows", rows},
                        {"out", flags.out},
                        {"unseen_values", reader.unseen()},
                        {"skipped_rows", reader.bad_lines().count()}});
  }
  return 0;
}

}  // namespace

void add_predict_command(Program& program) {
  auto state = std::make_shared<Predict>();
  auto& app = program.add(
      "Models",
      {.name = "predict",
       .arguments = "MODEL DATA|-",
       .summary = "Predicts for raw rows",
       .details =
           "One line for each row, in their order. DATA is a raw file of the kind that the model was trained on, "
           "or - for standard input; labels in it are not looked at and need not be there. The model brings "
           "scaling, columns and levels along.",
       .examples = {{"virga predict model.safetensors new.csv --out predictions.txt", "a file, whole or not at all"},
                    {"zcat new.gz | virga predict model.safetensors - --output probability", "in a pipe"}}},
      [state](Session& session) { return run_predict(*state, session); });
  app.add_option("MODEL", state->model, "Model file")->required();
  app.add_option("DATA", state->data, "Raw file or -")->required();
  app.add_option("--output", state->output, "label (default), probability or raw score")->type_name("KIND");
  app.add_option("--out", state->out, "File for the predictions (default: standard output)")->type_name("FILE");
  add_count(app, "--skip-bad", state->skip_bad, "Bad lines that are tolerated; they have no prediction (default 0)");
}

}  // namespace virga
