#include "virga/model/model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/batch/mini_batch.h"

namespace virga {
namespace {

constexpr std::uint32_t kFeatures = 400;
constexpr ModelKind kKinds[] = {ModelKind::kLogistic, ModelKind::kSvm, ModelKind::kSvmSquared, ModelKind::kSoftmax,
                                ModelKind::kLeastSquares};

/// What a test varies.
struct Case {
  ModelKind kind = ModelKind::kLogistic;
  std::uint32_t classes = 2;
  bool dense = false;
  bool values = true;
  bool weights = false;
  bool class_weights = false;
  bool bias = true;
};

std::string describe(const Case& c) {
  return std::string(to_string(c.kind)) + " classes=" + std::to_string(c.classes) + (c.dense ? " dense" : " sparse") +
         (c.values ? " values" : " binary") + (c.weights ? " weights" : "") +
         (c.class_weights ? " class-weights" : "") + (c.bias ? "" : " no-bias");
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto kind : kKinds) {
    const bool softmax = kind == ModelKind::kSoftmax;
    for (const std::uint32_t classes :
         softmax ? std::vector<std::uint32_t>{3, 10, 20} : std::vector<std::uint32_t>{2}) {
      for (unsigned bits = 0; bits < 32; ++bits) {
        const Case c = {
            kind, classes, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
        if (kind == ModelKind::kLeastSquares && c.class_weights) continue;
        if (c.dense && !c.values) continue;
        all.push_back(c);
      }
    }
  }
  return all;
}

ModelSpec spec_of(const Case& c) {
  ModelSpec spec = {.kind = c.kind, .features = kFeatures, .classes = c.classes, .dense = c.dense, .fit_bias = c.bias};
  for (std::uint32_t k = 0; c.class_weights && k < c.classes; ++k)
    spec.class_weights.push_back(0.5F + static_cast<float>(k));
  return spec;
}

/// A group of `rows` rows with 0 to 24 entries; every ninth row is empty. Feature ids differ from group to group.
RowGroupPtr make_group(const Case& c, std::uint32_t number, std::uint32_t rows = 90) {
  const Random random(21, Purpose::kTest);
  auto group = std::make_shared<RowGroup>();
  group->rows = rows;
  std::vector<float> matrix(std::size_t{rows} * kFeatures);
  for (std::uint32_t i = 0; i < rows; ++i) {
    const auto entries = i % 9 == 4 ? 0 : random.below(25, number, i, 0);
    for (std::uint32_t e = 0; e < entries; ++e) {
      const auto feature = random.below(kFeatures, number, i, 1 + e);
      const auto value = static_cast<float>(random.uniform(number + 100, i, e) * 2 - 1);
      matrix[std::size_t{i} * kFeatures + feature] = c.values ? value : 1.0F;
    }
    group->labels.push_back(c.kind == ModelKind::kLeastSquares
                                ? static_cast<float>(random.uniform(number, i, 50) * 4)
                                : static_cast<float>(random.below(c.classes, number, i, 51)));
    if (c.weights) group->weights.push_back(static_cast<float>(random.uniform(number, i, 52) * 2));
  }
  if (c.dense) {
    group->dense = true;
    group->columns = kFeatures;
    group->matrix.assign(matrix.begin(), matrix.end());
    return group;
  }
  for (std::uint32_t f = 0; f < kFeatures; ++f) {
    for (std::uint32_t i = 0; i < rows; ++i) {
      if (matrix[std::size_t{i} * kFeatures + f] != 0 && (group->keys.empty() || group->keys.back() != f))
        group->keys.push_back(f);
    }
  }
  group->row_begin.push_back(0);
  for (std::uint32_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < group->keys.size(); ++k) {
      const float value = matrix[std::size_t{i} * kFeatures + group->keys[k]];
      if (value == 0) continue;
      group->indices16.push_back(static_cast<std::uint16_t>(k));
      if (c.values) group->values.push_back(value);
    }
    group->row_begin.push_back(static_cast<std::uint32_t>(group->indices16.size()));
  }
  return group;
}

Tables random_parameters(const ModelSpec& spec) {
  const Random random(22, Purpose::kTest);
  Tables tables(layout_of(spec));
  for (std::uint32_t t = 0; t < tables.values.size(); ++t) {
    for (std::size_t i = 0; i < tables.values[t].size(); ++i) {
      tables.values[t][i] = static_cast<float>(random.uniform(t, i) - 0.5);
    }
  }
  return tables;
}

CompactParameters compact(const Tables& tables, const MiniBatch& batch) {
  CompactParameters compact;
  for (std::size_t t = 0; t < tables.values.size(); ++t) {
    if (!tables.layout[t].sparse) {
      compact.tables.push_back(tables.values[t]);
      continue;
    }
    const std::size_t width = tables.layout[t].width;
    auto& rows = compact.tables.emplace_back();
    for (const auto key : batch.keys) {
      for (std::size_t c = 0; c < width; ++c) rows.push_back(tables.values[t][key * width + c]);
    }
  }
  return compact;
}

/// Gradient and loss in double, straight from the definitions, over full tables.
struct Reference {
  std::vector<std::vector<double>> tables;
  double loss = 0;
  double weight = 0;
  double magnitude = 0;  // sum of the absolute terms of the largest sum
};

double value_of(const RowGroup& group, std::uint32_t row, std::uint32_t feature) {
  if (group.dense) return static_cast<double>(group.matrix[std::size_t{row} * group.columns + feature]);
  for (auto j = group.row_begin[row]; j < group.row_begin[row + 1]; ++j) {
    if (group.keys[group.index(j)] == feature) return group.values.empty() ? 1.0 : static_cast<double>(group.values[j]);
  }
  return 0;
}

/// Loss of a row from its scores; r becomes the derivatives.
double row_loss(const ModelSpec& spec, const std::vector<double>& z, double label, std::vector<double>& r) {
  const double s = label > 0.5 ? 1 : -1;
  const double slack = std::max(0.0, 1 - s * z[0]);
  switch (spec.kind) {
    case ModelKind::kLogistic:
      r[0] = -s / (1 + std::exp(s * z[0]));
      return std::log1p(std::exp(-s * z[0]));
    case ModelKind::kSvm:
      r[0] = slack > 0 ? -s : 0;
      return slack;
    case ModelKind::kSvmSquared:
      r[0] = -2 * s * slack;
      return slack * slack;
    case ModelKind::kLeastSquares:
      r[0] = 2 * (z[0] - label);
      return (z[0] - label) * (z[0] - label);
    case ModelKind::kSoftmax:
    case ModelKind::kKMeans:
    case ModelKind::kGaussianMixture:
      break;
  }
  double sum = 0;
  for (const double score : z) sum += std::exp(score);
  for (std::size_t c = 0; c < z.size(); ++c) r[c] = std::exp(z[c]) / sum - (static_cast<double>(c) == label ? 1 : 0);
  return std::log(sum) - z[static_cast<std::size_t>(label)];
}

Reference reference(const ModelSpec& spec, const std::vector<std::vector<double>>& parameters,
                    const std::vector<RowRange>& ranges) {
  const std::size_t width = spec.kind == ModelKind::kSoftmax ? spec.classes : 1;
  Reference out;
  for (const auto& table : parameters) out.tables.emplace_back(table.size());
  for (const auto& range : ranges) {
    const auto& group = *range.group;
    for (auto i = range.first_row; i < range.last_row; ++i) {
      std::vector<double> z(width);
      std::vector<double> r(width);
      std::vector<double> x(kFeatures);
      for (std::size_t c = 0; spec.fit_bias && c < width; ++c) z[c] = parameters[1][c];
      for (std::uint32_t f = 0; f < kFeatures; ++f) {
        x[f] = value_of(group, i, f);
        for (std::size_t c = 0; x[f] != 0 && c < width; ++c) z[c] += x[f] * parameters[0][f * width + c];
      }
      double weight = group.weights.empty() ? 1 : static_cast<double>(group.weights[i]);
      if (!spec.class_weights.empty())
        weight *= static_cast<double>(spec.class_weights[static_cast<std::size_t>(group.labels[i])]);
      out.loss += weight * row_loss(spec, z, static_cast<double>(group.labels[i]), r);
      out.weight += weight;
      double largest = 0;
      for (const double residual : r) largest = std::max(largest, std::abs(residual));
      out.magnitude += weight * largest;
      for (std::size_t c = 0; c < width; ++c) {
        if (spec.fit_bias) out.tables[1][c] += weight * r[c];
        for (std::uint32_t f = 0; f < kFeatures; ++f) {
          if (x[f] != 0) out.tables[0][f * width + c] += weight * r[c] * x[f];
        }
      }
    }
  }
  return out;
}

std::vector<std::vector<double>> in_double(const Tables& tables) {
  std::vector<std::vector<double>> all;
  for (const auto& table : tables.values) all.emplace_back(table.begin(), table.end());
  return all;
}

/// The contribution spread over full tables.
std::vector<std::vector<float>> spread(const Contribution& contribution, const Layout& layout) {
  std::vector<std::vector<float>> all;
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& table = contribution.tables[t];
    if (table.whole) {
      all.push_back(table.values);
      continue;
    }
    auto& full = all.emplace_back(layout[t].size());
    const std::size_t width = layout[t].width;
    for (std::size_t k = 0; k < table.keys.size(); ++k) {
      for (std::size_t c = 0; c < width; ++c) full[table.keys[k] * width + c] = table.values[k * width + c];
    }
  }
  return all;
}

/// A whole group, parts of groups, several groups, groups twice; ends with an empty range.
std::vector<std::vector<RowRange>> range_sets(const Case& c) {
  const auto a = make_group(c, 0);
  const auto b = make_group(c, 1, 41);
  return {{{a, 0, 90}},
          {{a, 13, 57}},
          {{b, 4, 5}},
          {{a, 80, 90}, {b, 0, 41}, {a, 0, 20}},
          {{a, 0, 90}, {b, 0, 41}, {b, 7, 7}},
          {}};
}

void expect_equal_to_reference(const Case& c, const std::vector<RowRange>& ranges, Model& model, Contribution& out) {
  const auto spec = spec_of(c);
  const auto parameters = random_parameters(spec);
  BatchAssembler assembler(kFeatures);
  const auto batch = assembler.assemble(ranges);

  model.gradient(batch, compact(parameters, batch), out);

  const auto expected = reference(spec, in_double(parameters), ranges);
  // A residual is off by some roundings of scores of at most 13 (24 terms of 1/2, bias 1/2); a gradient by those of its
  // terms, which partly cancel, and by some roundings of sums that are at most the sum of all |residuals|.
  const double tolerance = 0x1p-24 * (13 * 8 + 3 * expected.magnitude);
  EXPECT_NEAR(out.loss, expected.loss, 1e-5 * (1 + expected.loss));
  EXPECT_NEAR(out.weight, expected.weight, 1e-6 * expected.weight);
  EXPECT_EQ(out.examples, batch.rows);
  ASSERT_EQ(out.tables.size(), layout_of(spec).size());
  EXPECT_EQ(out.tables[0].whole, c.dense);
  if (!c.dense) {
    EXPECT_EQ(out.tables[0].keys, batch.keys);
  }
  const auto full = spread(out, layout_of(spec));
  for (std::size_t t = 0; t < full.size(); ++t) {
    ASSERT_EQ(full[t].size(), expected.tables[t].size());
    for (std::size_t i = 0; i < full[t].size(); ++i) {
      ASSERT_NEAR(static_cast<double>(full[t][i]), expected.tables[t][i], tolerance) << t << " " << i;
    }
  }
}

TEST(Model, GradientAgreesWithTheDefinitionInDouble) {
  for (const auto& c : all_cases()) {
    SCOPED_TRACE(describe(c));
    const auto model = make_model(spec_of(c));
    Contribution out;  // used again: what an earlier batch left must not show
    for (const auto& ranges : range_sets(c)) expect_equal_to_reference(c, ranges, *model, out);
  }
}

TEST(Model, ReferenceGradientIsTheDerivativeOfTheLoss) {
  for (const auto& c : all_cases()) {
    if (c.dense || !c.weights) continue;
    SCOPED_TRACE(describe(c));
    const auto spec = spec_of(c);
    auto parameters = in_double(random_parameters(spec));
    const std::vector<RowRange> ranges = {{make_group(c, 3, 30), 0, 30}};
    const auto gradient = reference(spec, parameters, ranges).tables;
    for (std::size_t t = 0; t < parameters.size(); ++t) {
      for (std::size_t i = 0; i < parameters[t].size(); i += 1 + parameters[t].size() / 23) {
        constexpr double kStep = 1e-6;
        const double at = parameters[t][i];
        parameters[t][i] = at + kStep;
        const double above = reference(spec, parameters, ranges).loss;
        parameters[t][i] = at - kStep;
        const double below = reference(spec, parameters, ranges).loss;
        parameters[t][i] = at;
        EXPECT_NEAR((above - below) / (2 * kStep), gradient[t][i], 1e-6) << t << " " << i;
      }
    }
  }
}

TEST(Model, EveryLevelGivesTheSameBits) {
  for (const auto& c : all_cases()) {
    SCOPED_TRACE(describe(c));
    const auto spec = spec_of(c);
    const auto parameters = random_parameters(spec);
    BatchAssembler assembler(kFeatures);
    for (const auto& ranges : range_sets(c)) {
      const auto batch = assembler.assemble(ranges);
      Contribution expected;
      make_model(spec, kernels(SimdLevel::kScalar))->gradient(batch, compact(parameters, batch), expected);
      for (const auto level : {SimdLevel::kAvx2, SimdLevel::kAvx512}) {
        if (!has_simd_level(level)) continue;
        Contribution out;
        make_model(spec, kernels(level))->gradient(batch, compact(parameters, batch), out);
        for (std::size_t t = 0; t < out.tables.size(); ++t) {
          const auto& a = out.tables[t].values;
          const auto& b = expected.tables[t].values;
          EXPECT_TRUE(std::ranges::equal(a, b, [](float x, float y) {
            return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
          })) << to_string(level);
        }
        EXPECT_EQ(std::bit_cast<std::uint64_t>(out.loss), std::bit_cast<std::uint64_t>(expected.loss));
        EXPECT_EQ(out.weight, expected.weight);
      }
    }
  }
}

TEST(Model, SparseAndDenseRowsGiveTheSameScores) {
  for (const auto kind : kKinds) {
    const std::uint32_t classes = kind == ModelKind::kSoftmax ? 5 : 2;
    const Case sparse = {.kind = kind, .classes = classes};
    const Case dense = {.kind = kind, .classes = classes, .dense = true};
    const auto parameters = random_parameters(spec_of(sparse));
    std::vector<float> of_sparse(std::size_t{90} * (kind == ModelKind::kSoftmax ? classes : 1));
    auto of_dense = of_sparse;
    make_model(spec_of(sparse))->scores(*make_group(sparse, 0), parameters, of_sparse);
    make_model(spec_of(dense))->scores(*make_group(dense, 0), parameters, of_dense);
    // At most 24 terms of at most 1/2, summed in another order.
    for (std::size_t i = 0; i < of_sparse.size(); ++i) EXPECT_NEAR(of_sparse[i], of_dense[i], 24 * 12 * 0x1p-24);
  }
}

TEST(Model, EvaluationAgreesWithTheGradientsLoss) {
  for (const auto& c : all_cases()) {
    SCOPED_TRACE(describe(c));
    const auto spec = spec_of(c);
    const auto parameters = random_parameters(spec);
    const auto group = make_group(c, 5, 70);
    const std::vector<RowRange> ranges = {{group, 0, 70}};
    const auto batch = BatchAssembler(kFeatures).assemble(ranges);
    const auto model = make_model(spec);
    Contribution out;
    model->gradient(batch, compact(parameters, batch), out);

    const auto sums = model->losses(*group, parameters);

    EXPECT_EQ(sums.loss, out.loss);
    EXPECT_EQ(sums.weight, out.weight);
    EXPECT_EQ(sums.examples, 70U);

    std::vector<float> scores(std::size_t{70} * outputs_of(spec)), scores_of_both(scores.size());
    model->scores(*group, parameters, scores);
    const auto both = model->losses_and_scores(*group, parameters, scores_of_both);
    EXPECT_EQ(both.loss, sums.loss);
    EXPECT_EQ(both.weight, sums.weight);
    EXPECT_EQ(scores_of_both, scores);
  }
}

TEST(Model, ReadsDictionariesOfMoreThan65536Keys) {
  constexpr std::uint32_t kKeys = 70'000;
  auto group = std::make_shared<RowGroup>();
  group->rows = 7000;
  group->row_begin = {0};
  for (std::uint32_t k = 0; k < kKeys; ++k) group->keys.push_back(2 * k);
  for (std::uint32_t i = 0; i < group->rows; ++i) {
    for (std::uint32_t e = 0; e < 10; ++e) group->indices32.push_back(i * 10 + e);
    group->row_begin.push_back(static_cast<std::uint32_t>(group->indices32.size()));
    group->labels.push_back(0);
  }
  const ModelSpec spec = {.kind = ModelKind::kLeastSquares, .features = 2 * kKeys, .fit_bias = false};
  Tables parameters(layout_of(spec));
  for (std::size_t i = 0; i < parameters.values[0].size(); ++i) parameters.values[0][i] = static_cast<float>(i % 8);

  std::vector<float> scores(group->rows);
  make_model(spec)->scores(*group, parameters, scores);

  for (std::uint32_t i = 0; i < group->rows; ++i) {
    float expected = 0;
    for (std::uint32_t e = 0; e < 10; ++e) expected += static_cast<float>(2 * (i * 10 + e) % 8);
    ASSERT_EQ(scores[i], expected);
  }
}

TEST(Model, ANonFiniteParameterGivesANonFiniteLoss) {
  for (const auto kind : kKinds) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      const Case c = {.kind = kind, .classes = kind == ModelKind::kSoftmax ? 3U : 2U};
      auto parameters = random_parameters(spec_of(c));
      std::ranges::fill(parameters.values[1], bad);
      EXPECT_FALSE(std::isfinite(make_model(spec_of(c))->losses(*make_group(c, 0), parameters).loss));
    }
  }
}

TEST(Model, RefusesLabelsThatItHasNoClassFor) {
  const Case c = {.kind = ModelKind::kSoftmax, .classes = 5};
  auto spec = spec_of(c);
  spec.classes = 4;
  const auto parameters = random_parameters(spec);
  EXPECT_THROW(std::ignore = make_model(spec)->losses(*make_group(c, 0), parameters), Error);
}

TEST(Model, RefusesClassWeightsThatDoNotFit) {
  EXPECT_THROW(std::ignore = make_model({.kind = ModelKind::kLogistic, .features = 1, .class_weights = {1, 2, 3}}),
               Error);
  EXPECT_THROW(std::ignore = make_model({.kind = ModelKind::kLeastSquares, .features = 1, .class_weights = {1, 2}}),
               Error);
}

TEST(Model, LayoutNamesTheTables) {
  const auto layout = layout_of({.kind = ModelKind::kSoftmax, .features = 7, .classes = 3});
  ASSERT_EQ(layout.size(), 2U);
  EXPECT_EQ(layout[0], (TableSpec{.name = "weights", .rows = 7, .width = 3, .regularised = true, .sparse = true}));
  EXPECT_EQ(layout[1], (TableSpec{.name = "bias", .rows = 1, .width = 3, .regularised = false, .sparse = false}));
  EXPECT_EQ(layout_of({.kind = ModelKind::kSvm, .features = 7, .dense = true, .fit_bias = false}),
            (Layout{{.name = "weights", .rows = 7, .width = 1, .regularised = true, .sparse = false}}));
}

}  // namespace
}  // namespace virga
