#include "virga/training/warm_start.h"

#include <functional>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/data/scaling.h"

namespace virga {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kNumbers = 3;

/// Three classes of rows of three numbers.
Encoding numbers_encoding() {
  Encoding encoding{.format = SourceFormat::kCsv, .task = Task::kMulticlass, .features = kNumbers, .dense = true};
  encoding.classes = {"a", "b", "c"};
  for (std::uint32_t f = 0; f < kNumbers; ++f) {
    encoding.columns.push_back({.name = std::string(1, static_cast<char>('p' + f)),
                                .kind = ColumnEncoding::Kind::kNumeric,
                                .first_feature = f,
                                .features = 1,
                                .mean = 4});
  }
  encoding.scale = ScaleKind::kStandardise;
  encoding.scale_offset = {1, -2, 10};
  encoding.scale_factor = {0.5F, 3, 0.25F};
  return encoding;
}

ModelFile warm_model(const Encoding& encoding, ModelKind kind = ModelKind::kSoftmax) {
  ModelFile model;
  model.spec = {.kind = kind, .features = kNumbers, .classes = 3, .dense = true};
  model.encoding = encoding;
  model.parameters = Tables(layout_of(model.spec));
  for (auto& values : model.parameters.values) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.5F + static_cast<float>(i) * 0.25F;
  }
  return model;
}

/// Of output `c` for the raw row (2, 7, -3).
double score(const Tables& parameters, const Encoding& encoding, std::size_t c) {
  constexpr std::array kRow = {2.0F, 7.0F, -3.0F};
  double sum = double{parameters.values[1][c]};
  for (std::uint32_t f = 0; f < kNumbers; ++f) {
    sum += double{scaled(encoding, f, kRow[f])} * double{parameters.values[0][std::size_t{f} * 3 + c]};
  }
  return sum;
}

std::string warm_refusal(const ModelFile& model, const ModelSpec& spec, const Encoding& encoding) {
  try {
    std::ignore = warm_start(model, spec, encoding, "old.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("old.safetensors"));
    EXPECT_FALSE(error.remedy().empty());
    return error.what();
  }
  return "";
}

TEST(WarmStart, TakesTheParametersOfTheSameFeaturesAsTheyAre) {
  const auto model = warm_model(numbers_encoding());
  auto encoding = numbers_encoding();
  encoding.columns[1].mean = 5;
  EXPECT_EQ(warm_start(model, model.spec, encoding, "").values, model.parameters.values);
}

TEST(WarmStart, KeepsPredictionsWhenScalingDiffers) {
  const auto model = warm_model(numbers_encoding());
  for (const auto& [offset, factor] : std::vector<std::pair<std::vector<float>, std::vector<float>>>{
           {{3, 1, -8}, {2, 0.125F, 1}}, {{}, {}}, {{}, {4}}, {{2}, {}}}) {
    auto encoding = numbers_encoding();
    encoding.scale_offset = offset;
    encoding.scale_factor = factor;
    const auto start = warm_start(model, model.spec, encoding, "");
    for (std::size_t c = 0; c < 3; ++c) {
      const double expected = score(model.parameters, model.encoding, c);
      EXPECT_NEAR(score(start, encoding, c), expected, 1e-5 * (1 + std::abs(expected)));
    }
  }
}

TEST(WarmStart, RefusesFeaturesThatMeanSomethingElse) {
  const auto model = warm_model(numbers_encoding());
  const auto refused = [&](const std::function<void(Encoding&)>& change) {
    auto encoding = numbers_encoding();
    change(encoding);
    return warm_refusal(model, model.spec, encoding);
  };
  EXPECT_THAT(refused([](auto& e) { e.columns[1].name = "other"; }), HasSubstr("'other'"));
  EXPECT_THAT(refused([](auto& e) { std::swap(e.columns[0].name, e.columns[1].name); }), HasSubstr("column 1"));
  EXPECT_THAT(refused([](auto& e) { e.columns[2].kind = ColumnEncoding::Kind::kHashed; }), HasSubstr("otherwise"));
  EXPECT_THAT(refused([](auto& e) { e.columns[2].levels = {"x"}; }), HasSubstr("otherwise"));
  EXPECT_THAT(refused([](auto& e) { std::swap(e.classes[0], e.classes[1]); }), HasSubstr("classes"));
  EXPECT_THAT(refused([](auto& e) { e.classes.pop_back(); }), HasSubstr("classes"));
  EXPECT_THAT(refused([](auto& e) { e.missing = MissingPolicy::kZero; }), HasSubstr("missing"));
}

TEST(WarmStart, RefusesAnotherKindOrShape) {
  const auto model = warm_model(numbers_encoding());
  auto spec = model.spec;
  spec.kind = ModelKind::kLogistic;
  EXPECT_THAT(warm_refusal(model, spec, numbers_encoding()), HasSubstr("kind softmax, the job's is logistic"));
  spec = model.spec;
  spec.fit_bias = false;
  EXPECT_THAT(warm_refusal(model, spec, numbers_encoding()), HasSubstr("bias"));
}

TEST(WarmStart, RefusesAScalingThatAModelCannotMakeUpFor) {
  auto encoding = numbers_encoding();
  encoding.scale_offset = {};
  auto without_bias = warm_model(numbers_encoding());
  without_bias.spec.fit_bias = false;
  without_bias.parameters = Tables(layout_of(without_bias.spec));
  EXPECT_THAT(warm_refusal(without_bias, without_bias.spec, encoding), HasSubstr("scaled otherwise"));

  auto sparse_encoding = numbers_encoding();
  sparse_encoding.dense = false;
  auto sparse = warm_model(sparse_encoding);
  sparse.spec.dense = false;
  sparse.parameters = Tables(layout_of(sparse.spec));
  encoding.dense = false;
  EXPECT_EQ(warm_refusal(sparse, sparse.spec, encoding), "") << "each row has these numbers";
  sparse.encoding.columns.clear();
  encoding.columns.clear();
  EXPECT_THAT(warm_refusal(sparse, sparse.spec, encoding), HasSubstr("scaled otherwise"));
  encoding.scale_offset = sparse_encoding.scale_offset;
  encoding.scale_factor = {2};
  EXPECT_EQ(warm_refusal(sparse, sparse.spec, encoding), "");

  auto clusters = warm_model(numbers_encoding(), ModelKind::kKMeans);
  clusters.spec.clusters = 2;
  clusters.parameters = Tables(layout_of(clusters.spec));
  EXPECT_EQ(warm_refusal(clusters, clusters.spec, numbers_encoding()), "");
  encoding = numbers_encoding();
  encoding.scale_factor = {};
  EXPECT_THAT(warm_refusal(clusters, clusters.spec, encoding), HasSubstr("scaled otherwise"));
}

}  // namespace
}  // namespace virga
