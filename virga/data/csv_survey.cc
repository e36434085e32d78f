#include "virga/data/csv_survey.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

using Kind = ColumnEncoding::Kind;
constexpr std::uint32_t kHashBits = 24;
constexpr std::uint32_t kMostBuckets = 1U << 22;

/// How many buckets are in use if only the lowest `bits` of the hash values count.
std::uint64_t buckets_in_use(std::vector<std::uint64_t> hashes, std::uint32_t bits) {
  for (std::size_t words = hashes.size(); words > (std::size_t{1} << bits) / 64; words /= 2) {
    for (std::size_t i = 0; i < words / 2; ++i) hashes[i] |= hashes[i + words / 2];
    hashes.resize(words / 2);
  }
  std::uint64_t used = 0;
  for (const auto word : hashes) used += static_cast<std::uint64_t>(std::popcount(word));
  return used;
}

}  // namespace

void CsvSurvey::Moments::add(float value) noexcept {
  smallest = count == 0 ? value : std::min(smallest, value);
  largest = count == 0 ? value : std::max(largest, value);
  ++count;
  // Welford, "Note on a method for calculating corrected sums of squares and products", 1962.
  const double difference = static_cast<double>(value) - mean;
  mean += difference / static_cast<double>(count);
  square += difference * (static_cast<double>(value) - mean);
}

void CsvSurvey::Moments::merge(const Moments& other) noexcept {
  missing += other.missing;
  if (other.count == 0) return;
  if (count == 0) {
    const auto missing_before = missing;
    *this = other;
    missing = missing_before;
    return;
  }
  smallest = std::min(smallest, other.smallest);
  largest = std::max(largest, other.largest);
  const double difference = other.mean - mean;
  const auto total = static_cast<double>(count + other.count);
  const double share = static_cast<double>(other.count) / total;
  mean += difference * share;
  square += other.square + difference * difference * share * static_cast<double>(count);
  count += other.count;
}

void CsvSurvey::Levels::add(const std::string& column, const std::string& text) {
  const auto add_hash = [&](const std::string& level) {
    const auto hash = murmur3_x86_32(column + "=" + level) & ((1U << kHashBits) - 1);
    hashes[hash / 64] |= std::uint64_t{1} << (hash % 64);
  };
  if (!hashes.empty()) {
    add_hash(text);
    return;
  }
  texts.insert(text);
  if (texts.size() <= kMostLevels) return;
  hashes.resize((std::size_t{1} << kHashBits) / 64);
  for (const auto& level : texts) add_hash(level);
  texts.clear();
}

CsvSurvey::CsvSurvey(const CsvDraft& draft, std::function<bool(std::uint64_t item)> is_training)
    : draft_(draft),
      is_training_(std::move(is_training)),
      reader_(draft_.encoding, draft_.label_is_word, true),
      moments_(draft.encoding.columns.size()),
      levels_(draft.encoding.columns.size()) {}

void CsvSurvey::add(const CsvChunk& chunk, ParsedRows& rows) {
  rows.clear();
  const auto& columns = draft_.encoding.columns;
  ChunkResult result;
  result.moments.resize(columns.size());
  result.levels.resize(columns.size());
  std::string text;
  read_csv_cells(chunk, draft_.encoding, reader_, rows, [&](std::uint64_t item, const CsvCells& cells) {
    if (!draft_.label_is_word) {
      result.labels.push_back({.label = cells.label});
    } else if (result.words.find(cells.label_text) == result.words.end() && result.words.size() <= kMostClasses) {
      result.words.emplace(cells.label_text);
    }
    if (!is_training_(item)) return std::string();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].kind == Kind::kNumeric) {
        if (cells.numbers[i] == cells.numbers[i]) {
          result.moments[i].add(cells.numbers[i]);
        } else {
          ++result.moments[i].missing;
        }
      } else if (columns[i].kind == Kind::kCategorical) {
        text.assign(cells.texts[i]);
        if (!result.levels[i].contains(text)) result.levels[i].insert(text);
      }
    }
    return std::string();
  });
  merge(chunk.text.number, std::move(result));
}

void CsvSurvey::merge(std::uint64_t chunk, ChunkResult result) {
  labels_.add(result.labels);
  for (const auto& word : result.words) labels_.add(std::string_view(word));
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    for (const auto& text : result.levels[i]) levels_[i].add(draft_.encoding.columns[i].name, text);
  }
  waiting_.emplace(chunk, std::move(result.moments));
  for (auto next = waiting_.begin(); next != waiting_.end() && next->first == next_chunk_; next = waiting_.begin()) {
    for (std::size_t i = 0; i < moments_.size(); ++i) moments_[i].merge(next->second[i]);
    waiting_.erase(next);
    ++next_chunk_;
  }
}

CsvSurvey::Result CsvSurvey::finish(std::optional<Task> task, ScaleKind scale) const {
  Result result{.encoding = draft_.encoding};
  auto& encoding = result.encoding;
  labels_.decide(task, encoding);
  encoding.scale = scale;
  encoding.dense = true;
  for (std::size_t i = 0; i < encoding.columns.size(); ++i) {
    encoding.columns[i].first_feature = encoding.features;
    if (encoding.columns[i].kind == Kind::kNumeric) finish_numeric(i, scale, result);
    if (encoding.columns[i].kind == Kind::kCategorical) finish_categorical(i, result);
    encoding.features += encoding.columns[i].features;
  }
  if (encoding.features == 0) {
    throw Error(ErrorKind::kBadData, "no column has features: all but the label are empty or ignored",
                "check the columns");
  }
  return result;
}

void CsvSurvey::finish_numeric(std::size_t index, ScaleKind scale, Result& result) const {
  auto& encoding = result.encoding;
  auto& column = encoding.columns[index];
  const auto& moments = moments_[index];
  column.has_missing = moments.missing > 0 && encoding.missing == MissingPolicy::kIndicator;
  column.features = column.has_missing ? 2 : 1;
  column.mean = static_cast<float>(moments.mean);
  const bool constant = moments.count == 0 || moments.smallest == moments.largest;
  if (constant) {
    // The mean of equal numbers, exactly.
    column.mean = moments.smallest;
    if (!column.has_missing) result.constant_columns.push_back(column.name);
  }
  if (scale == ScaleKind::kNone) return;
  double offset = 0;
  double spread =
      std::max(std::abs(static_cast<double>(moments.smallest)), std::abs(static_cast<double>(moments.largest)));
  if (scale == ScaleKind::kStandardise) {
    offset = static_cast<double>(column.mean);
    spread = constant ? 0 : std::sqrt(moments.square / static_cast<double>(moments.count));
  }
  // A column that never differs teaches nothing: it becomes 0 everywhere.
  const auto factor = static_cast<float>(spread > 0 ? 1 / spread : 0);
  encoding.scale_offset.resize(encoding.features);
  encoding.scale_factor.resize(encoding.features, 1);
  encoding.scale_offset.push_back(static_cast<float>(offset));
  encoding.scale_factor.push_back(std::isfinite(factor) ? factor : 0);
  if (!column.has_missing) return;
  encoding.scale_offset.push_back(0);
  encoding.scale_factor.push_back(1);
}

void CsvSurvey::finish_categorical(std::size_t index, Result& result) const {
  auto& encoding = result.encoding;
  auto& column = encoding.columns[index];
  const auto& levels = levels_[index];
  encoding.dense = false;
  if (levels.hashes.empty()) {
    column.levels.assign(levels.texts.begin(), levels.texts.end());
    column.features = static_cast<std::uint32_t>(column.levels.size()) + 1;
    if (column.levels.size() <= 1) result.constant_columns.push_back(column.name);
  } else {
    HashedColumn hashed{.name = column.name, .levels = buckets_in_use(levels.hashes, kHashBits)};
    hashed.buckets = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::bit_ceil(2 * hashed.levels), std::uint64_t{kMostBuckets}));
    const auto used = buckets_in_use(levels.hashes, static_cast<std::uint32_t>(std::countr_zero(hashed.buckets)));
    hashed.collision_rate = 1 - static_cast<double>(used) / static_cast<double>(hashed.levels);
    column.kind = Kind::kHashed;
    column.features = hashed.buckets;
    result.hashed_columns.push_back(std::move(hashed));
  }
  if (encoding.scale_factor.empty()) return;
  encoding.scale_offset.resize(encoding.features + column.features, 0);
  encoding.scale_factor.resize(encoding.features + column.features, 1);
}

}  // namespace virga
