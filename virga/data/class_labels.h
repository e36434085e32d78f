#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "virga/data/encoding.h"
#include "virga/data/parsed_rows.h"

namespace virga {

constexpr std::size_t kMostClasses = 1000;

/// The text of a class whose label is a number: "1", "-1", "0.5".
[[nodiscard]] std::string class_text(double label);

/// The classes of a set as numbers, ascending, if all are numbers; empty for regression and for classes that are words.
[[nodiscard]] std::vector<double> class_labels(const Encoding& encoding);

/// Which labels occur, as far as that decides the task. Several threads may add; the result does not depend on order.
class LabelSurvey {
 public:
  void add(const std::vector<ParsedRows::Row>& rows);
  void add(double label) { add(std::vector<double>{label}); }
  /// A class that is a word.
  void add(std::string_view word);

  /// Sets task and classes of `encoding`: as wanted, or two labels are binary, up to 1,000 different integers
  /// multiclass, more of them or other numbers regression. Throws Error(kBadData) where the labels do not allow that,
  /// and for labels that are all the same.
  void decide(std::optional<Task> wanted, Encoding& encoding) const;

 private:
  void add(const std::vector<double>& labels);

  mutable std::mutex mutex_;  // guards all below
  std::set<double> numbers_;  // at most kMostClasses + 1
  std::set<std::string, std::less<>> words_;
  bool integers_ = true;
};

}  // namespace virga
