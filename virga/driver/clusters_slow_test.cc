#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/driver/data_set.h"
#include "virga/driver/planted_set_testing.h"
#include "virga/driver/single_engine.h"
#include "virga/model/kmeans.h"
#include "virga/training/python_testing.h"
#include "virga/training/split_loss.h"

namespace virga {
namespace {

using nlohmann::json;

class SilentObserver final : public TrainingObserver {
 public:
  void rate_found(double, const std::vector<RateTrial>&) override { ADD_FAILURE() << "clusters have no learning rate"; }
  void progressed(const TrainingProgress&) override {}
  void evaluated(const EpochReport& report) override { reports.push_back(report); }
  void keep(const TrainingResult&) override {}
  std::vector<EpochReport> reports;
};

class ClusterTraining : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder() = std::filesystem::path(testing::TempDir()) / ("virga_clusters." + std::to_string(::getpid()));
    make_planted_set(folder());
    make_blobs(folder());
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  static std::filesystem::path& folder() {
    static std::filesystem::path path;
    return path;
  }

  static TrainingRun run_of(const DataSet& set, GroupCache& cache, std::uint32_t clusters, Seeding seeding,
                            std::uint64_t seed = 1, unsigned workers = 3) {
    return run_of({}, set, cache, clusters, seeding, seed, workers);
  }
  static TrainingRun run_of(Job job, const DataSet& set, GroupCache& cache, std::uint32_t clusters, Seeding seeding,
                            std::uint64_t seed = 1, unsigned workers = 3) {
    job.functions.engine = "single";
    job.functions.workers = workers;
    if (job.model.kind == "auto") job.model.kind = "kmeans";
    job.model.clusters = clusters;
    job.optimizer.batch_size = 300;
    job.stop.epochs = 8;
    job.stop.improvement = 0;
    job.seed = seed;
    TrainingRun run;
    run.plan = plan_training(job, set.manifest, 2);
    run.seed = seed;
    find_first_centres(run, seeding, cache, {});
    return run;
  }
  TrainingResult train(const TrainingRun& run, GroupCache& cache) {
    observer_.reports.clear();
    return train_on_threads(run, cache, nullptr, SplitName::kValidation, kernels(best_simd_level()), observer_, {});
  }
  SilentObserver observer_;
};

json rows_of(const DataSet& set, GroupCache& cache) {
  auto rows = json::array();
  for (std::uint32_t block = 0; block < set.manifest.train.blocks.size(); ++block) {
    for (std::uint32_t g = 0; g < set.manifest.train.blocks[block].group_bytes.size(); ++g) {
      const auto group = cache.get({SplitName::kTrain, block, g});
      for (std::uint32_t i = 0; i < group->rows; ++i) {
        auto row = json::array();
        if (group->dense) {
          for (std::uint32_t f = 0; f < group->columns; ++f) row.push_back({f, group->matrix[i * group->columns + f]});
        } else {
          for (auto e = group->row_begin[i]; e < group->row_begin[i + 1]; ++e) {
            row.push_back({group->keys[group->index(e)], group->values[e]});
          }
        }
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

json centres_of(const Tables& parameters, std::uint32_t clusters) {
  auto centres = json::array();
  for (std::uint32_t c = 0; c < clusters; ++c) {
    auto& centre = centres.emplace_back(json::array());
    for (std::size_t f = 0; f < parameters.layout[0].rows; ++f) {
      centre.push_back(parameters.values[0][f * clusters + c]);
    }
  }
  return centres;
}

TEST_F(ClusterTraining, ComesToTheCentresOfScikitLearnFromTheSameStart) {
  auto cases = json::array();
  std::vector<TrainingResult> results;
  std::vector<double> losses;
  for (const auto* name : {"blobs", "set"}) {
    const auto set = open_data_set((folder() / name).string());
    GroupCache cache(*set.store, set.manifest, 1U << 24);
    const std::uint32_t clusters = 7;
    const auto run = run_of(set, cache, clusters, Seeding::kRandom);
    results.push_back(train(run, cache));
    EXPECT_EQ(results.back().last.epoch, run.plan.epochs) << "it is not at its end before";
    for (std::size_t i = 1; i < observer_.reports.size(); ++i) {
      EXPECT_LE(observer_.reports[i].train_loss, observer_.reports[i - 1].train_loss);
    }
    losses.push_back(
        split_loss(cache, SplitName::kTrain, run.plan.model, results.back().parameters, kernels(best_simd_level()), 1));
    cases.push_back({{"features", set.manifest.encoding.features},
                     {"sparse", !set.manifest.encoding.dense},
                     {"rows", rows_of(set, cache)},
                     {"start", centres_of(*run.start, clusters)},
                     {"epochs", run.plan.epochs}});
  }
  EXPECT_EQ(cases[0]["sparse"], false);
  EXPECT_EQ(cases[1]["sparse"], true);
  const auto path = (folder() / "cases.json").string();
  std::ofstream(path) << cases.dump();
  const auto script = source_folder() / "virga/driver/sklearn_clusters.py";
  const auto witness = json::parse(run_python(script.string() + " " + path));
  for (std::size_t i = 0; i < results.size(); ++i) {
    // Centres are rounded to floats in each epoch; no row of these sets is so near to two centres that it matters.
    EXPECT_NEAR(losses[i], witness[i]["loss"].get<double>(), 1e-5 * losses[i]) << i;
    const auto centres = centres_of(results[i].parameters, 7);
    for (std::size_t c = 0; c < 7; ++c) {
      for (std::size_t f = 0; f < centres[c].size(); ++f) {
        EXPECT_NEAR(centres[c][f].get<double>(), witness[i]["centres"][c][f].get<double>(), 1e-5) << i;
      }
    }
  }
}

TEST_F(ClusterTraining, FindsHeapsFromCentresThatAreFarFromEachOtherAndThenStops) {
  const auto set = open_data_set((folder() / "blobs").string());
  GroupCache cache(*set.store, set.manifest, 1U << 24);
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const auto run = run_of(set, cache, kBlobs, Seeding::kKMeansParallel, seed, 1);
    const auto again = run_of(set, cache, kBlobs, Seeding::kKMeansParallel, seed, 1);
    EXPECT_EQ(run.start, again.start);
    EXPECT_NE(run.start, run_of(set, cache, kBlobs, Seeding::kRandom, seed, 1).start);
    const auto result = train(run, cache);
    EXPECT_EQ(result.reason, EndReason::kConverged);
    EXPECT_LT(result.last.epoch, run.plan.epochs);
    // A heap has a hundredth or so of the variance of all.
    EXPECT_LT(result.last.train_loss, 0.2 * run.plan.constant_loss);
    EXPECT_NEAR(run.plan.constant_loss, 4, 0.2) << "four features of variance 1, on a sample";
  }
}

TEST_F(ClusterTraining, SplitsAClusterForOneThatIsEmpty) {
  const auto set = open_data_set((folder() / "blobs").string());
  GroupCache cache(*set.store, set.manifest, 1U << 24);
  auto run = run_of(set, cache, kBlobs, Seeding::kKMeansParallel);
  auto& centres = run.start->values[0];
  for (std::size_t f = 0; f < 4; ++f) {
    for (std::size_t c = 2; c < kBlobs; ++c)
      centres[f * kBlobs + c] = centres[f * kBlobs];  // no row is nearer to these
  }
  const auto result = train(run, cache);
  std::vector<double> weights;
  KMeans model(run.plan.model, kernels(best_simd_level()));
  BatchAssembler assembler(4);
  std::vector<RowRange> all;
  for (std::uint32_t g = 0; g < 2; ++g) {
    auto group = cache.get({SplitName::kTrain, 0, g});
    all.push_back({group, 0, group->rows});
  }
  Contribution statistics;
  model.gradient(assembler.assemble(all), {.tables = result.parameters.values}, statistics);
  for (std::size_t c = 0; c < kBlobs; ++c) EXPECT_GT(statistics.tables[1].doubles[2 * c], 0) << c;
}

/// [clusters][features], or of full covariances [clusters][features][features].
json covariances_of(const ModelSpec& spec, const Tables& parameters) {
  auto all = json::array();
  const std::size_t n = spec.features, k = spec.clusters;
  for (std::size_t c = 0; c < k; ++c) {
    auto covariance = json::array();
    for (std::size_t i = 0; i < n; ++i) {
      if (spec.covariance == CovarianceKind::kDiagonal) {
        covariance.push_back(parameters.values[1][i * k + c]);
        continue;
      }
      const auto factor = [&](std::size_t row, std::size_t column) {
        return column > row ? 0 : double{parameters.values[1][(c * n * (n + 1) + row * (row + 1)) / 2 + column]};
      };
      auto row = json::array();
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::size_t m = 0; m < n; ++m) sum += factor(i, m) * factor(j, m);
        row.push_back(sum);
      }
      covariance.push_back(std::move(row));
    }
    all.push_back(std::move(covariance));
  }
  return all;
}

void expect_near(const json& actual, const json& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (actual[i].is_array()) {
      expect_near(actual[i], expected[i], tolerance, what);
    } else {
      EXPECT_NEAR(actual[i].get<double>(), expected[i].get<double>(), tolerance) << what;
    }
  }
}

TEST_F(ClusterTraining, ComesToTheMixturesOfScikitLearnFromTheSameStart) {
  struct Case {
    std::string set;
    std::string covariance;
    double reg_covar;
  };
  constexpr std::uint32_t kComponents = 5;
  // Of the sparse set some features are rare: without more on their variances rounding to floats is seen.
  const Case kCases[] = {{"blobs", "diagonal", 1e-6}, {"blobs", "full", 1e-6}, {"set", "diagonal", 1e-2}};
  auto cases = json::array();
  auto ours = json::array();
  for (const auto& one : kCases) {
    const auto set = open_data_set((folder() / one.set).string());
    GroupCache cache(*set.store, set.manifest, 1U << 24);
    Job job;
    job.model.kind = "gaussian-mixture";
    job.model.covariance = one.covariance;
    job.model.reg_covar = one.reg_covar;
    const auto run = run_of(job, set, cache, kComponents, Seeding::kKMeansParallel);
    const auto result = train(run, cache);
    for (std::size_t i = 1; i < observer_.reports.size(); ++i) {
      EXPECT_LE(observer_.reports[i].train_loss, observer_.reports[i - 1].train_loss + 1e-6);
    }
    EXPECT_LT(result.last.train_loss, run.plan.constant_loss);
    const auto& spec = run.plan.model;
    ours.push_back(
        {{"loss", split_loss(cache, SplitName::kTrain, spec, result.parameters, kernels(best_simd_level()), 1)},
         {"centres", centres_of(result.parameters, kComponents)},
         {"covariances", covariances_of(spec, result.parameters)},
         {"mixing", result.parameters.values[2]}});
    cases.push_back({{"features", spec.features},
                     {"sparse", !spec.dense},
                     {"rows", rows_of(set, cache)},
                     {"start", centres_of(*run.start, kComponents)},
                     {"covariance", one.covariance == "full" ? "full" : "diag"},
                     {"covariances", covariances_of(spec, *run.start)},
                     {"mixing", run.start->values[2]},
                     {"reg_covar", one.reg_covar},
                     {"epochs", result.best.epoch}});
    EXPECT_GE(result.best.epoch, 4U);
  }
  const auto path = (folder() / "mixtures.json").string();
  std::ofstream(path) << cases.dump();
  const auto script = source_folder() / "virga/driver/sklearn_clusters.py";
  const auto witness = json::parse(run_python(script.string() + " " + path));
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto name = kCases[i].set + " " + kCases[i].covariance;
    // Parameters are rounded to floats in each of eight steps.
    EXPECT_NEAR(ours[i]["loss"].get<double>(), witness[i]["loss"].get<double>(), 1e-5) << name;
    for (const auto* what : {"centres", "covariances", "mixing"}) {
      expect_near(ours[i][what], witness[i][what], 1e-4, name + " " + what);
    }
  }
}

TEST_F(ClusterTraining, FindsTheHeapsAsComponentsAndThenStops) {
  const auto set = open_data_set((folder() / "blobs").string());
  GroupCache cache(*set.store, set.manifest, 1U << 24);
  for (const auto* covariance : {"diagonal", "full"}) {
    Job job;
    job.model.kind = "gaussian-mixture";
    job.model.covariance = covariance;
    auto run = run_of(job, set, cache, kBlobs, Seeding::kKMeansParallel);
    run.plan.epochs = 60;
    run.plan.algorithm.tolerance = 1e-4;
    const auto result = train(run, cache);
    EXPECT_EQ(result.reason, EndReason::kConverged);
    EXPECT_LT(result.last.epoch, run.plan.epochs);
    EXPECT_LT(result.last.train_loss, run.plan.constant_loss - 2);
  }
}

TEST_F(ClusterTraining, SplitsAComponentForOneThatHasLostItsRows) {
  const auto set = open_data_set((folder() / "blobs").string());
  GroupCache cache(*set.store, set.manifest, 1U << 24);
  for (const auto* covariance : {"diagonal", "full"}) {
    Job job;
    job.model.kind = "gaussian-mixture";
    job.model.covariance = covariance;
    auto run = run_of(job, set, cache, 2, Seeding::kKMeansParallel);
    for (std::size_t f = 0; f < 4; ++f) run.start->values[0][f * 2] = 1e4F;  // far from all rows
    const auto result = train(run, cache);
    for (const auto share : result.parameters.values[2]) EXPECT_GT(share, 0.05F);
    EXPECT_LT(result.last.train_loss, run.plan.constant_loss);
  }
}

}  // namespace
}  // namespace virga
