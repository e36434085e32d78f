#include "virga/training/evaluate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/data/block.h"
#include "virga/data/groups_testing.h"
#include "virga/data/scaling.h"
#include "virga/training/model_testing.h"
#include "virga/training/score.h"
#include "virga/training/split_loss.h"

namespace virga {
namespace {

using testing::HasSubstr;

std::vector<RowGroupPtr> binary_groups(std::uint32_t features, std::size_t count) {
  std::vector<RowGroupPtr> groups;
  for (std::size_t i = 0; i < count; ++i) {
    const GroupShape shape{.rows = i + 1 < count ? 100U : 37U,
                           .features = features,
                           .row_length = 10,
                           .same_length = false,
                           .values = GroupShape::Values::kFloats,
                           .weights = true};
    groups.push_back(std::make_shared<const RowGroup>(test_group(shape, i)));
  }
  return groups;
}

GroupStream stream_of(std::vector<RowGroupPtr> groups) {
  return
      [groups = std::move(groups), i = std::size_t{0}]() mutable { return i < groups.size() ? groups[i++] : nullptr; };
}

/// The groups as the validation split of an imported set with that encoding, in a folder that is deleted in the end.
class ImportedSet {
 public:
  ImportedSet(const Encoding& encoding, const std::vector<RowGroupPtr>& groups) {
    auto folder = (std::filesystem::temp_directory_path() / "virga_evaluate_test.XXXXXX").string();
    check(::mkdtemp(folder.data()) != nullptr, "a folder can be made");
    folder_ = folder;
    store_ = open_object_store(folder);
    manifest_.rows_per_group = 100;
    manifest_.encoding = encoding;
    BlockWriter writer(*store_, "validation/", /*target_bytes=*/20'000);
    for (const auto& group : groups) {
      writer.add(encode_group(*group), group->rows);
      manifest_.validation.rows += group->rows;
    }
    manifest_.validation.blocks = writer.finish();
  }
  ~ImportedSet() { std::filesystem::remove_all(folder_); }
  ImportedSet(const ImportedSet&) = delete;
  ImportedSet& operator=(const ImportedSet&) = delete;

  /// What `use` makes of a cache of the set as the model wants it.
  [[nodiscard]] auto with_cache(const ModelFile& model, const auto& use) const {
    const auto manifest = manifest_for(model, manifest_, "set");
    GroupCache cache(*store_, manifest, 1 << 20);
    return use(cache);
  }

  [[nodiscard]] Evaluation evaluated_by(const ModelFile& model, unsigned threads) const {
    return with_cache(model,
                      [&](GroupCache& cache) { return evaluate(model, cache, SplitName::kValidation, threads); });
  }
  [[nodiscard]] ScoredSplit scored_by(const ModelFile& model, unsigned threads) const {
    return with_cache(model, [&](GroupCache& cache) {
      return score_split(model, cache, SplitName::kValidation, kernels(best_simd_level()), threads);
    });
  }
  [[nodiscard]] double loss_of(const ModelFile& model) const {
    return with_cache(model, [&](GroupCache& cache) {
      return split_loss(cache, SplitName::kValidation, model.spec, model.parameters, kernels(best_simd_level()), 2);
    });
  }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<ObjectStore> store_;
  Manifest manifest_;
};

TEST(Evaluate, AddsUpAllGroupsWhateverTheNumberOfThreads) {
  const auto model = libsvm_model(ModelKind::kLogistic, 300, {"0", "1"});
  const auto groups = binary_groups(300, 20);
  Scorer scorer(model, 1);
  Metrics metrics(LossKind::kLogistic, 2);
  for (const auto& group : groups) {
    metrics.add(metrics_part(LossKind::kLogistic, 2, scorer.scores(0, *group), group->labels, group->weights));
  }
  const auto expected = metrics.finish();
  EXPECT_EQ(expected.rows, 1937U);
  for (const unsigned threads : {1U, 2U, 5U}) EXPECT_EQ(evaluate(model, stream_of(groups), threads), expected);
}

TEST(Evaluate, KnowsEveryKindOfModel) {
  const auto groups = binary_groups(50, 2);
  EXPECT_EQ(evaluate(libsvm_model(ModelKind::kSvm, 50, {"0", "1"}), stream_of(groups), 2).loss_kind, LossKind::kHinge);
  EXPECT_EQ(evaluate(libsvm_model(ModelKind::kSvmSquared, 50, {"0", "1"}), stream_of(groups), 2).loss_kind,
            LossKind::kSquaredHinge);
  EXPECT_EQ(evaluate(libsvm_model(ModelKind::kSoftmax, 50, {"0", "1", "2"}), stream_of(groups), 2)
                .classification->classes.size(),
            3U);
  EXPECT_TRUE(evaluate(libsvm_model(ModelKind::kLeastSquares, 50, {}), stream_of(groups), 2).regression.has_value());
}

TEST(Evaluate, RefusesAnEmptySet) {
  EXPECT_THAT(
      [] {
        static_cast<void>(evaluate(libsvm_model(ModelKind::kSvm, 5, {"0", "1"}), stream_of({}), 2));
      },
      testing::ThrowsMessage<Error>(HasSubstr("no rows")));
}

TEST(Evaluate, ReadsASplitOfAnImportedSetWithTheScalingOfTheModel) {
  const auto model = libsvm_model(ModelKind::kLogistic, 300, {"0", "1"});
  auto encoding = model.encoding;
  encoding.scale_factor = {7};  // as an import of its own would find other factors
  const auto groups = binary_groups(300, 8);
  std::vector<RowGroupPtr> scaled;
  for (const auto& group : groups) {
    auto copy = *group;
    scale(model.encoding, copy);
    scaled.push_back(std::make_shared<const RowGroup>(std::move(copy)));
  }

  const ImportedSet set(encoding, groups);
  const auto expected = evaluate(model, stream_of(scaled), 1);
  EXPECT_EQ(set.evaluated_by(model, 1), expected);
  EXPECT_EQ(set.evaluated_by(model, 3), expected);
}

TEST(ScoreSplit, HasTheBitsOfLossAndEvaluation) {
  const auto groups = binary_groups(300, 8);
  for (const auto kind : {ModelKind::kLogistic, ModelKind::kSvm, ModelKind::kSoftmax, ModelKind::kLeastSquares}) {
    const bool labels = kind != ModelKind::kLeastSquares;
    auto model = libsvm_model(kind, 300, labels ? std::vector<std::string>{"0", "1"} : std::vector<std::string>());
    if (labels) model.spec.class_weights = {1, 3};  // of the loss, not of the evaluation
    const ImportedSet set(model.encoding, groups);
    for (const unsigned threads : {1U, 3U}) {
      const auto scored = set.scored_by(model, threads);
      EXPECT_EQ(scored.loss, set.loss_of(model));
      ASSERT_EQ(scored.groups.size(), groups.size());
      EXPECT_EQ(evaluate(model, scored.groups, threads), set.evaluated_by(model, 2));
    }
  }
}

TEST(ScoreSplit, NumbersClassesAsTheModelDoes) {
  const auto model = libsvm_model(ModelKind::kSoftmax, 100, {"no", "perhaps", "yes"});
  auto encoding = model.encoding;
  encoding.classes = {"perhaps", "no"};
  encoding.task = Task::kBinary;
  const ImportedSet set(encoding, binary_groups(100, 3));
  EXPECT_EQ(evaluate(model, set.scored_by(model, 2).groups, 1), set.evaluated_by(model, 2));
}

TEST(ScoreSplit, PassesOnThatALossIsNotFinite) {
  auto model = libsvm_model(ModelKind::kLogistic, 300, {"0", "1"});
  model.parameters.values[0].assign(300, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(ImportedSet(model.encoding, binary_groups(300, 3)).scored_by(model, 2).loss));
}

TEST(Evaluate, MatchesClassesByTheirText) {
  const auto model = libsvm_model(ModelKind::kSoftmax, 100, {"no", "perhaps", "yes"});
  auto same = model.encoding;
  same.classes = {"no", "perhaps"};
  same.task = Task::kBinary;
  auto other = model.encoding;
  other.classes = {"perhaps", "no"};
  other.task = Task::kBinary;
  const auto groups = binary_groups(100, 3);
  std::vector<RowGroupPtr> swapped;
  for (const auto& group : groups) {
    auto copy = *group;
    for (auto& label : copy.labels) label = 1 - label;
    swapped.push_back(std::make_shared<const RowGroup>(std::move(copy)));
  }
  EXPECT_EQ(ImportedSet(other, swapped).evaluated_by(model, 2), ImportedSet(same, groups).evaluated_by(model, 2));
}

TEST(ManifestFor, RefusesSetsThatWereEncodedOtherwise) {
  const auto model = csv_model();
  const auto message = [&](const std::function<void(Encoding&)>& change) -> std::string {
    Manifest set{.encoding = model.encoding};
    change(set.encoding);
    try {
      static_cast<void>(manifest_for(model, set, "s3"));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.remedy(), HasSubstr("evaluate on the raw file"));
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([](Encoding&) {}), "no error");
  EXPECT_EQ(message([](Encoding& set) { set.scale_factor = {2}; }), "no error");
  EXPECT_EQ(message([](Encoding& set) { std::ranges::reverse(set.classes); }), "no error");
  EXPECT_EQ(message([](Encoding& set) { set.classes[0] = "never"; }),
            "the imported set s3 does not fit the model: the model does not know its class 'never'");
  EXPECT_THAT(message([](Encoding& set) { set.columns[2].levels.pop_back(); }),
              HasSubstr("column 'city' was encoded otherwise"));
  EXPECT_THAT(message([](Encoding& set) { set.columns[1].name = "years"; }),
              HasSubstr("column 2 is 'years', in the model's data 'age'"));
  EXPECT_THAT(message([](Encoding& set) { set.columns.pop_back(); }), HasSubstr("it has 4 columns"));
  EXPECT_THAT(message([](Encoding& set) { set.features = 13; }), HasSubstr("it has 13 features, the model 14"));
  EXPECT_THAT(message([](Encoding& set) { set.format = SourceFormat::kLibsvm; }), HasSubstr("it was read from libsvm"));
  EXPECT_THAT(message([](Encoding& set) { set.dense = true; }), HasSubstr("its rows are dense"));
  EXPECT_THAT(message([](Encoding& set) { set.missing = MissingPolicy::kZero; }), HasSubstr("missing values"));
  EXPECT_THAT(message([](Encoding& set) { set.image_shape = {2}; }), HasSubstr("another shape"));
  EXPECT_THAT(message([](Encoding& set) { set.feature_names.resize(14); }), HasSubstr("other names"));
  EXPECT_THAT(message([](Encoding& set) { set.task = Task::kRegression; }), HasSubstr("its labels are for regression"));
}

TEST(ManifestFor, TakesLibsvmSetsOfFewerFeatures) {
  const auto model = libsvm_model(ModelKind::kLogistic, 10, {"0", "1"});
  Manifest set{.encoding = model.encoding};
  set.encoding.features = 8;
  EXPECT_EQ(manifest_for(model, set, "set").encoding, model.encoding);
  set.encoding.features = 11;
  EXPECT_THROW(static_cast<void>(manifest_for(model, set, "set")), Error);
  set.encoding.features = 10;
  set.encoding.one_based = false;
  EXPECT_THROW(static_cast<void>(manifest_for(model, set, "set")), Error);
}

}  // namespace
}  // namespace virga
