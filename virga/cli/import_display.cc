#include "virga/cli/import_display.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/units.h"
#include "virga/data/parsed_rows.h"

namespace virga {
namespace {

constexpr std::size_t kMostNames = 10;  // of columns, in one line

std::string names(const std::vector<std::string>& all) {
  const auto shown = std::min(all.size(), kMostNames);
  const auto list = fmt::format("{}", fmt::join(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  return shown < all.size() ? fmt::format("{} and {} more", list, all.size() - shown) : list;
}

std::string what(const Encoding& encoding) {
  switch (encoding.task) {
    case Task::kBinary:
      return fmt::format("two classes ({}, {})", encoding.classes[0], encoding.classes[1]);
    case Task::kMulticlass:
      return fmt::format("{} classes", encoding.classes.size());
    case Task::kRegression:
      return "numbers as labels";
  }
  return "";
}

}  // namespace

void show_import(const ImportProgress& progress, ProgressDisplay& display) {
  const bool writes = progress.phase == ImportProgress::Phase::kWrite;
  display.report({.phase = fmt::format("import: {}", to_string(progress.phase)),
                  .done = static_cast<double>(writes ? progress.rows : progress.bytes_done),
                  .total = static_cast<double>(writes ? progress.rows_total : progress.bytes_total),
                  .unit = writes ? "rows" : "bytes",
                  .detail = writes ? std::string() : fmt::format("{} rows", format_count(progress.rows))});
}

std::vector<std::string> import_summary(const ImportReport& report) {
  const auto& manifest = report.manifest;
  std::vector<std::string> lines;
  lines.push_back(fmt::format("imported {} training, {} validation and {} test rows, {} features ({}), {}",
                              format_count(manifest.train.rows), format_count(manifest.validation.rows),
                              format_count(manifest.test.rows), format_count(manifest.encoding.features),
                              manifest.encoding.dense ? "dense" : "sparse", what(manifest.encoding)));
  if (!report.label_column.empty()) {
    lines.push_back(fmt::format("label column: {} ({})", report.label_column, report.label_reason));
  }
  if (manifest.skipped_rows > 0) {
    lines.push_back(fmt::format("skipped {} bad line{}:", format_count(manifest.skipped_rows),
                                manifest.skipped_rows == 1 ? "" : "s"));
    for (const auto& line : report.first_bad_lines) lines.push_back("  " + line);
  }
  for (const auto& column : report.almost_numeric_columns) {
    lines.push_back(fmt::format("column {} is categorical, for {} is no number; --numeric {} refuses such lines",
                                column.name, excerpt(column.text), column.name));
  }
  if (!report.empty_columns.empty()) lines.push_back("columns without values, ignored: " + names(report.empty_columns));
  if (!report.constant_columns.empty()) lines.push_back("constant columns: " + names(report.constant_columns));
  for (const auto& column : report.hashed_columns) {
    lines.push_back(fmt::format("column {}: {} levels hashed into {} buckets, {:.1f} % of them collide", column.name,
                                format_count(column.levels), format_count(column.buckets),
                                100 * column.collision_rate));
  }
  if (report.unseen > 0) {
    lines.push_back(fmt::format("{} value{} of the validation and test files {} not occur in training",
                                format_count(report.unseen), report.unseen == 1 ? "" : "s",
                                report.unseen == 1 ? "does" : "do"));
  }
  return lines;
}

ImportEvents import_events(const Session& session, ProgressDisplay& display) {
  return {.progress = [&display](const ImportProgress& progress) { show_import(progress, display); },
          .imported =
              [&session, &display](const ImportReport& report) {
                display.finish();
                for (const auto& line : import_summary(report)) session.note(line);
              }};
}

}  // namespace virga
