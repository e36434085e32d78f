#include "virga/training/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::size_t kMostMatrixColumns = 10;
constexpr std::size_t kMostTableRows = 100;
constexpr std::size_t kMostConfusionLines = 10;
constexpr std::size_t kNameWidth = 20;

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }
json number(const std::optional<double>& value) { return value ? number(*value) : json(nullptr); }

/// `text` with what is not UTF-8 replaced.
std::string utf8(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

void add_classification(json& out, const ClassificationReport& report, const std::vector<std::string>& names) {
  out["accuracy"] = number(report.accuracy);
  out["macro_f1"] = number(report.macro_f1);
  auto& classes = out["classes"] = json::array();
  for (std::size_t c = 0; c < report.classes.size(); ++c) {
    const auto& metrics = report.classes[c];
    classes.push_back({{"class", utf8(names[c])},
                       {"support", metrics.support},
                       {"predicted", metrics.predicted},
                       {"precision", metrics.precision},
                       {"recall", metrics.recall},
                       {"f1", metrics.f1}});
  }
  if (!report.matrix.empty()) {
    auto& matrix = out["confusion_matrix"] = json::array();
    for (std::size_t c = 0; c < names.size(); ++c) {
      const auto row = report.matrix.begin() + static_cast<std::ptrdiff_t>(c * names.size());
      matrix.push_back(std::vector<double>(row, row + static_cast<std::ptrdiff_t>(names.size())));
    }
  }
  auto& confusions = out["largest_confusions"] = json::array();
  for (const auto& confusion : report.confusions) {
    confusions.push_back({{"class", utf8(names[confusion.truth])},
                          {"predicted", utf8(names[confusion.predicted])},
                          {"weight", confusion.weight}});
  }
}

/// A name as one cell of a table: printable, of at most kNameWidth characters.
std::string cell(const std::string& name) {
  std::string text;
  for (const char c : name) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  if (text.size() <= kNameWidth) return text;
  std::size_t end = kNameWidth - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a UTF-8 sequence
  return text.substr(0, end) + "...";
}

/// 1234.5 -> "1,234.5", as many digits after the point as are needed, at most two.
std::string weight_text(double weight) {
  if (weight == std::floor(weight) && weight < 1e15) return format_count(static_cast<std::uint64_t>(weight));
  return fmt::format("{:.2f}", weight);
}

void add_line(std::string& out, std::string_view name, const std::string& value) {
  out += fmt::format("{:<18} {}\n", name, value);
}

std::string with_error(double value, double error) {
  return error == 0 ? fmt::format("{:.4f}", value) : fmt::format("{:.4f} (+- {:.1g}, binned)", value, error);
}

void add_classes(std::string& out, const ClassificationReport& report, const std::vector<std::string>& names) {
  out += fmt::format("\n{:<20} {:>12} {:>10} {:>10} {:>10}\n", "class", "support", "precision", "recall", "F1");
  for (std::size_t c = 0; c < std::min(report.classes.size(), kMostTableRows); ++c) {
    const auto& metrics = report.classes[c];
    out += fmt::format("{:<20} {:>12} {:>10.4f} {:>10.4f} {:>10.4f}\n", cell(names[c]), weight_text(metrics.support),
                       metrics.precision, metrics.recall, metrics.f1);
  }
  if (report.classes.size() > kMostTableRows) {
    out += fmt::format("... and {} more classes\n", report.classes.size() - kMostTableRows);
  }
}

void add_matrix(std::string& out, const ClassificationReport& report, const std::vector<std::string>& names) {
  out += "\nlabels (down) and what they were taken for (across)\n";
  out += fmt::format("{:<20}", "");
  for (const auto& name : names) out += fmt::format(" {:>10.10}", cell(name));
  out += '\n';
  for (std::size_t c = 0; c < names.size(); ++c) {
    out += fmt::format("{:<20}", cell(names[c]));
    for (std::size_t p = 0; p < names.size(); ++p) {
      out += fmt::format(" {:>10}", weight_text(report.matrix[c * names.size() + p]));
    }
    out += '\n';
  }
}

void add_confusions(std::string& out, const ClassificationReport& report, const std::vector<std::string>& names) {
  if (report.confusions.empty()) return;
  out += fmt::format("\n{:<20} {:<20} {:>12}   (the largest confusions)\n", "class", "taken for", "rows");
  for (std::size_t i = 0; i < std::min(report.confusions.size(), kMostConfusionLines); ++i) {
    const auto& confusion = report.confusions[i];
    out += fmt::format("{:<20} {:<20} {:>12}\n", cell(names[confusion.truth]), cell(names[confusion.predicted]),
                       weight_text(confusion.weight));
  }
}

void add_clusters(std::string& out, const std::vector<ClusterMetrics>& clusters, std::string_view loss) {
  out += fmt::format("\n{:<20} {:>12} {:>22}\n", "cluster", "weight", loss);
  for (std::size_t c = 0; c < std::min(clusters.size(), kMostTableRows); ++c) {
    out += fmt::format("{:<20} {:>12} {:>22.6g}\n", c, weight_text(clusters[c].weight), clusters[c].loss);
  }
  if (clusters.size() > kMostTableRows) {
    out += fmt::format("... and {} more clusters\n", clusters.size() - kMostTableRows);
  }
}

std::string_view title(LossKind loss) noexcept {
  switch (loss) {
    case LossKind::kLogistic:
    case LossKind::kSoftmax:
      return "log-loss";
    case LossKind::kHinge:
      return "hinge loss";
    case LossKind::kSquaredHinge:
      return "squared hinge loss";
    case LossKind::kSquaredError:
      return "squared error";
    case LossKind::kSquaredDistance:
      return "mean squared distance";
    case LossKind::kNegativeLogLikelihood:
      return "neg. log-likelihood";
  }
  return "loss";
}

/// Of what the base loss of clusters is.
std::string_view cluster_base(LossKind loss) noexcept {
  return loss == LossKind::kSquaredDistance ? "the mean row" : "one Gaussian";
}

}  // namespace

json evaluation_json(const Evaluation& evaluation, const std::vector<std::string>& class_names) {
  json out = {{"rows", evaluation.rows},
              {"weight", evaluation.weight},
              {"loss_name", to_string(evaluation.loss_kind)},
              {"loss", number(evaluation.loss)},
              {"base_loss", number(evaluation.base_loss)}};
  if (const auto& ranking = evaluation.ranking) {
    out["auc"] = number(ranking->auc);
    out["auc_error"] = ranking->auc_error;
    out["average_precision"] = number(ranking->average_precision);
    out["average_precision_error"] = ranking->average_precision_error;
  }
  for (const auto& bin : evaluation.calibration) {
    const bool empty = bin.weight == 0;
    out["calibration"].push_back({{"weight", bin.weight},
                                  {"predicted", empty ? json(nullptr) : json(bin.predicted)},
                                  {"observed", empty ? json(nullptr) : json(bin.observed)}});
  }
  if (evaluation.classification) add_classification(out, *evaluation.classification, class_names);
  if (const auto& regression = evaluation.regression) {
    out["rmse"] = number(regression->rmse);
    out["mae"] = number(regression->mae);
    out["base_rmse"] = number(regression->base_rmse);
    out["r2"] = number(regression->r2);
  }
  for (const auto& cluster : evaluation.clusters) {
    out["clusters"].push_back({{"weight", cluster.weight}, {"loss", number(cluster.loss)}});
  }
  return out;
}

std::string evaluation_line(const Evaluation& evaluation) {
  if (const auto& regression = evaluation.regression) {
    return fmt::format("RMSE {:.6g} (the mean label alone {:.6g})", regression->rmse, regression->base_rmse);
  }
  if (!evaluation.clusters.empty()) {
    return fmt::format("{} {:.6g} (of {} {:.6g}), {} clusters", title(evaluation.loss_kind), evaluation.loss,
                       cluster_base(evaluation.loss_kind), evaluation.base_loss, evaluation.clusters.size());
  }
  auto line = fmt::format("{} {:.4f} (base rate {:.4f}), accuracy {:.4f}", title(evaluation.loss_kind), evaluation.loss,
                          evaluation.base_loss, evaluation.classification->accuracy);
  if (evaluation.ranking && evaluation.ranking->auc) line += fmt::format(", AUC {:.4f}", *evaluation.ranking->auc);
  return line;
}

std::string evaluation_table(const Evaluation& evaluation, const std::vector<std::string>& class_names) {
  std::string out;
  add_line(out, "rows", format_count(evaluation.rows));
  if (evaluation.weight != static_cast<double>(evaluation.rows))
    add_line(out, "weight", weight_text(evaluation.weight));
  if (const auto& regression = evaluation.regression) {
    add_line(out, "RMSE",
             fmt::format("{:.6g}   (the mean label alone: {:.6g})", regression->rmse, regression->base_rmse));
    add_line(out, "MAE", fmt::format("{:.6g}", regression->mae));
    add_line(out, "R2", regression->r2 ? fmt::format("{:.4f}", *regression->r2) : "- (all labels are equal)");
    return out;
  }
  if (!evaluation.clusters.empty()) {
    out += fmt::format("{}  {:.6g}   (of {}: {:.6g})\n", title(evaluation.loss_kind), evaluation.loss,
                       cluster_base(evaluation.loss_kind), evaluation.base_loss);
    add_clusters(out, evaluation.clusters, title(evaluation.loss_kind));
    return out;
  }
  add_line(out, title(evaluation.loss_kind),
           fmt::format("{:.4f}   (base rate: {:.4f})", evaluation.loss, evaluation.base_loss));
  const auto& report = *evaluation.classification;
  add_line(out, "accuracy", fmt::format("{:.4f}", report.accuracy));
  if (const auto& ranking = evaluation.ranking) {
    add_line(out, "AUC", ranking->auc ? with_error(*ranking->auc, ranking->auc_error) : "- (one class only)");
    add_line(out, "average precision",
             ranking->average_precision ? with_error(*ranking->average_precision, ranking->average_precision_error)
                                        : "- (no positives)");
  }
  add_line(out, "macro-F1", fmt::format("{:.4f}", report.macro_f1));
  add_classes(out, report, class_names);
  if (class_names.size() <= kMostMatrixColumns) {
    add_matrix(out, report, class_names);
  } else {
    add_confusions(out, report, class_names);
  }
  return out;
}

}  // namespace virga
