#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/output.h"
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

int predict(const Predict& predict, Session& session) {
  const StopOnSignal signals;
  if (session.json()) throw Error(ErrorKind::kUnsupported, "predictions are text, one line a row", "leave --json out");
  const auto kind = parse_prediction_kind(predict.output);
  const auto model = read_model_file(predict.model);
  if (predict.data != "-" && is_data_set(predict.data)) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{} is an imported set, whose rows are shuffled", predict.data),
                "predict from the raw file");
  }
  RawReader reader({predict.data}, model.encoding, {.skip_bad = predict.skip_bad, .stop = signals.token()});
  std::optional<OutputFile> file;
  if (!predict.out.empty()) file.emplace(predict.out);
  const auto write = [&](std::string_view text) { file ? file->write(text) : write_stdout(text); };
  const auto rows = virga::predict(model, groups_of(reader), kind, usable_cores(), write);
  if (file) file->commit();
  if (reader.bad_lines().count() > 0)
    session.warn(fmt::format("{} bad lines were skipped", reader.bad_lines().count()));
  if (reader.unseen() > 0)
    session.warn(fmt::format("{} values that the model has not seen in training", format_count(reader.unseen())));
  if (file) session.note(fmt::format("{} predictions in {}", format_count(rows), predict.out));
  return 0;
}

}  // namespace

void add_predict_command(Program& program) {
  auto state = std::make_shared<Predict>();
  auto& app = program.add(
      "Models",
      {.name = "predict",
       .arguments = "MODEL DATA|-",
       .summary = "Predicts from raw rows, with or without labels",
       .details =
           "DATA is a file of the kind that the model was trained on, or - for standard input. One line a row, in "
           "the order of the rows.",
       .examples = {{"virga predict model.safetensors new.libsvm", "the predicted class of each row"},
                    {"zcat new.gz | virga predict model.safetensors - --output probability --out p.csv",
                     "probabilities, into a file"}}},
      [state](Session& session) { return predict(*state, session); });
  app.add_option("MODEL", state->model, "Model file")->required();
  app.add_option("DATA", state->data, "Raw file, or - for standard input")->required();
  app.add_option("--out", state->out, "File to write, whole or not at all (default: standard output)")
      ->type_name("FILE");
  app.add_option("--output", state->output, "label, probability or raw (default label)")->type_name("WHAT");
  app.add_option("--skip-bad", state->skip_bad, "Tolerate so many bad lines (default 0)")->type_name("N");
}

}  // namespace virga
