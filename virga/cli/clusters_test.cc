// Models of clusters by the program, from raw rows to predictions.
#include <cmath>
#include <numbers>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/random.h"
#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// Rows about (0, 0), (10, 0) and (0, 10), in turn.
std::string three_heaps(int count, bool labels) {
  const Random random(9, Purpose::kTest);
  std::string text = labels ? "x,y,label\n" : "y,x\n";
  for (int i = 0; i < count; ++i) {
    const auto item = static_cast<std::uint64_t>(i);
    const double x = (i % 3 == 1 ? 10 : 0) + random.uniform(0, item),
                 y = (i % 3 == 2 ? 10 : 0) + random.uniform(1, item);
    text += labels ? fmt::format("{},{},{}\n", x, y, i % 7) : fmt::format("{},{}\n", y, x);
  }
  return text;
}

class KMeansProgram : public testing::Test {
 protected:
  KMeansProgram() {
    folder_.write("train.csv", three_heaps(1500, true));
    folder_.write("new.csv", three_heaps(30, false));
  }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] json document(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const auto result = virga(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false);
  }
  TemporaryFolder folder_;
};

TEST_F(KMeansProgram, TrainsPredictsEvaluatesAndInspects) {
  const std::vector<std::string> train = {"train",   "train.csv", "--model",   "kmeans", "--clusters", "3",
                                          "--scale", "none",      "--workers", "2",      "--engine",   "single"};
  auto process = train;
  process.back() = "process";
  auto report = document(train);
  EXPECT_EQ(report["kind"], "kmeans");
  EXPECT_EQ(report["ended_by"], "converged");
  // Each coordinate of a heap has a variance of 1/12.
  EXPECT_NEAR(report["validation_loss"].get<double>(), 1.0 / 6, 0.02);
  EXPECT_NEAR(report["base_loss"].get<double>(), 400.0 / 9 + 1.0 / 6, 1);

  const auto of_functions = document(process);
  EXPECT_EQ(of_functions["train_loss"], report["train_loss"]);
  EXPECT_EQ(of_functions["rounds"], report["rounds"]);

  const auto predicted = virga({"predict", "model.safetensors", "new.csv"});
  std::istringstream lines(predicted.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "cluster,distance");
  std::vector<std::string> clusters;
  for (int i = 0; std::getline(lines, line); ++i) {
    clusters.push_back(line.substr(0, line.find(',')));
    EXPECT_LT(std::stod(line.substr(line.find(',') + 1)), 0.75);
    EXPECT_EQ(clusters.back(), clusters[static_cast<std::size_t>(i % 3)]);
  }
  EXPECT_EQ(clusters.size(), 30U);
  EXPECT_NE(clusters[0], clusters[1]);
  EXPECT_NE(clusters[1], clusters[2]);
  EXPECT_NE(clusters[0], clusters[2]);
  EXPECT_THAT(virga({"predict", "model.safetensors", "new.csv", "--output", "raw"}).out, HasSubstr("0,1,2\n"));
  EXPECT_THAT(virga({"predict", "model.safetensors", "new.csv", "--output", "probability"}).err,
              HasSubstr("kmeans gives no probabilities"));

  // Rows without labels can be evaluated, too.
  const auto evaluation = document({"evaluate", "model.safetensors", "new.csv"});
  EXPECT_EQ(evaluation["loss_name"], "squared_distance");
  EXPECT_EQ(evaluation["rows"], 30);
  EXPECT_NEAR(evaluation["loss"].get<double>(), 1.0 / 6, 0.06);
  EXPECT_NEAR(evaluation["base_loss"].get<double>(), 400.0 / 9 + 1.0 / 6, 1);
  ASSERT_EQ(evaluation["clusters"].size(), 3U);
  for (const auto& cluster : evaluation["clusters"]) EXPECT_EQ(cluster["weight"], 10);

  const auto inspected = document({"inspect", "model.safetensors"});
  EXPECT_EQ(inspected["model"], "kmeans");
  EXPECT_EQ(inspected["clusters"], 3);
  EXPECT_NEAR(inspected["largest_weights"][0]["weight"].get<double>(), 10.5, 0.1);
}

TEST_F(KMeansProgram, TrainsPredictsEvaluatesAndInspectsMixtures) {
  for (const std::string covariance : {"diagonal", "full"}) {
    const std::vector<std::string> train = {
        "train",     "train.csv", "--model",      "gaussian-mixture", "--clusters",   "3",   "--scale",  "none",
        "--workers", "2",         "--covariance", covariance,         "--batch-size", "400", "--engine", "single"};
    auto process = train;
    process.back() = "process";
    auto report = document(train);
    EXPECT_EQ(report["kind"], "gaussian-mixture");
    EXPECT_EQ(report["ended_by"], "converged");
    // Uniform on a unit square: as a Gaussian of variance 1/12 in both directions; and which of three.
    const double expected = std::log(3) + std::log(2 * std::numbers::pi / 12) + 1;
    EXPECT_NEAR(report["validation_loss"].get<double>(), expected, 0.08);
    const double base = std::log(2 * std::numbers::pi * (200.0 / 9 + 1.0 / 12)) + 1;
    EXPECT_NEAR(report["base_loss"].get<double>(), base, 0.03);

    const auto of_functions = document(process);
    EXPECT_EQ(of_functions["train_loss"], report["train_loss"]);
    EXPECT_EQ(of_functions["validation_loss"], report["validation_loss"]);
    EXPECT_EQ(of_functions["rounds"], report["rounds"]);

    const auto predicted = virga({"predict", "model.safetensors", "new.csv"});
    std::istringstream lines(predicted.out);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "cluster,log_likelihood");
    std::vector<std::string> clusters;
    for (int i = 0; std::getline(lines, line); ++i) {
      clusters.push_back(line.substr(0, line.find(',')));
      EXPECT_GT(std::stod(line.substr(line.find(',') + 1)), -expected - 4);
      EXPECT_EQ(clusters.back(), clusters[static_cast<std::size_t>(i % 3)]);
    }
    EXPECT_EQ(clusters.size(), 30U);
    EXPECT_THAT(virga({"predict", "model.safetensors", "new.csv", "--output", "probability"}).out,
                testing::StartsWith("0,1,2\n"));

    const auto evaluation = document({"evaluate", "model.safetensors", "new.csv"});
    EXPECT_EQ(evaluation["loss_name"], "negative_log_likelihood");
    EXPECT_NEAR(evaluation["loss"].get<double>(), expected, 0.3);
    EXPECT_NEAR(evaluation["base_loss"].get<double>(), base, 0.1);
    for (const auto& cluster : evaluation["clusters"]) EXPECT_EQ(cluster["weight"], 10);
    EXPECT_THAT(virga({"evaluate", "model.safetensors", "new.csv"}).out, HasSubstr("of one Gaussian: "));

    const auto inspected = document({"inspect", "model.safetensors"});
    EXPECT_EQ(inspected["covariance"], covariance);
    ASSERT_EQ(inspected["mixing"].size(), 3U);
    for (const auto& share : inspected["mixing"]) EXPECT_NEAR(share.get<double>(), 1.0 / 3, 0.05);
    EXPECT_NEAR(inspected["largest_weights"][0]["weight"].get<double>(), 10.5, 0.1);
    EXPECT_THAT(virga({"inspect", "model.safetensors"}).out, HasSubstr("3, " + covariance + " covariances"));
  }
}

TEST_F(KMeansProgram, RefusesWhatHasNoMeaning) {
  const auto refused = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"train", "train.csv", "--engine", "single"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const auto result = virga(arguments);
    EXPECT_EQ(result.exit_code, 2);
    return result.err;
  };
  EXPECT_THAT(refused({"--model", "kmeans", "--l2", "0.1"}), HasSubstr("model.l2 is given, but k-means has no use"));
  EXPECT_THAT(refused({"--model", "kmeans", "--reg-covar", "1"}),
              HasSubstr("a model of kind kmeans has no covariances"));
  EXPECT_THAT(refused({"--clusters", "3"}), HasSubstr("model.clusters is given, but a model of kind softmax"));
}

}  // namespace
}  // namespace virga
