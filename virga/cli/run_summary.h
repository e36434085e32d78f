#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "virga/driver/run_record.h"

namespace virga {

/// What lists of runs say of one: id, name, state, data, best loss, ...
[[nodiscard]] nlohmann::json run_summary(const Run& run);
[[nodiscard]] std::optional<double> best_loss(const Run& run);
/// "0.32415", "-".
[[nodiscard]] std::string loss_text(const std::optional<double>& loss);

/// functions.engine of the run's job; empty if its record does not say. Throws as read_run_config().
[[nodiscard]] std::string engine_of(const Run& run);

}  // namespace virga
