#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/raw_rows.h"
#include "virga/driver/data_set.h"
#include "virga/training/evaluation_report.h"

namespace virga {
namespace {

struct Evaluate {
  std::string model;
  std::string data;
  std::string split = "auto";
  std::uint64_t skip_bad = 0;
};

std::string_view to_string(SplitName split) noexcept {
  switch (split) {
    case SplitName::kTrain:
      return "train";
    case SplitName::kValidation:
      return "validation";
    case SplitName::kTest:
      return "test";
  }
  return "";
}

/// The split that was asked for; auto: the one that training has seen the least of.
SplitName choose_split(const std::string& word, const Manifest& manifest, const std::string& uri) {
  if (word != "auto" && word != "train" && word != "validation" && word != "test") {
    throw Error(ErrorKind::kUsage, fmt::format("--split: '{}' is not one of auto, train, validation, test", word));
  }
  for (const auto split : {SplitName::kTest, SplitName::kValidation, SplitName::kTrain}) {
    if (word != "auto" && word != to_string(split)) continue;
    if (split_of(manifest, split).rows > 0) return split;
  }
  throw Error(ErrorKind::kBadData, fmt::format("{} has no {}rows", uri, word == "auto" ? "" : word + " "),
              "virga inspect shows the splits of a set");
}

/// `split`: "" for a raw file.
void print(const Evaluation& evaluation, const ModelFile& model, const Evaluate& flags, std::string_view split,
           Session& session) {
  const auto& classes = model.encoding.classes;
  if (!session.json()) {
    if (!split.empty()) session.note(fmt::format("{} rows of {}", split, flags.data));
    return session.print(evaluation_table(evaluation, classes));
  }
  auto document = evaluation_json(evaluation, classes);
  document["model"] = flags.model;
  document["data"] = flags.data;
  document["split"] = split.empty() ? nlohmann::json(nullptr) : nlohmann::json(split);
  session.print_json(std::move(document));
}

int evaluate_set(const ModelFile& model, const Evaluate& flags, Session& session) {
  const auto set = open_data_set(flags.data);
  const auto manifest = manifest_for(model, set.manifest, flags.data);
  const auto split = choose_split(flags.split, manifest, flags.data);
  GroupCache cache(*set.store, manifest, memory_limit() / 16);
  const auto evaluation = evaluate(model, cache, split, usable_cores());
  print(evaluation, model, flags, to_string(split), session);
  return 0;
}

int evaluate_rows(const ModelFile& model, const Evaluate& flags, Session& session) {
  if (flags.split != "auto") {
    throw Error(ErrorKind::kUsage, fmt::format("--split: {} is a raw file, which has no splits", flags.data));
  }
  RawReader reader({flags.data}, model.encoding,
                   {.label_required = has_labels(model.spec), .skip_bad = flags.skip_bad});
  const auto display = session.make_progress();
  const auto evaluation = evaluate(model, shown_groups(reader, *display, "evaluate"), usable_cores());
  display->finish();
  note_oddities(reader, session);
  print(evaluation, model, flags, "", session);
  return 0;
}

int run_evaluate(const Evaluate& flags, Session& session) {
  const auto model = read_model_file(flags.model);
  const bool is_set = flags.data != "-" && is_data_set(flags.data);
  return is_set ? evaluate_set(model, flags, session) : evaluate_rows(model, flags, session);
}

}  // namespace

void add_evaluate_command(Program& program) {
  auto state = std::make_shared<Evaluate>();
  auto& app = program.add(
      "Models",
      {.name = "evaluate",
       .arguments = "MODEL DATA",
       .summary = "Says how good a model is on data with labels",
       .details = "DATA is a raw file of the kind that the model was trained on (- for standard input), or an imported "
                  "set. Reports the loss beside that of the best constant prediction (base loss), accuracy, area under "
                  "the ROC curve, average precision, a table of the classes; for numbers RMSE and R2. docs/metrics.md "
                  "defines them.",
       .examples = {{"virga evaluate model.safetensors test.csv", "on a raw file"},
                    {"virga evaluate model.safetensors clicks --split validation --json",
                     "on a split of a set, for programs"}}},
      [state](Session& session) { return run_evaluate(*state, session); });
  app.add_option("MODEL", state->model, "Model file")->required();
  app.add_option("DATA", state->data, "Raw file, - or imported set")->required();
  app.add_option("--split", state->split,
                 "Of a set: train, validation or test; auto (default): test, else validation, else train")
      ->type_name("NAME");
  add_count(app, "--skip-bad", state->skip_bad, "Bad lines of a raw file that are tolerated (default 0)");
}

}  // namespace virga
