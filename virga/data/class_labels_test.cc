#include "virga/data/class_labels.h"

#include <gmock/gmock.h>

#include "virga/base/threads.h"
#include "virga/data/files_testing.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<ParsedRows::Row> rows_of(const std::vector<double>& labels) {
  std::vector<ParsedRows::Row> rows;
  for (const auto label : labels) rows.push_back({.label = label});
  return rows;
}

Encoding decided(const std::vector<double>& labels, std::optional<Task> wanted = std::nullopt) {
  LabelSurvey survey;
  survey.add(rows_of(labels));
  Encoding encoding;
  survey.decide(wanted, encoding);
  return encoding;
}

std::vector<double> many(std::size_t count) {
  std::vector<double> labels;
  for (std::size_t i = 0; i < count; ++i) labels.push_back(static_cast<double>(count - i));
  return labels;
}

TEST(LabelSurvey, DecidesTheTaskByTheLabels) {
  EXPECT_EQ(decided({1, -1, 1}).task, Task::kBinary);
  EXPECT_THAT(decided({1, -1, 1}).classes, ElementsAre("-1", "1"));
  EXPECT_THAT(decided({0.5, 1.5}).classes, ElementsAre("0.5", "1.5"));
  EXPECT_THAT(decided({0.0, -0.0, 1}).classes, ElementsAre("0", "1"));
  EXPECT_EQ(decided({3, 10, 2}).task, Task::kMulticlass);
  EXPECT_THAT(decided({3, 10, 2}).classes, ElementsAre("2", "3", "10"));
  EXPECT_EQ(decided({0.1, 0.2, 0.3}).task, Task::kRegression);
  EXPECT_THAT(decided({0.1, 0.2, 0.3}).classes, IsEmpty());
  EXPECT_EQ(decided(many(1000)).classes.size(), 1000U);
  EXPECT_EQ(decided(many(1001)).task, Task::kRegression);
  EXPECT_EQ(decided({1, 2}, Task::kRegression).task, Task::kRegression);
  EXPECT_EQ(decided({1, 2}, Task::kMulticlass).task, Task::kMulticlass);
}

TEST(LabelSurvey, RefusesLabelsThatDoNotFitTheTask) {
  const auto refused = [](const std::vector<double>& labels, std::optional<Task> wanted = std::nullopt) {
    return error_of([&] { static_cast<void>(decided(labels, wanted)); });
  };
  EXPECT_THAT(refused({1, 1}), HasSubstr("bad_data: all labels are the same (1) -> there is nothing to learn"));
  EXPECT_THAT(refused({}), HasSubstr("there are no rows"));
  EXPECT_THAT(refused({1, 2, 3}, Task::kBinary), HasSubstr("there are 3 different labels; a binary task has two"));
  EXPECT_THAT(refused({0.1, 0.2, 0.3}, Task::kMulticlass), HasSubstr("labels that are no integers cannot be classes"));
  EXPECT_THAT(refused(many(1001), Task::kMulticlass), HasSubstr("there are more than 1000 different labels"));
}

TEST(LabelSurvey, TakesWordsAsClasses) {
  LabelSurvey survey;
  for (const auto* word : {"no", "yes", "no"}) survey.add(std::string_view(word));
  Encoding encoding;
  survey.decide(std::nullopt, encoding);
  EXPECT_EQ(encoding.task, Task::kBinary);
  EXPECT_THAT(encoding.classes, ElementsAre("no", "yes"));
  EXPECT_THAT(class_labels(encoding), IsEmpty());
  EXPECT_THAT(error_of([&] { survey.decide(Task::kRegression, encoding); }),
              HasSubstr("the labels are words (\"no\", ...), not numbers"));
}

TEST(LabelSurvey, DoesNotDependOnTheOrderOfThreads) {
  const auto labels = many(3000);
  LabelSurvey survey;
  run_threads(4, [&](unsigned thread) {
    for (std::size_t i = thread; i < 30; i += 4) {
      survey.add(rows_of({labels.begin() + static_cast<std::ptrdiff_t>(i * 100),
                          labels.begin() + static_cast<std::ptrdiff_t>(i * 100 + 100)}));
    }
  });
  Encoding encoding;
  survey.decide(std::nullopt, encoding);
  EXPECT_EQ(encoding.task, Task::kRegression);
}

TEST(ClassLabels, AreTheNumbersOfTheClasses) {
  EXPECT_THAT(class_labels({.classes = {"-1", "0.5", "3"}}), ElementsAre(-1, 0.5, 3));
  EXPECT_THAT(class_labels({.task = Task::kRegression}), IsEmpty());
}

}  // namespace
}  // namespace virga
