#include "virga/training/predict.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/math/elementary.h"
#include "virga/training/ordered_parallel.h"
#include "virga/training/score.h"

namespace virga {
namespace {

/// The shortest text that reads back as `value`.
void append_number(std::string& text, float value) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  text.append(digits.data(), end);
}

/// A field of a CSV file (RFC 4180): in quotes if it must be. An empty one is, so that no line is blank.
std::string csv_field(const std::string& text) {
  if (!text.empty() && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + '"';
}

/// Probabilities of all classes in double, into `out`.
void softmax(std::span<const float> scores, std::vector<double>& out) {
  const auto largest = *std::ranges::max_element(scores);
  double sum = 0;
  out.clear();
  for (const auto score : scores) {
    // Equal infinities differ by 0.
    out.push_back(score == largest ? 1 : math::exp(static_cast<double>(score) - static_cast<double>(largest)));
    sum += out.back();
  }
  for (auto& value : out) value /= sum;
}

class RowWriter {
 public:
  RowWriter(const ModelFile& model, PredictionKind kind)
      : loss_(loss_kind(model.spec.kind)),
        regression_(!is_of_clusters(loss_) && model.encoding.classes.empty()),
        kind_(kind) {
    for (const auto& name : model.encoding.classes) labels_.push_back(csv_field(name));
  }

  void append(std::string& text, std::span<const float> scores, std::vector<double>& scratch) const {
    if (loss_ == LossKind::kSquaredDistance) {
      append_distances(text, scores, scratch);
    } else if (loss_ == LossKind::kNegativeLogLikelihood) {
      append_component(text, scores, scratch);
    } else if (kind_ == PredictionKind::kLabel && !regression_) {
      text += labels_[predicted_class(scores)];
    } else if (kind_ == PredictionKind::kProbability && scores.size() == 1) {
      append_number(text, static_cast<float>(math::sigmoid(static_cast<double>(scores.front()))));
    } else if (kind_ == PredictionKind::kProbability) {
      softmax(scores, scratch);
      append_columns(text, scratch);
    } else {
      append_columns(text, scores);
    }
    text += '\n';
  }

 private:
  /// Of squared distances to all clusters: the nearest and how far it is, or how far all are.
  void append_distances(std::string& text, std::span<const float> squares, std::vector<double>& scratch) const {
    scratch.clear();
    if (kind_ == PredictionKind::kLabel) {
      const auto nearest = cluster_of(loss_, squares);
      text += fmt::format("{},", nearest);
      squares = squares.subspan(nearest, 1);
    }
    for (const auto square : squares) scratch.push_back(std::sqrt(double{square}));
    append_columns(text, scratch);
  }

  /// Of the logarithms of all components' probabilities, and then of the row's density: the most probable component
  /// and the latter, all probabilities, or all as they are.
  void append_component(std::string& text, std::span<const float> scores, std::vector<double>& scratch) const {
    if (kind_ == PredictionKind::kRaw) return append_columns(text, scores);
    if (kind_ == PredictionKind::kProbability) {
      softmax(scores.first(scores.size() - 1), scratch);
      return append_columns(text, scratch);
    }
    text += fmt::format("{},", cluster_of(loss_, scores));
    append_columns(text, scores.last(1));
  }

  template <typename Values>
  static void append_columns(std::string& text, const Values& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) text += ',';
      append_number(text, static_cast<float>(values[i]));
    }
  }

  const LossKind loss_;
  const bool regression_;
  const PredictionKind kind_;
  std::vector<std::string> labels_;  // as fields
};

struct Lines {
  std::uint64_t rows = 0;
  std::string text;
};

void check_probabilities(const ModelFile& model) {
  for (const auto kind : {ModelKind::kLogistic, ModelKind::kSoftmax, ModelKind::kGaussianMixture}) {
    if (model.spec.kind == kind) return;
  }
  throw Error(ErrorKind::kUsage, fmt::format("a model of kind {} gives no probabilities", to_string(model.spec.kind)),
              "ask for --output label or raw, or train a model of kind logistic, softmax or gaussian-mixture");
}

}  // namespace

PredictionKind parse_prediction_kind(std::string_view word) {
  if (word == "label") return PredictionKind::kLabel;
  if (word == "probability") return PredictionKind::kProbability;
  if (word == "raw") return PredictionKind::kRaw;
  throw Error(ErrorKind::kUsage, fmt::format("predictions of kind '{}' are not known", word),
              "use label, probability or raw");
}

std::string prediction_header(const ModelFile& model, PredictionKind kind) {
  if (has_clusters(model.spec.kind)) {
    const bool mixture = model.spec.kind == ModelKind::kGaussianMixture;
    if (kind == PredictionKind::kLabel) return mixture ? "cluster,log_likelihood\n" : "cluster,distance\n";
    std::string line;
    for (std::uint32_t c = 0; c < model.spec.clusters; ++c) line += fmt::format("{},", c);
    if (mixture && kind == PredictionKind::kRaw) return line + "log_likelihood\n";
    line.back() = '\n';
    return line;
  }
  if (kind == PredictionKind::kLabel || outputs_of(model.spec) == 1) return {};
  std::string line;
  for (const auto& name : model.encoding.classes) line += csv_field(name) + ',';
  line.back() = '\n';
  return line;
}

std::uint64_t predict(const ModelFile& model, const GroupStream& next, PredictionKind kind, unsigned threads,
                      const TextSink& write) {
  if (kind == PredictionKind::kProbability) check_probabilities(model);
  const RowWriter writer(model, kind);
  Scorer scorer(model, threads);
  std::uint64_t rows = 0;
  if (const auto header = prediction_header(model, kind); !header.empty()) write(header);
  ordered_parallel(
      threads,
      [&]() -> std::optional<RowGroupPtr> {
        auto group = next();
        if (!group) return std::nullopt;
        return group;
      },
      [&](unsigned thread, const RowGroupPtr& group) {
        const auto scores = scorer.scores(thread, *group);
        check_scores(scores);
        Lines lines{.rows = group->rows};
        std::vector<double> scratch;
        const std::size_t width = outputs_of(model.spec);
        for (std::size_t row = 0; row < group->rows; ++row) {
          writer.append(lines.text, scores.subspan(row * width, width), scratch);
        }
        return lines;
      },
      [&](const Lines& lines) {
        write(lines.text);
        rows += lines.rows;
      });
  return rows;
}

}  // namespace virga
