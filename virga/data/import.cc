#include "virga/data/import.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/data/byte_stream.h"
#include "virga/data/class_labels.h"
#include "virga/data/destination.h"
#include "virga/data/idx.h"
#include "virga/data/libsvm.h"
#include "virga/data/row_buckets.h"
#include "virga/data/row_source.h"
#include "virga/data/split_writer.h"

namespace virga {
namespace {

constexpr std::size_t kQuantileCuts = 257;
constexpr std::uint64_t kSmallestBatch = std::uint64_t{1} << 20;
/// A scale for each feature takes memory here and in each worker.
constexpr std::uint32_t kMostScaledFeatures = 1U << 28;

class Importer {
 public:
  explicit Importer(const ImportOptions& options);
  ImportReport run();

 private:
  using Phase = ImportProgress::Phase;

  void describe_source();
  void survey_csv();
  void import_training();
  [[nodiscard]] std::unique_ptr<RowSource> open_training();
  void finish_encoding();
  void finish_scaling(const FeatureStatistics& statistics);
  void import_further(const std::vector<std::string>& files, const std::string& prefix, Split& split);
  void check_training_split() const;

  /// `training`: rows of the training files, which tell what there is.
  void read(RowSource& source, RowBuckets& first, RowBuckets* drawn, bool training);
  void learn(const ParsedRows& rows);
  void append(const ParsedRows& rows, RowBuckets& first, RowBuckets* drawn) const;
  [[nodiscard]] Split write(RowBuckets& rows, const std::string& prefix, const GroupRules& rules,
                            FeatureStatistics* statistics);

  /// Runs `step` on all threads until it returns false, and reports progress.
  void run_steps(Phase phase, const std::vector<std::string>& files, const std::function<std::uint64_t()>& bytes_done,
                 const std::function<bool()>& step);
  void report(const ImportProgress& progress);
  void check_stop() const;
  [[nodiscard]] bool is_validation(std::uint64_t item) const { return split_.uniform(0, item) < fraction_; }

  const ImportOptions& options_;
  const unsigned threads_;
  const double fraction_;
  const Random split_;
  const Random shuffle_;
  Destination destination_;
  SpillFile spill_;
  BadLines bad_lines_;
  std::vector<std::string> train_;
  std::vector<std::string> test_;
  LabelSurvey labels_;
  Encoding encoding_;
  ScaleKind scale_ = ScaleKind::kNone;
  ImportReport report_;

  // Of the phase that is under way:
  std::atomic<std::uint64_t> rows_{0};
  std::atomic<std::uint64_t> unseen_{0};
  std::atomic<std::uint32_t> smallest_id_{0xFFFFFFFF};
  std::atomic<std::uint32_t> largest_id_{0};
  std::atomic<bool> all_ones_{true};
  std::chrono::steady_clock::time_point phase_begin_;
  std::chrono::steady_clock::time_point last_report_;
};

double fraction_of(const ImportOptions& options) {
  const double fraction = options.validation_fraction.value_or(options.validation.empty() ? 0.1 : 0.0);
  if (!(fraction >= 0 && fraction < 1)) {
    throw Error(ErrorKind::kUsage, fmt::format("the validation fraction {} is not in 0 ... 1", fraction), "choose 0.1");
  }
  if (fraction > 0 && !options.validation.empty()) {
    throw Error(ErrorKind::kUsage, "there are validation files and a validation fraction", "give one of the two");
  }
  return fraction;
}

void lower_to(std::atomic<std::uint32_t>& value, std::uint32_t other) {
  auto seen = value.load();
  while (other < seen && !value.compare_exchange_weak(seen, other)) {
  }
}
void raise_to(std::atomic<std::uint32_t>& value, std::uint32_t other) {
  auto seen = value.load();
  while (other > seen && !value.compare_exchange_weak(seen, other)) {
  }
}

Importer::Importer(const ImportOptions& options)
    : options_(options),
      threads_(options.threads > 0 ? options.threads : usable_cores()),
      fraction_(fraction_of(options)),
      split_(options.seed, Purpose::kSplit),
      shuffle_(options.seed, Purpose::kShuffle),
      destination_(options.to, options.overwrite),
      spill_(destination_.directory()),
      bad_lines_(options.skip_bad),
      train_(options.train),
      test_(options.test) {
  if (train_.empty()) throw Error(ErrorKind::kUsage, "there is no file to import", "name one");
  if (options.rows_per_group == 0) throw Error(ErrorKind::kUsage, "a group has at least one row", "choose 1000");
  if (options.index_base.value_or(0) > 1) throw Error(ErrorKind::kUsage, "the index base is 0 or 1", "choose one");
}

ImportReport Importer::run() {
  describe_source();
  if (encoding_.format == SourceFormat::kCsv) survey_csv();
  import_training();
  import_further(options_.validation, "validation/", report_.manifest.validation);
  import_further(test_, "test/", report_.manifest.test);
  auto& manifest = report_.manifest;
  manifest.seed = options_.seed;
  manifest.rows_per_group = options_.rows_per_group;
  manifest.encoding = std::move(encoding_);
  manifest.skipped_rows = bad_lines_.count();
  manifest.created_by = options_.created_by;
  check_stop();
  destination_.publish(manifest);
  report_.first_bad_lines = bad_lines_.first();
  report_.spilled_bytes = spill_.bytes();
  return std::move(report_);
}

/// Standard input and pipes: what has been looked at is gone.
bool is_read_once(const std::string& path) {
  const auto status = std::filesystem::status(path);
  return path == "-" ||
         (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) && !is_directory(status));
}

/// What the first bytes and the options say.
void Importer::describe_source() {
  for (const auto& file : train_) {
    if (!is_read_once(file) || options_.format == SourceFormat::kLibsvm) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("{} can be read only once, but {}", file,
                            options_.format ? "CSV and IDX files are read twice" : "its format is to be found out"),
                options_.format ? "save it to a file first" : "say --format libsvm, or save it to a file first");
  }
  encoding_.format = options_.format ? *options_.format : detect_format(train_.front());
  if (encoding_.format == SourceFormat::kIdx && std::filesystem::is_directory(train_.front())) {
    const auto found = find_idx_files(train_.front());
    train_ = {found.train};
    if (test_.empty() && found.test) test_ = {*found.test};
  }
  constexpr ScaleKind kNatural[] = {ScaleKind::kMaxAbs, ScaleKind::kStandardise, ScaleKind::kConstant};
  const auto natural = kNatural[static_cast<std::size_t>(encoding_.format)];
  scale_ = options_.scale.value_or(natural);
  const bool fits = scale_ == ScaleKind::kNone || scale_ == natural ||
                    (encoding_.format == SourceFormat::kCsv && scale_ == ScaleKind::kMaxAbs);
  if (!fits) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} data cannot be scaled by \"{}\"", to_string(encoding_.format), to_string(scale_)),
                fmt::format("use \"{}\" or \"none\"", to_string(natural)));
  }
  if (encoding_.format == SourceFormat::kIdx) {
    survey_idx(train_, encoding_, labels_);
    labels_.decide(options_.task, encoding_);
    encoding_.dense = true;
    encoding_.scale = scale_;
    if (scale_ == ScaleKind::kConstant) encoding_.scale_factor = {1.0F / 255};
  }
}

/// The first pass over CSV files. Bad lines are counted for good in the second one.
void Importer::survey_csv() {
  constexpr std::size_t kHead = std::size_t{4} << 20;
  const auto draft = draft_csv(read_head(train_.front(), kHead), train_.front(), options_.csv);
  CsvSurvey survey(draft, [this](std::uint64_t item) { return !is_validation(item); });
  CsvText text(train_, draft.encoding, {.stop = options_.stop});
  BadLines bad_lines(options_.skip_bad);
  run_steps(
      Phase::kSurvey, train_, [&] { return text.source().bytes_read(); },
      [&] {
        const auto chunk = text.next();
        if (!chunk || bad_lines.too_many()) return false;
        ParsedRows rows;
        survey.add(*chunk, rows);
        rows_ += chunk->text.lines;
        return bad_lines.add(rows, train_);
      });
  bad_lines.check();
  auto result = survey.finish(options_.task, scale_);
  encoding_ = std::move(result.encoding);
  report_.constant_columns = std::move(result.constant_columns);
  report_.hashed_columns = std::move(result.hashed_columns);
  report_.label_reason = draft.label_reason;
  report_.empty_columns = draft.empty_columns;
  report_.almost_numeric_columns = draft.almost_numeric;
  for (const auto& column : encoding_.columns) {
    if (column.kind == ColumnEncoding::Kind::kLabel) report_.label_column = column.name;
  }
}

std::unique_ptr<RowSource> Importer::open_training() {
  if (encoding_.format == SourceFormat::kLibsvm) {
    return open_libsvm_rows(train_, options_.index_base, {.stop = options_.stop});
  }
  return open_encoded_rows(train_, encoding_, {.stop = options_.stop});
}

void Importer::import_training() {
  const auto memory = 0.5 * static_cast<double>(options_.memory_bytes);
  RowBuckets train(spill_, static_cast<std::uint64_t>(memory * (1 - fraction_)), encoding_.dense);
  RowBuckets validation(spill_, static_cast<std::uint64_t>(memory * fraction_), encoding_.dense);
  auto source = open_training();
  read(*source, train, fraction_ > 0 ? &validation : nullptr, /*training=*/true);
  if (train.rows() == 0) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: there are no rows to train on", train_.front()),
                "check the path, the format and the validation fraction");
  }
  report_.manifest.sources = source->sources();
  if (!options_.source_name.empty()) report_.manifest.sources.front().path = options_.source_name;
  source.reset();

  GroupRules rules{.dense = encoding_.dense, .features = encoding_.features};
  if (encoding_.format == SourceFormat::kLibsvm) {
    finish_encoding();
    rules = {.features = encoding_.features,
             .first_id = encoding_.one_based ? 1U : 0U,
             .class_labels = class_labels(encoding_)};
  }
  const bool gather_max_abs = encoding_.format == SourceFormat::kLibsvm && scale_ == ScaleKind::kMaxAbs && !all_ones_;
  FeatureStatistics statistics(encoding_.features, gather_max_abs);
  destination_.begin();
  report_.manifest.train = write(train, "train/", rules, &statistics);
  report_.manifest.validation = write(validation, "validation/", rules, nullptr);
  if (!encoding_.dense) report_.manifest.key_quantiles = statistics.key_quantiles(kQuantileCuts);
  if (gather_max_abs) finish_scaling(statistics);
  check_training_split();
}

/// LIBSVM: what only the whole of the training files can tell.
void Importer::finish_encoding() {
  labels_.decide(options_.task, encoding_);
  if (smallest_id_ > largest_id_) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: all rows are empty", train_.front()), "check the format");
  }
  encoding_.one_based = options_.index_base.value_or(smallest_id_ == 0 ? 0 : 1) == 1;
  encoding_.features = largest_id_ + (encoding_.one_based ? 0 : 1);
  encoding_.scale = scale_;
  if (scale_ == ScaleKind::kMaxAbs && !all_ones_ && encoding_.features > kMostScaledFeatures) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("{} features are too many to scale one by one (at most {})", encoding_.features,
                            kMostScaledFeatures),
                "import with --scale none, or hash the features into fewer");
  }
}

void Importer::finish_scaling(const FeatureStatistics& statistics) {
  encoding_.scale_factor = statistics.max_abs();
  for (auto& factor : encoding_.scale_factor) {
    factor = 1 / factor;
    if (!std::isfinite(factor)) factor = 1;  // it never occurs, or is as small as numbers get
  }
}

void Importer::check_training_split() const {
  const auto& sums = report_.manifest.train.class_weight_sums;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] > 0 || encoding_.task != Task::kBinary) continue;
    throw Error(ErrorKind::kBadData,
                fmt::format("no row of the training split has the label {} and a weight above 0", encoding_.classes[i]),
                "there is nothing to learn; check the weights, lower the validation fraction, or import more rows");
  }
}

/// A split of files of its own, encoded as the training data are.
void Importer::import_further(const std::vector<std::string>& files, const std::string& prefix, Split& split) {
  if (files.empty()) return;
  RowBuckets rows(spill_, options_.memory_bytes / 2, encoding_.dense);
  auto source = open_encoded_rows(files, encoding_, {.stop = options_.stop});
  unseen_ = 0;
  read(*source, rows, nullptr, /*training=*/false);
  if (rows.rows() == 0) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: there are no rows in it", files.front()),
                "check the path and the format");
  }
  report_.unseen += unseen_;
  auto& sources = report_.manifest.sources;
  sources.insert(sources.end(), source->sources().begin(), source->sources().end());
  split = write(rows, prefix, {.dense = encoding_.dense, .features = encoding_.features}, nullptr);
}

void Importer::read(RowSource& source, RowBuckets& first, RowBuckets* drawn, bool training) {
  run_steps(
      Phase::kRead, source.files(), [&] { return source.bytes_read(); },
      [&, this] {
        thread_local ParsedRows rows;  // keeps its memory from chunk to chunk
        if (bad_lines_.too_many() || !source.next(rows)) return false;
        if (!bad_lines_.add(rows, source.files())) return false;
        append(rows, first, drawn);
        if (training) learn(rows);
        unseen_ += rows.unseen;
        rows_ += rows.rows.size();
        return true;
      });
  bad_lines_.check();
}

void Importer::learn(const ParsedRows& rows) {
  if (encoding_.format == SourceFormat::kLibsvm) labels_.add(rows.rows);
  lower_to(smallest_id_, rows.smallest_id);
  raise_to(largest_id_, rows.largest_id);
  if (!std::ranges::all_of(rows.rows, &ParsedRows::Row::ones)) all_ones_ = false;
}

void Importer::append(const ParsedRows& rows, RowBuckets& first, RowBuckets* drawn) const {
  std::vector<RowBuckets::KeyedRow> keyed[2];
  for (std::uint32_t i = 0; i < rows.rows.size(); ++i) {
    const auto item = rows.rows[i].item;
    const bool second = drawn != nullptr && is_validation(item);
    keyed[second ? 1 : 0].push_back({shuffle_.bits(0, item), i});
  }
  first.append(rows, keyed[0]);
  if (drawn != nullptr) drawn->append(rows, keyed[1]);
}

Split Importer::write(RowBuckets& rows, const std::string& prefix, const GroupRules& rules,
                      FeatureStatistics* statistics) {
  phase_begin_ = std::chrono::steady_clock::now();
  SplitWriter writer(destination_.store(), prefix, rules,
                     {.rows_per_group = options_.rows_per_group,
                      .classes = static_cast<std::uint32_t>(encoding_.classes.size()),
                      .threads = threads_,
                      .check_stop = [this] { check_stop(); }},
                     statistics);
  std::uint64_t done = 0;
  rows.drain(threads_, std::max(options_.memory_bytes / 8, kSmallestBatch), [&](const std::vector<OrderedRows>& batch) {
    check_stop();
    writer.add(batch);
    for (const auto& bucket : batch) done += bucket.rows.size();
    report({.phase = Phase::kWrite, .rows = done, .rows_total = rows.rows()});
  });
  return writer.finish();
}

void Importer::run_steps(Phase phase, const std::vector<std::string>& files,
                         const std::function<std::uint64_t()>& bytes_done, const std::function<bool()>& step) {
  phase_begin_ = std::chrono::steady_clock::now();
  rows_ = 0;
  std::uint64_t total = 0;
  for (const auto& file : files) total += input_file_size(file);
  std::atomic<bool> failed{false};
  run_threads(threads_, [&](unsigned thread) {
    try {
      while (!failed && step()) {
        check_stop();
        if (thread == 0) report({.phase = phase, .bytes_done = bytes_done(), .bytes_total = total, .rows = rows_});
      }
    } catch (...) {
      failed = true;
      throw;
    }
  });
}

void Importer::report(const ImportProgress& progress) {
  if (!options_.on_progress) return;
  const auto now = std::chrono::steady_clock::now();
  const bool last = progress.phase == Phase::kWrite && progress.rows == progress.rows_total;
  if (now - last_report_ < std::chrono::milliseconds(100) && !last) return;
  last_report_ = now;
  auto complete = progress;
  complete.seconds = std::chrono::duration<double>(now - phase_begin_).count();
  options_.on_progress(complete);
}

void Importer::check_stop() const {
  if (options_.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "the import was stopped");
}

}  // namespace

std::string_view to_string(ImportProgress::Phase phase) noexcept {
  switch (phase) {
    case ImportProgress::Phase::kSurvey:
      return "survey";
    case ImportProgress::Phase::kRead:
      return "read";
    case ImportProgress::Phase::kWrite:
      return "write";
  }
  return "";
}

SourceFormat detect_format(const std::string& path) {
  if (std::filesystem::is_directory(path)) return SourceFormat::kIdx;
  const auto head = read_head(path);
  if (looks_like_idx(head)) return SourceFormat::kIdx;
  return looks_like_libsvm(head) ? SourceFormat::kLibsvm : SourceFormat::kCsv;
}

ImportReport import_set(const ImportOptions& options) { return Importer(options).run(); }

}  // namespace virga
