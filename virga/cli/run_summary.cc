#include "virga/cli/run_summary.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace virga {
namespace {

using nlohmann::json;

json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

}  // namespace

std::string loss_text(const std::optional<double>& loss) { return loss ? fmt::format("{:.5f}", *loss) : "-"; }

std::optional<double> best_loss(const Run& run) {
  if (!run.best) return std::nullopt;
  return deciding_loss(run.history[*run.best]);
}

json run_summary(const Run& run) {
  const auto best = best_loss(run);
  return {{"id", run.id},
          {"name", or_null(run.name)},
          {"tags", run.tags},
          {"state", to_string(run.state)},
          {"reason", or_null(run.reason)},
          {"exit_code", run.exit_code ? json(*run.exit_code) : json(nullptr)},
          {"data", or_null(run.data)},
          {"model", or_null(run.model)},
          {"started_at", or_null(run.started_at)},
          {"epochs", run.history.empty() ? 0 : run.history.back().epoch},
          {"best_loss", best ? json(*best) : json(nullptr)},
          {"uri", or_null(run.uri)},
          {"folder", run.folder.string()}};
}

std::string engine_of(const Run& run) {
  const auto config = read_run_config(run);
  const json::json_pointer path("/settings/functions/engine/value");
  return config.contains(path) && config[path].is_string() ? config[path].get<std::string>() : std::string();
}

}  // namespace virga
