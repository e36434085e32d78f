#include "virga/job/job_file.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/job/job_docs.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Job job_of(std::string_view text) {
  Settings settings;
  settings.set(parse_job_text(text, "job.toml", Source::kJobFile, ""));
  std::vector<std::string> warnings;
  return make_job(settings, warnings);
}

Error refusal(std::string_view text) {
  try {
    static_cast<void>(job_of(text));
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "not refused: " << text;
  return {ErrorKind::kInternal, ""};
}

TEST(JobFileTest, TakesAFileOfPricesFromItsFolder) {
  const auto prices = [](const char* value) {
    Settings settings;
    settings.set(
        parse_job_text(std::string("[functions]\nprices = \"") + value + "\"\n", "job.toml", Source::kJobFile, "jobs"));
    return std::get<std::string>(settings.get("functions", "prices").value);
  };
  EXPECT_EQ(prices("mine.json"), "jobs/mine.json");
  EXPECT_EQ(prices("/mine.json"), "/mine.json");
  EXPECT_EQ(prices("ibm-2021"), "ibm-2021");
}

TEST(JobFileTest, IsReadIntoATypedJob) {
  const auto job = job_of(R"(
seed = 7
[data]
train = "a9a.gz"
ignore = ["id", "name, first"]
[model]
kind = "logistic"
l2 = 1
fit_bias = false
class_weight = { "0" = 1, "1" = 2.5 }
[optimizer]
learning_rate = 0.5
batch_size = "auto"
[stop]
seconds = "15min"
epochs = 3
[output]
tags = []
)");
  EXPECT_EQ(job.seed, 7);
  EXPECT_EQ(job.data.train, "a9a.gz");
  EXPECT_THAT(job.data.ignore, ElementsAre("id", "name, first"));
  EXPECT_EQ(job.model.kind, "logistic");
  EXPECT_EQ(job.model.l2, 1.0);
  EXPECT_FALSE(job.model.fit_bias);
  EXPECT_EQ(job.model.class_weight, (std::map<std::string, double>{{"0", 1}, {"1", 2.5}}));
  EXPECT_EQ(job.optimizer.learning_rate, 0.5);
  EXPECT_EQ(job.optimizer.batch_size, std::nullopt);
  EXPECT_EQ(job.stop.seconds, std::chrono::minutes(15));
  EXPECT_EQ(job.stop.epochs, 3);
}

TEST(JobFileTest, TakesSecondsWithoutAUnit) {
  EXPECT_EQ(job_of("[stop]\nseconds = 1.5\n").stop.seconds, std::chrono::milliseconds(1500));
}

TEST(JobFileTest, TakesRelativePathsFromItsOwnFolder) {
  const auto train = [](std::string_view path) {
    const auto text = "[data]\ntrain = \"" + std::string(path) + "\"\n";
    return std::get<std::string>(parse_job_text(text, "jobs/a.toml", Source::kJobFile, "jobs").at(0).value);
  };
  EXPECT_EQ(train("a9a.gz"), "jobs/a9a.gz");
  EXPECT_EQ(train("../a9a.gz"), "a9a.gz");
  EXPECT_EQ(train("/data/a9a.gz"), "/data/a9a.gz");
  EXPECT_EQ(train("s3://bucket/a9a"), "s3://bucket/a9a");
}

TEST(JobFileTest, KeepsTheLineOfEachValue) {
  const auto settings = parse_job_text("seed = 2\n\n[stop]\nepochs = 3\n", "job.toml", Source::kJobFile, "");
  ASSERT_EQ(settings.size(), 2);
  for (const auto& setting : settings) {
    EXPECT_EQ(setting.origin, setting.option->key == "seed" ? "job.toml:1" : "job.toml:4");
  }
}

TEST(JobFileTest, RefusesUnknownKeysWithTheNearest) {
  const auto key = refusal("[optimizer]\nlearning_rte = 0.1\n");
  EXPECT_EQ(key.kind(), ErrorKind::kUsage);
  EXPECT_STREQ(key.what(), "job.toml:2: unknown key 'learning_rte' in [optimizer]");
  EXPECT_EQ(key.remedy(), "did you mean learning_rate?");
  const auto section = refusal("\n[optimiser]\nname = \"sgd\"\n");
  EXPECT_STREQ(section.what(), "job.toml:2: unknown section 'optimiser'");
  EXPECT_EQ(section.remedy(), "did you mean optimizer?");
}

TEST(JobFileTest, SaysWhereAMisplacedKeyBelongs) {
  EXPECT_EQ(refusal("epochs = 3\n").remedy(), "put it below [stop]");
  EXPECT_EQ(refusal("[data]\nepochs = 3\n").remedy(), "it belongs into [stop]");
}

TEST(JobFileTest, RefusesOtherTypesNamingTheExpectedOne) {
  EXPECT_STREQ(refusal("[stop]\nepochs = \"3\"\n").what(),
               "job.toml:2: stop.epochs takes a whole number, and here is a string");
  EXPECT_STREQ(refusal("[stop]\nepochs = 2.5\n").what(),
               "job.toml:2: stop.epochs takes a whole number, and here is a number");
  EXPECT_STREQ(refusal("[stop]\nepochs = -1\n").what(), "job.toml:2: stop.epochs: must be at least 0, and is -1");
  EXPECT_STREQ(refusal("[optimizer]\nlearning_rate = true\n").what(),
               "job.toml:2: optimizer.learning_rate takes a number or \"auto\", and here is true or false");
  EXPECT_STREQ(refusal("[model]\nkind = 3\n").what(),
               "job.toml:2: model.kind takes a string, and here is a whole number");
  EXPECT_STREQ(refusal("[data]\nignore = [1]\n").what(),
               "job.toml:2: data.ignore takes an array of strings, and here is an array");
  EXPECT_STREQ(refusal("data = 3\n").what(), "job.toml:1: 'data' is a section, and here is a whole number");
  EXPECT_THAT(refusal("[optimizer]\nlearning_rate = nan\n").what(), HasSubstr("must be"));
}

TEST(JobFileTest, RefusesWhatIsNotBuiltByName) {
  const auto lambda = refusal("[functions]\nengine = \"lambda\"\n");
  EXPECT_EQ(lambda.kind(), ErrorKind::kUnsupported);
  EXPECT_FALSE(lambda.remedy().empty());
  EXPECT_EQ(refusal("[exchange]\nchannel = \"rediss://cache?cert=/a\"\n").kind(), ErrorKind::kUsage);
}

TEST(JobFileTest, RefusesWhatIsNotToml) {
  const auto error = refusal("[data\ntrain = 1\n");
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_THAT(error.what(), testing::StartsWith("job.toml:1:"));
  EXPECT_EQ(refusal("seed = 1\nseed = 2\n").kind(), ErrorKind::kUsage);
}

TEST(JobFileTest, TakesTextBeyondAscii) {
  EXPECT_EQ(job_of("# größe\n[output]\nname = \"größe µ\" # ü\n").output.name, "größe µ");
}

TEST(JobFileTest, RefusesWhatBreaksTheParsersOwnAssumptions) {
  for (const char* text :
       {"a.", "[a.", "a.ü = 1", "ü = 1", "[stop]\nepochs = ü", "[ü]", "a = {ü = 1}", "=", "[", "{", "a. = 1"}) {
    EXPECT_EQ(refusal(text).kind(), ErrorKind::kUsage) << text;
  }
}

TEST(JobFileTest, ThatCannotBeReadIsAUsageError) {
  try {
    static_cast<void>(read_job_file("/nowhere/job.toml", Source::kJobFile));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/job.toml"));
  }
}

TEST(JobTemplateTest, IsAJobThatChangesNothingButTheData) {
  auto job = job_of(job_template("my \"data\".csv"));
  EXPECT_EQ(job.data.train, "my \"data\".csv");
  job.data.train.clear();
  EXPECT_EQ(job, Job());
}

TEST(JobTemplateTest, IsValidWithEveryCommentedOptionSwitchedOn) {
  std::string text = job_template("data.csv");
  for (std::size_t at = 0; (at = text.find("\n# ", at)) != std::string::npos;) {
    const auto end = text.find('\n', at + 1);
    if (text.substr(at, end - at).find(" = ") != std::string::npos) text.erase(at + 1, 2);
    at += 1;
  }
  // Columns may have one role only; the examples name one column for each.
  EXPECT_EQ(job_of(text).data.label, "clicked") << text;
}

TEST(JobSchemaTest, KnowsEveryOptionThatIsBuilt) {
  const auto schema = job_schema();
  for (const auto& option : job_options()) {
    const auto& properties =
        option.section.empty() ? schema["properties"] : schema["properties"][std::string(option.section)]["properties"];
    EXPECT_EQ(properties.contains(std::string(option.key)), option.store != nullptr) << option_name(option);
  }
}

TEST(JobSchemaTest, TakesAChoiceThatGoesOn) {
  const auto channel = job_schema()["properties"]["exchange"]["properties"]["channel"];
  EXPECT_EQ(channel["default"], "auto");
  EXPECT_EQ(
      channel["anyOf"].dump(),
      R"([{"enum":["auto","ps","s3","redis","memcached","dynamodb","direct","directory"]},{"pattern":"^ps:.","type":"string"},{"pattern":"^redis:.","type":"string"},{"pattern":"^rediss:.","type":"string"},)"
      R"({"pattern":"^memcached:.","type":"string"},{"pattern":"^dynamodb:.","type":"string"},{"pattern":"^s3:.","type":"string"},)"
      R"({"pattern":"^direct:.","type":"string"}])");
}

TEST(JobDocsTest, EqualThePageOfDocs) {
  const char* root = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  ASSERT_NE(root, nullptr) << "run by ctest, which sets it";
  const auto page = read_file(std::filesystem::path(root) / "docs/job-file.md");
  EXPECT_EQ(as_text(page), job_docs_page()) << "write it anew: virga config docs > docs/job-file.md";
}

}  // namespace
}  // namespace virga
