#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/training/metrics.h"

namespace virga {

/// An evaluation as JSON: {"rows", "weight", "loss_name", "loss", "base_loss", ...}, as docs/metrics.md lists it. Never
/// NaN or infinity: null. `class_names`: [classes], the text of each in the source; bytes that are not UTF-8 become
/// U+FFFD.
[[nodiscard]] nlohmann::json evaluation_json(const Evaluation& evaluation, const std::vector<std::string>& class_names);

/// The most telling figures in one line: "log-loss 0.3235 (base rate 0.5465), accuracy 0.8498, AUC 0.9024".
[[nodiscard]] std::string evaluation_line(const Evaluation& evaluation);

/// The same as evaluation_json for people: a few lines, then a table of the classes and the confusions. Ends with a
/// newline.
[[nodiscard]] std::string evaluation_table(const Evaluation& evaluation, const std::vector<std::string>& class_names);

}  // namespace virga
