#include "virga/data/class_labels.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/data/decimal.h"

namespace virga {
namespace {

bool is_integer(double label) { return std::floor(label) == label; }

}  // namespace

std::string class_text(double label) { return fmt::format("{}", label + 0.0); }  // -0 is 0

std::vector<double> class_labels(const Encoding& encoding) {
  std::vector<double> labels;
  for (const auto& text : encoding.classes) {
    const auto number = parse_double(text);
    if (number.status != NumberStatus::kOk) return {};
    labels.push_back(number.value);
  }
  return labels;
}

void LabelSurvey::add(const std::vector<ParsedRows::Row>& rows) {
  // Few labels are different: a short sorted list first, without the lock.
  std::vector<double> labels;
  for (const auto& row : rows) {
    const auto found = std::ranges::lower_bound(labels, row.label);
    if (found != labels.end() && *found == row.label) continue;
    labels.insert(found, row.label);
    if (labels.size() > kMostClasses) {
      add(labels);
      labels.clear();
    }
  }
  add(labels);
}

void LabelSurvey::add(const std::vector<double>& labels) {
  const std::lock_guard lock(mutex_);
  integers_ = integers_ && std::ranges::all_of(labels, is_integer);
  for (const auto label : labels) {
    numbers_.insert(label);
    // The smallest ones stay, in whatever order they come.
    if (numbers_.size() > kMostClasses + 1) numbers_.erase(std::prev(numbers_.end()));
  }
}

void LabelSurvey::add(std::string_view word) {
  const std::lock_guard lock(mutex_);
  if (words_.find(word) == words_.end()) words_.emplace(word);
  if (words_.size() > kMostClasses + 1) words_.erase(std::prev(words_.end()));
}

void LabelSurvey::decide(std::optional<Task> wanted, Encoding& encoding) const {
  const std::lock_guard lock(mutex_);
  const auto count = words_.empty() ? numbers_.size() : words_.size();
  const bool many = count > kMostClasses;
  const bool may_be_classes = !words_.empty() || count == 2 || integers_;
  const auto natural = count == 2 ? Task::kBinary : Task::kMulticlass;
  encoding.task = wanted.value_or(words_.empty() && (many || !may_be_classes) ? Task::kRegression : natural);
  encoding.classes.clear();
  if (encoding.task == Task::kRegression) {
    if (words_.empty()) return;
    throw Error(ErrorKind::kBadData,
                fmt::format("the labels are words (\"{}\", ...), not numbers to regress on", *words_.begin()),
                "choose another label column or task");
  }
  if (count < 2) {
    throw Error(ErrorKind::kBadData,
                count == 0 ? "there are no rows"
                           : fmt::format("all labels are the same ({})",
                                         words_.empty() ? class_text(*numbers_.begin()) : *words_.begin()),
                "there is nothing to learn; check the label column and whether the files hold all classes");
  }
  if (many || !may_be_classes) {
    throw Error(ErrorKind::kBadData,
                many ? fmt::format("there are more than {} different labels", kMostClasses)
                     : "labels that are no integers cannot be classes",
                "import it as a regression (task \"regression\"), or choose another label column");
  }
  if (encoding.task == Task::kBinary && count != 2) {
    throw Error(ErrorKind::kBadData, fmt::format("there are {} different labels; a binary task has two", count),
                "import it with task \"multiclass\"");
  }
  for (const auto label : numbers_) {
    if (words_.empty()) encoding.classes.push_back(class_text(label));
  }
  encoding.classes.insert(encoding.classes.end(), words_.begin(), words_.end());
}

}  // namespace virga
