#include "virga/data/synthetic.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <numbers>

#include <fmt/format.h>

#include "virga/base/random.h"
#include "virga/math/elementary.h"

namespace virga {
namespace {

/// Uniform in (0, 1).
double uniform(std::uint32_t word) noexcept { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

/// Two independent standard normal numbers (Box and Muller, 1958).
std::array<double, 2> normals(std::uint32_t a, std::uint32_t b) noexcept {
  const double radius = std::sqrt(-2 * math::log(uniform(a)));
  const double angle = 2 * std::numbers::pi * uniform(b);
  // sin(x) = cos(x - pi / 2)
  return {radius * math::cos(angle), radius * math::cos(angle - std::numbers::pi / 2)};
}

/// The finaliser of MurmurHash3: levels become features that are spread evenly.
std::uint32_t mixed(std::uint32_t h) noexcept {
  h = (h ^ (h >> 16)) * 0x85EBCA6BU;
  h = (h ^ (h >> 13)) * 0xC2B2AE35U;
  return h ^ (h >> 16);
}

/// The words of one row, one after the other.
class RowRandom {
 public:
  RowRandom(const Random& random, std::uint64_t row) : random_(random), row_(row) {}
  std::uint32_t next() {
    if (used_ == 4) {
      words_ = random_.words(0, row_, draw_++);
      used_ = 0;
    }
    return words_[used_++];
  }

 private:
  const Random& random_;
  const std::uint64_t row_;
  std::array<std::uint32_t, 4> words_{};
  std::uint32_t draw_ = 0;
  std::size_t used_ = 4;
};

/// Epochs of Purpose::kGenerate: what a random number is for.
constexpr std::uint32_t kWeights = 1;

/// [count], standard normal.
std::vector<float> planted_weights(std::uint64_t seed, std::uint32_t count) {
  const Random random(seed, Purpose::kGenerate);
  std::vector<float> weights(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto words = random.words(kWeights, i);
    weights[i] = static_cast<float>(normals(words[0], words[1])[0]);
  }
  return weights;
}

/// Level 0, 1, ..., levels - 1 with a probability of about 1 / (level + 1): the inverse of a continuous distribution.
std::uint32_t zipf(double log_levels, std::uint32_t word) noexcept {
  return static_cast<std::uint32_t>(math::exp(log_levels * uniform(word))) - 1;
}

void append_number(std::string& text, float value) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  text.append(digits.data(), end);
}
void append_number(std::string& text, std::uint32_t value) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  text.append(digits.data(), end);
}

/// The planted model's last step: margin = bias + scale * (sum of the features' weights).
struct Link {
  double bias = 0;
  double scale = 1;
};

void finish(const Link& link, double sum, RowRandom& random, SyntheticRow& row) {
  row.margin = link.bias + link.scale * sum;
  row.label = uniform(random.next()) < math::sigmoid(row.margin) ? 1 : 0;
}

/// The bias that makes `rate` of the rows positive: Newton's method from `bias` on, with short steps.
double bias_for(const std::vector<double>& sums, double scale, double rate, double bias) {
  for (int step = 0; step < 4; ++step) {
    double positive = 0;
    double slope = 0;
    for (const double sum : sums) {
      const double probability = math::sigmoid(bias + scale * sum);
      positive += probability;
      slope += probability * (1 - probability);
    }
    bias += std::clamp((rate * static_cast<double>(sums.size()) - positive) / slope, -1.0, 1.0);
  }
  return bias;
}

/// The model's own log-loss: the mean entropy of the labels that it would draw.
double entropy(const std::vector<double>& sums, const Link& link) {
  double total = 0;
  for (const double sum : sums) {
    const double margin = link.bias + link.scale * sum;
    total += math::softplus(margin) - math::sigmoid(margin) * margin;
  }
  return total / static_cast<double>(sums.size());
}

/// The model with that rate of positive rows and that log-loss, whatever weights the seed gives: the larger the
/// weights, the surer it is. `sum_of(number)` is the sum of weights of a row; the first rows are the sample.
template <typename SumOf>
Link calibrated(double rate, double log_loss, const SumOf& sum_of) {
  constexpr std::uint64_t kSample = 20'000;
  std::vector<double> sums(kSample);
  for (std::uint64_t i = 0; i < kSample; ++i) sums[i] = sum_of(i);
  double low = 0;
  double high = 2;
  Link link;
  for (int step = 0; step < 16; ++step) {
    link.scale = (low + high) / 2;
    link.bias = bias_for(sums, link.scale, rate, link.bias);
    (entropy(sums, link) > log_loss ? low : high) = link.scale;
  }
  return link;
}

/// Rows whose labels a planted logistic model draws.
class Planted : public SyntheticData {
 public:
  void make(std::uint64_t number, SyntheticRow& row) const final {
    RowRandom random(random_, number);
    finish(link_, draw(random, row), random, row);
  }

 protected:
  /// `features`: weights of the model.
  Planted(std::uint64_t seed, std::uint32_t features)
      : random_(seed, Purpose::kGenerate), weights_(planted_weights(seed, features)) {}

  /// Chooses the link; for the end of a constructor, when draw() works.
  void calibrate(double rate, double log_loss) {
    SyntheticRow row;
    link_ = calibrated(rate, log_loss, [&](std::uint64_t number) {
      RowRandom random(random_, number);
      return draw(random, row);
    });
  }
  [[nodiscard]] double weight(std::uint32_t feature) const noexcept { return static_cast<double>(weights_[feature]); }

 private:
  /// Fills in all but label and margin; returns the sum of the features' weights.
  virtual double draw(RowRandom& random, SyntheticRow& row) const = 0;

  const Random random_;
  const std::vector<float> weights_;
  Link link_;
};

void append_label(const SyntheticRow& row, std::string& text) { text += row.label != 0 ? '1' : '0'; }

/// Numbers as LIBSVM's features 1, 2, ..., and as fields of CSV.
void append_entries(const std::vector<float>& numbers, std::string& text) {
  for (std::uint32_t i = 0; i < numbers.size(); ++i) {
    text += ' ';
    append_number(text, i + 1);
    text += ':';
    append_number(text, numbers[i]);
  }
}
void append_fields(const std::vector<float>& numbers, std::string& text) {
  for (const auto number : numbers) {
    text += ',';
    append_number(text, number);
  }
}

/// Logarithms of the numbers of levels of categorical columns: from 10 to `most`, evenly spaced.
template <std::size_t kCount>
std::array<double, kCount> log_levels(double most) {
  std::array<double, kCount> levels;
  for (std::uint32_t i = 0; i < kCount; ++i) levels[i] = math::log(10.0) + i * math::log(most / 10.0) / (kCount - 1);
  return levels;
}

class Ctr final : public Planted {
 public:
  explicit Ctr(std::uint64_t seed) : Planted(seed, kFeatures) { calibrate(kPositive, kLogLoss); }

  void append_libsvm(const SyntheticRow& row, std::string& text) const override {
    append_label(row, text);
    for (const auto id : row.ids) {
      text += ' ';
      append_number(text, id + 1);
      text += ":1";
    }
    text += '\n';
  }
  void append_csv(const SyntheticRow&, std::string&) const override {}
  std::string csv_header() const override { return {}; }

 private:
  static constexpr std::uint32_t kFields = 39;
  static constexpr std::uint32_t kFeatures = 1U << 20;
  static constexpr double kMostLevels = 60'000;
  static constexpr double kPositive = 0.26;
  static constexpr double kLogLoss = 0.413;

  double draw(RowRandom& random, SyntheticRow& row) const override {
    row.ids.clear();
    for (std::uint32_t field = 0; field < kFields; ++field) {
      row.ids.push_back(mixed(zipf(log_levels_[field], random.next()) * 64 + field) % kFeatures);
    }
    std::ranges::sort(row.ids);
    row.ids.erase(std::unique(row.ids.begin(), row.ids.end()), row.ids.end());
    double sum = 0;
    for (const auto id : row.ids) sum += weight(id);
    return sum;
  }

  const std::array<double, kFields> log_levels_ = log_levels<kFields>(kMostLevels);
};

class Criteo final : public Planted {
 public:
  explicit Criteo(std::uint64_t seed) : Planted(seed, kNumbers + kBuckets) { calibrate(kPositive, kLogLoss); }

  void append_libsvm(const SyntheticRow& row, std::string& text) const override {
    append_label(row, text);
    append_entries(row.numbers, text);
    std::array<std::uint32_t, kColumns> features;
    for (std::uint32_t i = 0; i < kColumns; ++i) features[i] = kNumbers + 1 + row.ids[i] % kBuckets;
    std::ranges::sort(features);
    const auto* const end = std::unique(features.begin(), features.end());
    for (const auto* feature = features.begin(); feature != end; ++feature) {
      text += ' ';
      append_number(text, *feature);
      text += ":1";
    }
    text += '\n';
  }
  void append_csv(const SyntheticRow& row, std::string& text) const override {
    append_label(row, text);
    append_fields(row.numbers, text);
    for (const auto level : row.ids) fmt::format_to(std::back_inserter(text), ",{:08x}", level);
    text += '\n';
  }
  std::string csv_header() const override {
    std::string header = "label";
    for (std::uint32_t i = 0; i < kNumbers; ++i) header += fmt::format(",I{}", i + 1);
    for (std::uint32_t i = 0; i < kColumns; ++i) header += fmt::format(",C{}", i + 1);
    return header + "\n";
  }

 private:
  static constexpr std::uint32_t kNumbers = 13;
  static constexpr std::uint32_t kColumns = 26;
  static constexpr std::uint32_t kBuckets = 100'000;
  static constexpr double kMostLevels = 30'000;
  static constexpr double kSlope = 2;
  static constexpr double kPositive = 0.26;
  static constexpr double kLogLoss = 0.435;

  double draw(RowRandom& random, SyntheticRow& row) const override {
    row.numbers.clear();
    row.ids.clear();
    double sum = 0;
    for (std::uint32_t i = 0; i < kNumbers; ++i) {
      // Most counts are small: squares of uniform numbers, with four digits.
      const double root = uniform(random.next());
      const auto value =
          static_cast<float>(static_cast<double>(static_cast<std::uint32_t>(root * root * 10'000)) / 10'000);
      row.numbers.push_back(value);
      sum += kSlope * static_cast<double>(static_cast<float>(weight(i)) * value);
    }
    for (std::uint32_t column = 0; column < kColumns; ++column) {
      row.ids.push_back(mixed(zipf(log_levels_[column], random.next()) * 32 + column));
      sum += weight(kNumbers + row.ids.back() % kBuckets);
    }
    return sum;
  }

  const std::array<double, kColumns> log_levels_ = log_levels<kColumns>(kMostLevels);
};

class Dense final : public Planted {
 public:
  explicit Dense(std::uint64_t seed) : Planted(seed, kFeatures) { calibrate(kPositive, kLogLoss); }

  void append_libsvm(const SyntheticRow& row, std::string& text) const override {
    append_label(row, text);
    append_entries(row.numbers, text);
    text += '\n';
  }
  void append_csv(const SyntheticRow& row, std::string& text) const override {
    append_label(row, text);
    append_fields(row.numbers, text);
    text += '\n';
  }
  std::string csv_header() const override {
    std::string header = "label";
    for (std::uint32_t i = 0; i < kFeatures; ++i) header += fmt::format(",x{}", i + 1);
    return header + "\n";
  }

 private:
  static constexpr std::uint32_t kFeatures = 28;
  static constexpr double kPositive = 0.53;
  static constexpr double kLogLoss = 0.5;

  double draw(RowRandom& random, SyntheticRow& row) const override {
    row.numbers.clear();
    double sum = 0;
    for (std::uint32_t i = 0; i < kFeatures; i += 2) {
      const auto first = random.next();
      const auto pair = normals(first, random.next());
      for (const auto normal : pair) {
        // Six digits, as measurements have them; each feature with a place and a scale of its own.
        const auto feature = static_cast<std::uint32_t>(row.numbers.size());
        sum += weight(feature) * normal;
        const double value = (1 + feature % 5) * normal + feature % 3;
        row.numbers.push_back(static_cast<float>(std::nearbyint(value * 1e4) / 1e4));
      }
    }
    return sum;
  }
};

}  // namespace

std::unique_ptr<SyntheticData> make_ctr(std::uint64_t seed) { return std::make_unique<Ctr>(seed); }
std::unique_ptr<SyntheticData> make_criteo(std::uint64_t seed) { return std::make_unique<Criteo>(seed); }
std::unique_ptr<SyntheticData> make_dense(std::uint64_t seed) { return std::make_unique<Dense>(seed); }

}  // namespace virga
