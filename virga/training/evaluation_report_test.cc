#include "virga/training/evaluation_report.h"

#include <limits>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace virga {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Evaluation binary() {
  const std::vector<float> scores = {-1, 1, 2, -2};
  const std::vector<float> labels = {0, 0, 1, 0};
  Metrics metrics(LossKind::kLogistic, 2);
  metrics.add(metrics_part(LossKind::kLogistic, 2, scores, labels, {}));
  return metrics.finish();
}

TEST(EvaluationTable, ShowsABinaryModel) {
  EXPECT_EQ(evaluation_table(binary(), {"no", "yes"}),
            "rows               4\n"
            "log-loss           0.4701   (base rate: 0.5623)\n"
            "accuracy           0.7500\n"
            "AUC                1.0000\n"
            "average precision  1.0000\n"
            "macro-F1           0.7333\n"
            "\n"
            "class                     support  precision     recall         F1\n"
            "no                              3     1.0000     0.6667     0.8000\n"
            "yes                             1     0.5000     1.0000     0.6667\n"
            "\n"
            "labels (down) and what they were taken for (across)\n"
            "                             no        yes\n"
            "no                            2          1\n"
            "yes                           0          1\n");
}

TEST(EvaluationTable, ShowsARegression) {
  Metrics metrics(LossKind::kSquaredError, 0);
  metrics.add(metrics_part(LossKind::kSquaredError, 0, std::vector<float>{1, 2}, std::vector<float>{1, 4},
                           std::vector<float>{1, 0.5F}));
  EXPECT_EQ(evaluation_table(metrics.finish(), {}),
            "rows               2\n"
            "weight             1.50\n"
            "RMSE               1.1547   (the mean label alone: 1.41421)\n"
            "MAE                0.666667\n"
            "R2                 0.3333\n");
}

TEST(EvaluationTable, SaysWhatIsNotDefined) {
  Metrics metrics(LossKind::kHinge, 2);
  metrics.add(metrics_part(LossKind::kHinge, 2, std::vector<float>{1}, std::vector<float>{0}, {}));
  const auto text = evaluation_table(metrics.finish(), {"no", "yes"});
  EXPECT_THAT(text, HasSubstr("AUC                - (one class only)\n"));
  EXPECT_THAT(text, HasSubstr("average precision  - (no positives)\n"));
  EXPECT_THAT(text, HasSubstr("hinge loss         2.0000   (base rate: 0.0000)\n"));
}

TEST(EvaluationTable, SaysHowFarBinnedFiguresMayBeOff) {
  auto evaluation = binary();
  evaluation.ranking->auc_error = 0.0000123;
  EXPECT_THAT(evaluation_table(evaluation, {"no", "yes"}), HasSubstr("AUC                1.0000 (+- 1e-05, binned)\n"));
}

TEST(EvaluationTable, ShowsTheLargestConfusionsOfManyClasses) {
  const std::uint32_t classes = 200;
  std::vector<float> scores(classes);
  scores[7] = 1;
  Metrics metrics(LossKind::kSoftmax, classes);
  metrics.add(metrics_part(LossKind::kSoftmax, classes, scores, std::vector<float>{8}, {}));
  std::vector<std::string> names;
  for (std::uint32_t c = 0; c < classes; ++c) names.push_back("class " + std::to_string(c));
  names[8] = "a very long name with a \n line end";
  const auto text = evaluation_table(metrics.finish(), names);
  EXPECT_THAT(text, HasSubstr("\nclass                taken for                    rows   (the largest confusions)\n"
                              "a very long name ... class 7                         1\n"));
  EXPECT_THAT(text, HasSubstr("... and 100 more classes\n"));
}

TEST(EvaluationJson, HoldsEveryFigure) {
  EXPECT_EQ(evaluation_json(binary(), {"no", "caf\xE9"})["classes"][1]["class"], "caf\xEF\xBF\xBD");
  auto out = evaluation_json(binary(), {"no", "yes"});
  EXPECT_NEAR(out["loss"].get<double>(), 0.4701, 1e-4);
  out.erase("loss");
  out.erase("base_loss");
  out["macro_f1"] = 0;
  out["classes"].erase(0);
  double rows = 0;
  for (const auto& bin : out.at("calibration")) {
    rows += bin["weight"].get<double>();
    EXPECT_EQ(bin["predicted"].is_null(), bin["weight"] == 0);
    EXPECT_EQ(bin["observed"].is_null(), bin["weight"] == 0);
  }
  EXPECT_EQ(out["calibration"].size(), 10U);
  EXPECT_EQ(rows, 4);
  out.erase("calibration");
  out["classes"][0].erase("f1");
  EXPECT_EQ(out, json::parse(R"({"rows": 4, "weight": 4.0, "loss_name": "log_loss", "accuracy": 0.75, "macro_f1": 0,
    "auc": 1.0, "auc_error": 0.0, "average_precision": 1.0, "average_precision_error": 0.0,
    "classes": [{"class": "yes", "support": 1.0, "predicted": 2.0, "precision": 0.5, "recall": 1.0}],
    "confusion_matrix": [[2.0, 1.0], [0.0, 1.0]],
    "largest_confusions": [{"class": "no", "predicted": "yes", "weight": 1.0}]})"));
}

TEST(EvaluationJson, HasNullForWhatIsNoFiniteNumber) {
  auto evaluation = binary();
  evaluation.loss = std::numeric_limits<double>::infinity();
  evaluation.ranking->auc.reset();
  const auto out = evaluation_json(evaluation, {"no", "yes"});
  EXPECT_TRUE(out["loss"].is_null());
  EXPECT_TRUE(out["auc"].is_null());
}

}  // namespace
}  // namespace virga
