#include "virga/data/import.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include <sys/resource.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/hash.h"
#include "virga/base/random.h"
#include "virga/data/files_testing.h"
#include "virga/data/text_source.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A row as text that two imports can be compared by: label, weight, feature:value pairs.
std::string text_of(const RowGroup& group, std::uint32_t row) {
  std::string text = fmt::format("{}", group.labels[row]);
  if (!group.weights.empty()) text += fmt::format(" weight {}", group.weights[row]);
  if (group.dense) {
    for (std::uint32_t i = 0; i < group.columns; ++i) text += fmt::format(" {}", group.matrix[row * group.columns + i]);
    return text;
  }
  for (auto entry = group.row_begin[row]; entry < group.row_begin[row + 1]; ++entry) {
    text += fmt::format(" {}:{}", group.keys[group.index(entry)], group.values.empty() ? 1 : group.values[entry]);
  }
  return text;
}

/// An import into the directory `set`, and what can be read back from it.
class ImportTest : public testing::Test {
 protected:
  ImportOptions options(const std::vector<std::string>& files) const {
    ImportOptions options;
    options.train = files;
    options.to = directory_.path("set");
    options.validation_fraction = 0;
    options.threads = 2;
    return options;
  }
  ImportReport import(const ImportOptions& options) {
    auto report = import_set(options);
    const auto store = open_object_store(options.to);
    EXPECT_EQ(read_manifest(*store), report.manifest);
    train_ = rows(*store, report.manifest, report.manifest.train);
    validation_ = rows(*store, report.manifest, report.manifest.validation);
    test_ = rows(*store, report.manifest, report.manifest.test);
    return report;
  }
  static std::vector<std::string> rows(const ObjectStore& store, const Manifest& manifest, const Split& split) {
    std::vector<std::string> texts;
    for (const auto& group : read_groups(store, manifest, split)) {
      for (std::uint32_t row = 0; row < group.rows; ++row) texts.push_back(text_of(group, row));
    }
    EXPECT_EQ(texts.size(), split.rows);
    return texts;
  }
  static std::vector<std::string> sorted(std::vector<std::string> texts) {
    std::ranges::sort(texts);
    return texts;
  }

  TestDirectory directory_;
  std::vector<std::string> train_;
  std::vector<std::string> validation_;
  std::vector<std::string> test_;
};

/// LIBSVM text of `count` rows, whose row i has the feature 1000 + i and some others.
std::string libsvm_text(std::uint32_t count, bool ones = false) {
  const Random random(1, Purpose::kTest);
  std::string text;
  for (std::uint32_t row = 0; row < count; ++row) {
    if (row % 10 == 3) text += "# a comment\n\n";
    text += fmt::format("{}", random.below(2, 0, row) == 0 ? "-1" : "+1");
    for (std::uint32_t i = 1; i < 6; ++i) {
      const auto value = ones ? 1.0 : static_cast<double>(random.below(1000, i, row) + 1) / 8;
      text += fmt::format(" {}:{}", i * 7, value);
    }
    text += fmt::format(" {}:1\n", 1000 + row);
  }
  return text;
}

TEST_F(ImportTest, StoresEveryRowOnce) {
  const auto file = directory_.write("a.svm", "+1 1:0.5 3:2\n-1 2:1\n\n+1 7:1 # x\n");
  const auto report = import(options({file}));
  EXPECT_THAT(sorted(train_), ElementsAre("0 1:1", "1 0:0.5 2:2", "1 6:1"));
  const auto& manifest = report.manifest;
  EXPECT_EQ(manifest.encoding.features, 7U);
  EXPECT_TRUE(manifest.encoding.one_based);
  EXPECT_EQ(manifest.encoding.task, Task::kBinary);
  EXPECT_THAT(manifest.encoding.classes, ElementsAre("-1", "1"));
  EXPECT_EQ(manifest.encoding.scale, ScaleKind::kMaxAbs);
  EXPECT_THAT(manifest.encoding.scale_factor, ElementsAre(2, 1, 0.5, 1, 1, 1, 1));
  EXPECT_EQ(manifest.train.rows, 3U);
  EXPECT_EQ(manifest.train.nonzeros, 4U);
  EXPECT_EQ(manifest.train.weight, 3);
  EXPECT_THAT(manifest.train.class_weight_sums, ElementsAre(1, 2));
  EXPECT_DOUBLE_EQ(manifest.train.label_mean, 2.0 / 3);
  EXPECT_DOUBLE_EQ(manifest.train.label_variance, 2.0 / 9);
  EXPECT_EQ(manifest.key_quantiles.size(), 257U);
  EXPECT_EQ(manifest.key_quantiles.front(), 0U);
  EXPECT_EQ(manifest.key_quantiles.back(), 7U);
  const auto bytes = read_file(file);
  EXPECT_THAT(manifest.sources, ElementsAre(SourceInfo{file, bytes.size(), crc32c(bytes)}));
}

TEST_F(ImportTest, DoesNotDependOnThreadsMemoryOrPacking) {
  const auto text = libsvm_text(30'000);
  auto wanted = options({directory_.write("a.svm", text)});
  wanted.validation_fraction = 0.2;
  const auto expected = import(wanted);
  const auto train = train_;
  const auto validation = validation_;
  EXPECT_NEAR(static_cast<double>(validation.size()), 6000, 300);
  EXPECT_EQ(train.size() + validation.size(), 30'000U);
  EXPECT_EQ(expected.manifest.train.blocks.at(0).name, "train/000000.blk");

  // Two files make the same lines.
  const auto half = text.find('\n', text.size() / 2) + 1;
  const std::vector<std::string> halves = {directory_.write("b.gz", gzip(text.substr(0, half))),
                                           directory_.write("c.zst", zstd(text.substr(half)))};
  for (const unsigned threads : {1U, 5U}) {
    for (const std::uint64_t memory : {std::uint64_t{1}, std::uint64_t{1} << 30}) {
      auto other = wanted;
      other.train = halves;
      other.overwrite = true;
      other.threads = threads;
      other.memory_bytes = memory;
      const auto report = import(other);
      EXPECT_EQ(report.spilled_bytes > 0, memory == 1) << report.spilled_bytes;
      EXPECT_EQ(train_, train);
      EXPECT_EQ(validation_, validation);
      auto manifest = report.manifest;
      manifest.sources = expected.manifest.sources;
      EXPECT_EQ(manifest, expected.manifest);
    }
  }
}

TEST_F(ImportTest, DrawsSplitAndOrderByTheSeedAndTheLine) {
  const auto text = libsvm_text(3000, true);
  auto wanted = options({directory_.write("a.svm", text)});
  wanted.validation_fraction = 0.1;
  import(wanted);
  const auto train = train_;
  const auto validation = sorted(validation_);
  // Other seeds, another order and another split.
  wanted.overwrite = true;
  wanted.seed = 2;
  import(wanted);
  EXPECT_NE(train_, train);
  EXPECT_NE(sorted(validation_), validation);
  // Blank lines and comments instead of some rows change nothing for the others.
  auto lines = text;
  for (std::size_t i = 0; i < 500; ++i) {
    auto& first = lines[lines.find('\n', i * 50) + 1];
    if (first != '\n') first = '#';
  }
  wanted.seed = 1;
  wanted.train = {directory_.write("b.svm", lines)};
  import(wanted);
  EXPECT_LT(train_.size(), train.size());
  std::vector<std::string> kept;
  std::size_t next = 0;
  for (const auto& row : train) {
    if (next < train_.size() && train_[next] == row) {
      kept.push_back(row);
      ++next;
    }
  }
  EXPECT_EQ(kept, train_);
  EXPECT_TRUE(std::ranges::includes(validation, sorted(validation_)));
}

TEST_F(ImportTest, CutsGroupsOfTheSameSize) {
  auto wanted = options({directory_.write("a.svm", libsvm_text(1050))});
  wanted.rows_per_group = 100;
  wanted.memory_bytes = 1;  // many small batches
  const auto report = import(wanted);
  const auto store = open_object_store(wanted.to);
  std::vector<std::uint32_t> sizes;
  for (const auto& group : read_groups(*store, report.manifest, report.manifest.train)) sizes.push_back(group.rows);
  EXPECT_EQ(sizes.size(), 11U);
  EXPECT_TRUE(std::all_of(sizes.begin(), sizes.end() - 1, [](std::uint32_t rows) { return rows == 100; }));
  EXPECT_EQ(sizes.back(), 50U);
}

TEST_F(ImportTest, LeavesOutTheArraysOfABinarySet) {
  const auto report = import(options({directory_.write("a.svm", libsvm_text(100, true))}));
  EXPECT_EQ(report.manifest.encoding.scale, ScaleKind::kMaxAbs);
  EXPECT_THAT(report.manifest.encoding.scale_factor, IsEmpty());
}

TEST_F(ImportTest, TellsZeroBasedFromOneBasedIndices) {
  EXPECT_FALSE(import(options({directory_.write("a.svm", "1 0:1 5:1\n0 2:1\n")})).manifest.encoding.one_based);
  EXPECT_THAT(sorted(train_), ElementsAre("0 2:1", "1 0:1 5:1"));
  auto given = options({directory_.write("b.svm", "1 1:1 5:1\n0 2:1\n")});
  given.overwrite = true;
  given.index_base = 0;
  EXPECT_EQ(import(given).manifest.encoding.features, 6U);
  EXPECT_THAT(sorted(train_), ElementsAre("0 2:1", "1 1:1 5:1"));
}

TEST_F(ImportTest, EncodesFurtherFilesAsTheTrainingFiles) {
  auto wanted = options({directory_.write("a.svm", "-1 1:4\n+1 2:1\n")});
  wanted.validation_fraction.reset();
  wanted.validation = {directory_.write("v.svm", "+1 2:3\n")};
  wanted.test = {directory_.write("t.svm", "+1 1:1 9:1\n-1 2:8\n"), directory_.write("u.svm", "+1\n")};
  const auto report = import(wanted);
  EXPECT_THAT(validation_, ElementsAre("1 1:3"));
  EXPECT_THAT(sorted(test_), ElementsAre("0 1:8", "1", "1 0:1"));  // feature 9 is unknown
  EXPECT_EQ(report.unseen, 1U);
  EXPECT_THAT(report.manifest.encoding.scale_factor, ElementsAre(0.25, 1));
  EXPECT_EQ(report.manifest.sources.size(), 4U);
  wanted.overwrite = true;
  wanted.test = {directory_.write("t.svm", "+1 1:1\n3 2:8\n")};
  EXPECT_THAT(error_of([&] { import(wanted); }),
              HasSubstr("t.svm:2:1: the label is none of the 2 classes of the training data"));
  wanted.test = {directory_.write("t.svm", "+1 0:1\n")};
  EXPECT_THAT(error_of([&] { import(wanted); }), HasSubstr("t.svm:1:4: the index is 0, but"));
}

TEST_F(ImportTest, RefusesABadLineAndKeepsTheSetThatWasThere) {
  const auto good = options({directory_.write("a.svm", "1 1:1\n0 2:1\n")});
  import(good);
  auto bad = options({directory_.write("b.svm", libsvm_text(50'000) + "1 3:x\n1 3:y\n")});
  EXPECT_THAT(error_of([&] { import(bad); }), HasSubstr("conflict: " + bad.to + ": there is a data set already"));
  bad.overwrite = true;
  EXPECT_THAT(error_of([&] { import(bad); }),
              HasSubstr("b.svm:60001:5: the value is not a number: \"x\" -> mend the line, or let --skip-bad N"));
  EXPECT_EQ(read_manifest(*open_object_store(good.to)).train.rows, 2U);

  bad.skip_bad = 1;
  EXPECT_THAT(error_of([&] { import(bad); }), HasSubstr("there are more than 1 bad lines; the first: "));
  bad.skip_bad = 2;
  const auto report = import(bad);
  EXPECT_EQ(report.manifest.train.rows, 50'000U);
  EXPECT_EQ(report.manifest.skipped_rows, 2U);
  EXPECT_THAT(report.first_bad_lines, ElementsAre(HasSubstr("b.svm:60001:5: "), HasSubstr("b.svm:60002:5: ")));
}

TEST_F(ImportTest, NamesTheFirstBadLineWhateverTheThreads) {
  std::string text = "1 1:1\n0 2:1\n";
  std::string expected;
  for (int i = 0; i < 6; ++i) {
    text += libsvm_text(30'000) + "1 bad\n";
    if (i == 0) expected = fmt::format("a.svm:{}:3: ", count_lines(text));
  }
  auto wanted = options({directory_.write("a.svm", text)});
  for (const unsigned threads : {1U, 2U, 6U}) {
    wanted.threads = threads;
    EXPECT_THAT(error_of([&] { import(wanted); }), HasSubstr(expected));
  }
}

TEST_F(ImportTest, LeavesNothingWhenItFails) {
  struct Case {
    std::string text;
    std::string error;
  };
  const std::vector<Case> cases = {
      {"", "there are no records in it"},
      {"# only a comment\n", "it has one column"},
      {"1 1:1\n1 2:1\n", "all labels are the same (1)"},
      {"1\n0\n", "it has one column; a label and a feature are needed"},
      {"1 1:1\n2 1:nan\n", "a.svm:2:5: the value is not finite: \"nan\""},
  };
  for (const auto& [text, error] : cases) {
    const auto wanted = options({directory_.write("a.svm", text)});
    EXPECT_THAT(error_of([&] { import(wanted); }), HasSubstr(error)) << text;
    EXPECT_THAT(directory_.list(), ElementsAre("a.svm"));
  }
  // Empty rows only.
  auto wanted = options({directory_.write("a.svm", "1\n0\n")});
  wanted.format = SourceFormat::kLibsvm;
  EXPECT_THAT(error_of([&] { import(wanted); }), HasSubstr("all rows are empty"));
  // All of one class are drawn for validation.
  wanted.train = {directory_.write("a.svm", "1 1:1\n0 1:1\n0 2:1\n")};
  wanted.validation_fraction = 0.4;
  for (wanted.seed = 1; error_of([&] { import(wanted); }) == "nothing"; ++wanted.seed) wanted.overwrite = true;
  EXPECT_THAT(error_of([&] { import(wanted); }), testing::AnyOf(HasSubstr("no row of the training split has the label"),
                                                                HasSubstr("there are no rows to train on")));
}

TEST_F(ImportTest, RefusesOptionsThatMakeNoSense) {
  const auto file = directory_.write("a.svm", "1 1:1\n0 2:1\n");
  const auto refused = [&](const std::function<void(ImportOptions&)>& change) {
    auto wanted = options({file});
    change(wanted);
    return error_of([&] { import(wanted); });
  };
  EXPECT_THAT(refused([](auto& o) { o.train.clear(); }), HasSubstr("usage: there is no file to import"));
  EXPECT_THAT(refused([](auto& o) { o.validation_fraction = 1.0; }), HasSubstr("usage: the validation fraction 1 "));
  EXPECT_THAT(refused([](auto& o) { o.validation_fraction = std::nan(""); }), HasSubstr("usage: the validation"));
  EXPECT_THAT(refused([&](auto& o) {
                o.validation_fraction = 0.1;
                o.validation = {file};
              }),
              HasSubstr("usage: there are validation files and a validation fraction"));
  EXPECT_THAT(refused([](auto& o) { o.scale = ScaleKind::kStandardise; }),
              HasSubstr("unsupported: libsvm data cannot be scaled by \"standard\" -> use \"maxabs\" or \"none\""));
  EXPECT_THAT(refused([](auto& o) { o.index_base = 2; }), HasSubstr("usage: the index base is 0 or 1"));
  EXPECT_THAT(refused([](auto& o) { o.train = {"/no/such/file"}; }), HasSubstr("not_found: cannot read /no/such/file"));
  EXPECT_THAT(refused([](auto& o) { o.to = "gs://bucket/set"; }), HasSubstr("unsupported: "));
  EXPECT_THAT(refused([](auto& o) { o.task = Task::kRegression; }), "nothing");
}

TEST_F(ImportTest, StopsWhenAskedAndLeavesNothing) {
  const auto file = directory_.write("a.svm", libsvm_text(60'000));
  for (const auto phase : {ImportProgress::Phase::kRead, ImportProgress::Phase::kWrite}) {
    auto wanted = options({file});
    wanted.memory_bytes = 1;
    std::stop_source stop;
    wanted.stop = stop.get_token();
    if (phase == ImportProgress::Phase::kRead) stop.request_stop();
    wanted.on_progress = [&](const ImportProgress& progress) {
      if (progress.phase == phase) stop.request_stop();
    };
    EXPECT_THAT(error_of([&] { import(wanted); }), HasSubstr("interrupted: "));
    EXPECT_THAT(directory_.list(), ElementsAre("a.svm"));
  }
}

TEST_F(ImportTest, ReportsProgress) {
  auto wanted = options({directory_.write("a.csv", "x,label\n1,0\n2,1\n3,0\n")});
  std::vector<ImportProgress> seen;
  wanted.on_progress = [&](const ImportProgress& progress) { seen.push_back(progress); };
  import(wanted);
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().phase, ImportProgress::Phase::kWrite);
  EXPECT_EQ(seen.back().rows, 3U);
  EXPECT_EQ(seen.back().rows_total, 3U);
  EXPECT_EQ(to_string(ImportProgress::Phase::kSurvey), "survey");
}

/// A limit on the size of files stands in for a full disk: both make write() fail.
TEST_F(ImportTest, LeavesNothingWhenTheDiskIsFull) {
  const auto file = directory_.write("a.svm", libsvm_text(30'000));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const std::uint64_t memory : {std::uint64_t{1}, std::uint64_t{1} << 30}) {  // while spilling, and later
    auto limit = before;
    limit.rlim_cur = 100'000;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    auto wanted = options({file});
    wanted.memory_bytes = memory;
    const auto error = error_of([&] { import(wanted); });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_THAT(error, HasSubstr("io: cannot write "));
    EXPECT_THAT(directory_.list(), ElementsAre("a.svm"));
  }
  static_cast<void>(std::signal(SIGXFSZ, handler));
}

TEST_F(ImportTest, ReplacesWhatAKilledImportLeft) {
  std::filesystem::create_directories(directory_.path("set/train"));
  directory_.write("set/train/000007.blk", "left over");
  directory_.write("set/notes.txt", "mine");
  import(options({directory_.write("a.svm", "1 1:1\n0 2:1\n")}));
  EXPECT_THAT(directory_.list(),
              ElementsAre("a.svm", "set", "set/manifest.json", "set/notes.txt", "set/train", "set/train/000000.blk"));
}

TEST_F(ImportTest, DetectsFormats) {
  EXPECT_EQ(detect_format(directory_.write("a", "1 1:1\n")), SourceFormat::kLibsvm);
  EXPECT_EQ(detect_format(directory_.write("b", gzip("a,b\n1,2\n"))), SourceFormat::kCsv);
  EXPECT_EQ(detect_format(directory_.write("c", std::string("\0\0\x08\x03", 4))), SourceFormat::kIdx);
  EXPECT_EQ(detect_format(directory_.path(".")), SourceFormat::kIdx);
}

}  // namespace
}  // namespace virga
