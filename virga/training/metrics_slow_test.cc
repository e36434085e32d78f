#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/bytes.h"
#include "virga/base/file.h"
#include "virga/base/random.h"
#include "virga/training/metrics.h"
#include "virga/training/python_testing.h"

namespace virga {
namespace {

using nlohmann::json;

struct Case {
  LossKind loss;
  std::uint32_t classes;
  std::vector<float> scores;  // [rows x outputs]
  std::vector<float> labels;
  std::vector<float> weights;
};

/// Scores are multiples of 1/4, so that many are tied; some weights are 0.
Case random_case(LossKind loss, std::uint32_t classes, std::uint64_t rows, std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  Case made{.loss = loss, .classes = classes};
  const auto outputs = loss == LossKind::kSoftmax ? classes : 1;
  for (std::uint64_t i = 0; i < rows; ++i) {
    const auto label = classes > 0 ? static_cast<float>(random.below(classes, 1, i))
                                   : static_cast<float>(random.uniform(1, i) * 4 - 2);
    made.labels.push_back(label);
    made.weights.push_back(static_cast<float>(random.below(6, 2, i)) / 2);
    for (std::uint32_t c = 0; c < outputs; ++c) {
      const float hint = outputs > 1 ? (static_cast<float>(c) == label ? 1.0F : 0.0F) : label;
      made.scores.push_back(static_cast<float>(random.below(25, 0, i * outputs + c)) / 4 - 3 + hint);
    }
  }
  return made;
}

std::string_view kind(const Case& made) {
  return made.classes == 0 ? "regression" : made.loss == LossKind::kSoftmax ? "multiclass" : "binary";
}

json to_json(const Case& made) {
  json scores = made.scores;
  if (made.loss == LossKind::kSoftmax) {
    scores = json::array();
    for (std::size_t row = 0; row < made.labels.size(); ++row) {
      const auto begin = made.scores.begin() + static_cast<std::ptrdiff_t>(row * made.classes);
      scores.push_back(std::vector<float>(begin, begin + made.classes));
    }
  }
  return {{"kind", kind(made)}, {"scores", scores}, {"labels", made.labels}, {"weights", made.weights}};
}

Evaluation evaluate(const Case& made) {
  Metrics metrics(made.loss, made.classes);
  metrics.add(metrics_part(made.loss, made.classes, made.scores, made.labels, made.weights));
  return metrics.finish();
}

void expect_near(const json& theirs, double ours, const std::string& what) {
  ASSERT_TRUE(theirs.is_number()) << what;
  // scikit-learn clips probabilities and sums in another order.
  EXPECT_NEAR(theirs.get<double>(), ours, 1e-9 * (1 + std::abs(ours))) << what;
}

/// Bins without rows are missing in theirs, and so are weights.
void expect_same_calibration(const json& theirs, Case made) {
  made.weights.clear();
  std::size_t bins = 0;
  for (const auto& bin : evaluate(made).calibration) {
    if (bin.weight == 0) continue;
    ASSERT_LT(bins, theirs["observed"].size());
    expect_near(theirs["observed"][bins], bin.observed, "observed");
    expect_near(theirs["predicted"][bins++], bin.predicted, "predicted");
  }
  EXPECT_EQ(bins, theirs["observed"].size());
}

void expect_same(const json& theirs, const Evaluation& ours, const std::string& what) {
  if (theirs.contains("log_loss") && to_string(ours.loss_kind) == "log_loss") {
    expect_near(theirs["log_loss"], ours.loss, what + ": log_loss");
  }
  if (ours.loss_kind == LossKind::kHinge) expect_near(theirs["hinge_loss"], ours.loss, what + ": hinge_loss");
  if (ours.loss_kind == LossKind::kLogistic) expect_near(theirs["base_log_loss"], ours.base_loss, what + ": base");
  if (ours.ranking) {
    expect_near(theirs["auc"], ours.ranking->auc.value(), what + ": auc");
    expect_near(theirs["average_precision"], ours.ranking->average_precision.value(), what + ": average_precision");
  }
  if (ours.regression) {
    expect_near(theirs["rmse"], ours.regression->rmse, what + ": rmse");
    expect_near(theirs["mae"], ours.regression->mae, what + ": mae");
    expect_near(theirs["r2"], ours.regression->r2.value(), what + ": r2");
  }
  if (!ours.classification) return;
  const auto& report = *ours.classification;
  expect_near(theirs["accuracy"], report.accuracy, what + ": accuracy");
  expect_near(theirs["macro_f1"], report.macro_f1, what + ": macro_f1");
  ASSERT_EQ(theirs["precision"].size(), report.classes.size());
  for (std::size_t c = 0; c < report.classes.size(); ++c) {
    expect_near(theirs["precision"][c], report.classes[c].precision, what + ": precision");
    expect_near(theirs["recall"][c], report.classes[c].recall, what + ": recall");
    expect_near(theirs["f1"][c], report.classes[c].f1, what + ": f1");
    expect_near(theirs["support"][c], report.classes[c].support, what + ": support");
  }
  ASSERT_EQ(theirs["matrix"].size(), report.matrix.size());
  for (std::size_t i = 0; i < report.matrix.size(); ++i) expect_near(theirs["matrix"][i], report.matrix[i], "matrix");
}

TEST(Metrics, AgreeWithScikitLearn) {
  std::vector<Case> cases;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    cases.push_back(random_case(LossKind::kLogistic, 2, 3000, seed));
    cases.push_back(random_case(LossKind::kHinge, 2, 500, seed));
    cases.push_back(random_case(LossKind::kSoftmax, 7, 2000, seed));
    cases.push_back(random_case(LossKind::kSquaredError, 0, 1000, seed));
  }
  json input = json::array();
  for (const auto& made : cases) input.push_back(to_json(made));
  const auto file = std::filesystem::path(testing::TempDir()) / "virga_metrics_slow_test.json";
  write_file_atomically(file, as_bytes(input.dump()), /*durable=*/false);

  const auto script = source_folder() / "virga/training/sklearn_metrics.py";
  const auto theirs = json::parse(run_python("'" + script.string() + "' '" + file.string() + "'"));
  std::filesystem::remove(file);

  ASSERT_EQ(theirs.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    expect_same(theirs[i], evaluate(cases[i]), std::string(kind(cases[i])) + " " + std::to_string(i));
    if (cases[i].loss == LossKind::kLogistic) expect_same_calibration(theirs[i]["calibration"], cases[i]);
  }
}

}  // namespace
}  // namespace virga
