#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/signals.h"
#include "virga/driver/data_set.h"
#include "virga/training/evaluate.h"
#include "virga/training/evaluation_report.h"

namespace virga {
namespace {

struct Evaluate {
  std::string model;
  std::string data;
  std::string split = "auto";
  std::uint64_t skip_bad = 0;
};

/// The split to judge by: the one named, else test, else validation, else the training rows.
SplitName choose_split(const std::string& word, const Manifest& manifest, const std::string& uri) {
  const std::pair<const char*, SplitName> splits[] = {
      {"test", SplitName::kTest}, {"validation", SplitName::kValidation}, {"train", SplitName::kTrain}};
  for (const auto& [name, split] : splits) {
    if (word != "auto" && word != name) continue;
    if (split_of(manifest, split).rows > 0) return split;
    if (word == name) {
      throw Error(ErrorKind::kBadData, fmt::format("{} has no {} rows", uri, name),
                  "choose another --split: train, validation or test");
    }
  }
  throw Error(ErrorKind::kBadData, fmt::format("{} has no rows", uri));
}

Evaluation evaluate_set(const Evaluate& evaluate, const ModelFile& model, std::string& judged_by) {
  auto set = open_data_set(evaluate.data);
  const auto split = choose_split(evaluate.split, set.manifest, evaluate.data);
  judged_by = split == SplitName::kTest ? "test" : split == SplitName::kValidation ? "validation" : "train";
  const auto manifest = manifest_for(model, std::move(set.manifest), evaluate.data);
  GroupCache cache(*set.store, manifest, memory_limit() / 16);
  return virga::evaluate(model, cache, split, usable_cores());
}

int evaluate(const Evaluate& evaluate, Session& session) {
  const StopOnSignal signals;
  const auto model = read_model_file(evaluate.model);
  std::string judged_by;
  Evaluation result;
  if (is_data_set(evaluate.data)) {
    result = evaluate_set(evaluate, model, judged_by);
  } else {
    RawReader reader({evaluate.data}, model.encoding,
                     {.label_required = true, .skip_bad = evaluate.skip_bad, .stop = signals.token()});
    result = virga::evaluate(model, groups_of(reader), usable_cores());
    if (reader.bad_lines().count() > 0)
      session.warn(fmt::format("{} bad lines were skipped", reader.bad_lines().count()));
    if (reader.unseen() > 0)
      session.warn(fmt::format("{} values that the model has not seen in training", format_count(reader.unseen())));
  }
  if (session.json()) {
    auto document = evaluation_json(result, model.encoding.classes);
    document["model"] = evaluate.model;
    document["data"] = evaluate.data;
    document["split"] = judged_by.empty() ? nlohmann::json(nullptr) : nlohmann::json(judged_by);
    session.print_json(std::move(document));
  } else {
    if (!judged_by.empty()) session.note(fmt::format("{} rows of {}", judged_by, evaluate.data));
    session.print(evaluation_table(result, model.encoding.classes));
  }
  return 0;
}

}  // namespace

void add_evaluate_command(Program& program) {
  auto state = std::make_shared<Evaluate>();
  auto& app = program.add(
      "Models",
      {.name = "evaluate",
       .arguments = "MODEL DATA",
       .summary = "Says what a model is worth on rows with labels",
       .details =
           "DATA is a raw file of the kind that the model was trained on, or an imported set (its test rows, else "
           "its validation rows). Losses stand beside the base rate, which is what a constant prediction reaches.",
       .examples = {{"virga evaluate model.safetensors a9a.t.gz", "log-loss, accuracy, areas under the curves"},
                    {"virga evaluate model.safetensors adult --split validation --json", "for programs"}}},
      [state](Session& session) { return evaluate(*state, session); });
  app.add_option("MODEL", state->model, "Model file")->required();
  app.add_option("DATA", state->data, "Raw file or imported set")->required();
  app.add_option("--split", state->split, "Of a set: train, validation or test")
      ->type_name("SPLIT")
      ->check(CLI::IsMember({"auto", "train", "validation", "test"}));
  app.add_option("--skip-bad", state->skip_bad, "Of a raw file: tolerate so many bad lines (default 0)")
      ->type_name("N");
}

}  // namespace virga
