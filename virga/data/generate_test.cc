#include "virga/data/generate.h"

#include <cmath>

#include <gmock/gmock.h>

#include "virga/base/hash.h"
#include "virga/data/files_testing.h"
#include "virga/data/synthetic.h"

namespace virga {
namespace {

using testing::HasSubstr;

TEST(Generate, WritesTheSameRowsWithAnyNumberOfThreadsAndRows) {
  const TestDirectory directory;
  for (const auto kind : {SyntheticKind::kCtr, SyntheticKind::kCriteo, SyntheticKind::kDense}) {
    for (const auto* ending : {".svm", ".csv"}) {
      if (kind == SyntheticKind::kCtr && std::string(ending) == ".csv") continue;
      const auto make = [&](const std::string& name, std::uint64_t rows, std::uint64_t seed, unsigned threads) {
        const auto path = directory.path(name + ending);
        const auto report =
            generate({.kind = kind, .rows = rows, .seed = seed, .to = path, .overwrite = true, .threads = threads});
        const auto text = read_file(path);
        EXPECT_EQ(report.bytes, text.size());
        EXPECT_EQ(report.rows, rows);
        return std::string(as_text(text));
      };
      const auto text = make("a", 5000, 1, 1);
      EXPECT_NE(make("b", 5000, 2, 2), text);
      EXPECT_EQ(make("b", 6000, 1, 3).substr(0, text.size()), text);
    }
  }
}

/// The numbers that the kinds are known by; 20,000 rows, so the mean log-loss is good to 0.003 or so.
TEST(Generate, PlantsModelsOfTheStatedLogLoss) {
  struct Expected {
    SyntheticKind kind;
    double log_loss;
    double positive;
  };
  for (const auto& [kind, log_loss, positive] :
       {Expected{SyntheticKind::kCtr, 0.413, 0.26}, Expected{SyntheticKind::kCriteo, 0.435, 0.26},
        Expected{SyntheticKind::kDense, 0.5, 0.53}}) {
    for (const std::uint64_t seed : {1U, 2U}) {
      const TestDirectory directory;
      const auto report = generate({.kind = kind, .rows = 20'000, .seed = seed, .to = directory.path("x.txt")});
      EXPECT_NEAR(report.planted_log_loss, log_loss, 0.01) << to_string(kind);
      EXPECT_NEAR(static_cast<double>(report.positive) / 20'000, positive, 0.01) << to_string(kind);
    }
  }
}

/// The bits are part of what benchmarks are compared by.
TEST(Generate, KeepsItsBits) {
  const TestDirectory directory;
  std::vector<std::uint32_t> checksums;
  for (const auto kind : {SyntheticKind::kCtr, SyntheticKind::kCriteo, SyntheticKind::kDense}) {
    generate({.kind = kind, .rows = 1000, .to = directory.path("x.txt"), .overwrite = true});
    checksums.push_back(crc32c(read_file(directory.path("x.txt"))));
  }
  EXPECT_THAT(checksums, testing::ElementsAre(1562898529U, 3522465608U, 3359380588U));
}

TEST(Generate, MakesAnImportedSet) {
  const TestDirectory directory;
  for (const auto kind : {SyntheticKind::kCtr, SyntheticKind::kCriteo, SyntheticKind::kDense}) {
    GenerateOptions options{.kind = kind, .rows = 3000, .to = directory.path(std::string(to_string(kind)))};
    options.import.seed = 3;
    const auto report = generate(options);
    const auto store = open_object_store(options.to);
    const auto manifest = read_manifest(*store);
    EXPECT_EQ(manifest, report.import->manifest);
    EXPECT_EQ(manifest.train.rows + manifest.validation.rows, 3000U);
    EXPECT_EQ(manifest.sources.at(0).path, "synthetic:" + std::string(to_string(kind)) + "?rows=3000&seed=1");
    EXPECT_EQ(manifest.encoding.dense, kind == SyntheticKind::kDense);
    EXPECT_EQ(read_groups(*store, manifest, manifest.train).size(), (manifest.train.rows + 999) / 1000);
    EXPECT_THAT(error_of([&] { generate(options); }), HasSubstr("conflict: "));
  }
  for (const auto& name : directory.list()) EXPECT_EQ(name.find(".generated"), std::string::npos) << name;
}

TEST(Generate, RefusesWhatItCannotDo) {
  const TestDirectory directory;
  const auto file = directory.write("there.txt", "mine");
  EXPECT_THAT(error_of([&] { generate({.rows = 10, .to = file}); }), HasSubstr("conflict: " + file));
  EXPECT_EQ(as_text(read_file(file)), "mine");
  EXPECT_THAT(error_of([&] { generate({.rows = 0, .to = directory.path("a.txt")}); }), HasSubstr("usage: no rows"));
  EXPECT_THAT(error_of([&] { generate({.rows = 10, .to = directory.path("a.csv")}); }),
              HasSubstr("unsupported: \"ctr\" rows are not written as csv"));
  EXPECT_THAT(error_of([&] { static_cast<void>(parse_synthetic_kind("critoe")); }),
              HasSubstr("there are no synthetic data called \"critoe\" -> is \"criteo\" meant?"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(error_of([&] { generate({.rows = 10, .to = directory.path("a"), .stop = stop.get_token()}); }),
              HasSubstr("interrupted: "));
  EXPECT_THAT(directory.list(), testing::ElementsAre("there.txt"));
}

}  // namespace
}  // namespace virga
