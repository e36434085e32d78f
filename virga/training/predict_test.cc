#include "virga/training/predict.h"

#include <cmath>
#include <numbers>
#include <sstream>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/data/groups_testing.h"
#include "virga/training/model_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

/// Rows of one entry each: row i has only feature i, with values[i].
RowGroupPtr one_entry_rows(const std::vector<float>& values) {
  RowGroup group{.rows = static_cast<std::uint32_t>(values.size()), .row_begin = {0}};
  for (std::uint32_t i = 0; i < group.rows; ++i) {
    group.keys.push_back(i);
    group.indices16.push_back(static_cast<std::uint16_t>(i));
    group.row_begin.push_back(i + 1);
  }
  group.values.assign(values.begin(), values.end());
  group.labels.resize(values.size());
  return std::make_shared<const RowGroup>(std::move(group));
}

GroupStream stream_of(std::vector<RowGroupPtr> groups) {
  return
      [groups = std::move(groups), i = std::size_t{0}]() mutable { return i < groups.size() ? groups[i++] : nullptr; };
}

std::string predictions(const ModelFile& model, PredictionKind kind, std::vector<RowGroupPtr> groups,
                        unsigned threads = 1) {
  std::string text;
  predict(model, stream_of(std::move(groups)), kind, threads, [&](std::string_view piece) { text += piece; });
  return text;
}

/// Weights 1 for all features (of class c: c), no bias: row i scores values[i].
ModelFile identity_model(ModelKind kind, std::vector<std::string> classes) {
  auto model = libsvm_model(kind, 4, std::move(classes));
  model.spec.fit_bias = false;
  model.parameters = Tables(layout_of(model.spec));
  auto& weights = model.parameters.values[0];
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = weights.size() == 4 ? 1 : static_cast<float>(i % (weights.size() / 4));
  return model;
}

TEST(Predict, WritesTheClassAsTheSourceDid) {
  const auto model = identity_model(ModelKind::kLogistic, {"-1", "a,\"b\""});
  EXPECT_EQ(predictions(model, PredictionKind::kLabel, {one_entry_rows({-1, 0, 2})}), "-1\n-1\n\"a,\"\"b\"\"\"\n");
  const auto softmax = identity_model(ModelKind::kSoftmax, {"x", "", "z"});
  EXPECT_EQ(predictions(softmax, PredictionKind::kLabel, {one_entry_rows({-1, 0, 2})}), "x\nx\nz\n");
  EXPECT_EQ(prediction_header(softmax, PredictionKind::kLabel), "");
}

TEST(Predict, WritesComponentsOfAMixture) {
  auto model = mixture_model(4, 2, CovarianceKind::kDiagonal);
  model.encoding.scale_factor.clear();
  // Both of variance 1; means 0 and (0, 2, 0, 0), as the entry of row i is in feature i.
  model.parameters.values = {{0, 0, 0, 2, 0, 0, 0, 0}, std::vector<float>(8, 1), {0.5F, 0.5F}};
  const auto rows = one_entry_rows({0, 3});
  const auto label = predictions(model, PredictionKind::kLabel, {rows});
  const double constant = std::log(0.5) - 2 * std::log(2 * std::numbers::pi);
  // Of 0: e^0 + e^-2; of 3: e^-4.5 + e^-0.5.
  std::istringstream lines(label);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "cluster,log_likelihood");
  std::getline(lines, line);
  EXPECT_EQ(line.substr(0, 2), "0,");
  EXPECT_NEAR(std::stod(line.substr(2)), constant + std::log(1 + std::exp(-2)), 1e-6);
  std::getline(lines, line);
  EXPECT_EQ(line.substr(0, 2), "1,");
  EXPECT_NEAR(std::stod(line.substr(2)), constant + std::log(std::exp(-4.5) + std::exp(-0.5)), 1e-6);
  const auto probabilities = predictions(model, PredictionKind::kProbability, {rows});
  EXPECT_EQ(probabilities.substr(0, 4), "0,1\n");
  EXPECT_NEAR(std::stod(probabilities.substr(4)), 1 / (1 + std::exp(-2)), 1e-6);
  EXPECT_EQ(prediction_header(model, PredictionKind::kRaw), "0,1,log_likelihood\n");
  const auto raw = predictions(model, PredictionKind::kRaw, {rows});
  EXPECT_NEAR(std::stod(raw.substr(raw.find('\n') + 1)), -std::log(1 + std::exp(-2)), 1e-6);
}

TEST(Predict, WritesTheShortestNumbersThatReadBack) {
  const auto model = identity_model(ModelKind::kLogistic, {"0", "1"});
  EXPECT_EQ(predictions(model, PredictionKind::kRaw, {one_entry_rows({0.1F, -1e-30F, 1e10F, 16777216})}),
            "0.1\n-1e-30\n1e+10\n16777216\n");
  EXPECT_EQ(predictions(model, PredictionKind::kProbability, {one_entry_rows({0, 100, -100})}), "0.5\n1\n3.8e-44\n");
  EXPECT_EQ(predictions(identity_model(ModelKind::kLeastSquares, {}), PredictionKind::kLabel, {one_entry_rows({2.5F})}),
            "2.5\n");
}

TEST(Predict, WritesAColumnForEachOfSeveralClasses) {
  const auto model = identity_model(ModelKind::kSoftmax, {"x", "y,", "z"});
  EXPECT_EQ(predictions(model, PredictionKind::kRaw, {one_entry_rows({-1, 2})}), "x,\"y,\",z\n0,-1,-2\n0,2,4\n");
  const auto text = predictions(model, PredictionKind::kProbability, {one_entry_rows({2})});
  double sum = 0;
  std::istringstream lines(text.substr(text.find('\n') + 1));
  for (int c = 0; c < 3; ++c) {
    std::string field;
    std::getline(lines, field, ',');
    EXPECT_NEAR(std::stod(field), std::exp(2.0 * c) / (1 + std::exp(2.0) + std::exp(4.0)), 1e-7);
    sum += std::stod(field);
  }
  EXPECT_NEAR(sum, 1, 1e-6);
}

TEST(Predict, KeepsTheOrderWhateverTheNumberOfThreads) {
  const auto model = libsvm_model(ModelKind::kSoftmax, 500, {"a", "b", "c"});
  std::vector<RowGroupPtr> groups;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    groups.push_back(std::make_shared<const RowGroup>(
        test_group({.rows = static_cast<std::uint32_t>(1 + seed * 7), .features = 500}, seed)));
  }
  const auto expected = predictions(model, PredictionKind::kProbability, groups, 1);
  EXPECT_EQ(predictions(model, PredictionKind::kProbability, groups, 4), expected);
  EXPECT_EQ(predict(model, stream_of(groups), PredictionKind::kRaw, 3, [](std::string_view) {}), 40U + 7 * 780);
}

TEST(Predict, RefusesProbabilitiesOfModelsWithoutAny) {
  for (const auto kind : {ModelKind::kSvm, ModelKind::kSvmSquared}) {
    EXPECT_THAT(
        [&] {
          predictions(identity_model(kind, {"0", "1"}), PredictionKind::kProbability, {});
        },
        testing::ThrowsMessage<Error>(HasSubstr("gives no probabilities")));
  }
  EXPECT_THROW(predictions(identity_model(ModelKind::kLeastSquares, {}), PredictionKind::kProbability, {}), Error);
}

TEST(Predict, RefusesScoresThatAreNotNumbers) {
  const auto model = identity_model(ModelKind::kLogistic, {"0", "1"});
  EXPECT_THAT([&] { predictions(model, PredictionKind::kLabel, {one_entry_rows({std::nanf("")})}); },
              testing::ThrowsMessage<Error>(HasSubstr("not a number")));
}

TEST(Predict, PassesOnWhatWritingThrows) {
  const auto model = identity_model(ModelKind::kLogistic, {"0", "1"});
  EXPECT_THROW(predict(model, stream_of({one_entry_rows({1})}), PredictionKind::kRaw, 2,
                       [](std::string_view) { throw Error(ErrorKind::kIo, "disk full"); }),
               Error);
}

TEST(ParsePredictionKind, KnowsItsWords) {
  EXPECT_EQ(parse_prediction_kind("probability"), PredictionKind::kProbability);
  EXPECT_THROW(static_cast<void>(parse_prediction_kind("prob")), Error);
}

}  // namespace
}  // namespace virga
