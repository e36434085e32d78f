// runs, show and rm over real records.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"
#include "virga/driver/run_record.h"

namespace virga {
namespace {

using testing::HasSubstr;

class RunsTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path home() const { return folder_.path() / "home"; }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] static Settings settings(const std::string& name, const std::string& tag) {
    Settings settings;
    for (const auto& [section, key, text] : {std::array<std::string, 3>{"data", "train", "/x/a9a.gz"},
                                             {"output", "name", name},
                                             {"output", "tags", tag}}) {
      const auto* option = find_option(section, key);
      settings.set({{.option = option, .value = parse_value(*option, text, "test"), .source = Source::kFlag}});
    }
    return settings;
  }
  std::string finished_run(int minute, const std::string& name, const std::string& tag) const {
    RunRecord record(home(), settings(name, tag),
                     std::chrono::system_clock::time_point(std::chrono::minutes(29920638 + minute)));
    record.resolve({{"model.kind", "logistic"}});
    for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) {
      record.add({.epoch = epoch,
                  .train_loss = 0.5 / epoch,
                  .validation_loss = epoch == 2 ? 0.25 : 0.5,
                  .learning_rate = 0.1,
                  .examples = std::uint64_t{1000} * epoch,
                  .seconds = 0.5 * epoch});
    }
    record.finish(RunState::kFinished, "epochs", 0, "");
    return record.id();
  }
  TemporaryFolder folder_;
};

TEST_F(RunsTest, AreListedWithTheNewestLast) {
  const auto first = finished_run(0, "one", "x");
  const auto second = finished_run(1, "two", "y");
  const auto result = virga({"runs"});
  EXPECT_THAT(result.out, testing::ContainsRegex(first + " +one +finished \\(epochs\\) +a9a.gz +logistic +3 +0.25000"));
  EXPECT_LT(result.out.find(first), result.out.find(second));
  EXPECT_EQ(virga({"runs", "-q"}).out, first + "\n" + second + "\n");
  EXPECT_EQ(virga({"runs", "-q", "--tag", "y"}).out, second + "\n");
  const auto document = nlohmann::json::parse(virga({"runs", "--json"}).out);
  EXPECT_EQ(document["schema_version"], 1);
  EXPECT_EQ(document["runs"][1]["name"], "two");
  EXPECT_EQ(document["runs"][1]["best_loss"], 0.25);
}

TEST_F(RunsTest, AreShownWithTableAndPlot) {
  const auto id = finished_run(0, "one", "x");
  const auto result = virga({"show"});
  EXPECT_THAT(result.out, HasSubstr("Run " + id + " (one)"));
  EXPECT_THAT(result.out, testing::ContainsRegex("2 +0.25000 +0.25000 +0.1 +2,000 +1.00 s +best\n"));
  EXPECT_THAT(result.out, HasSubstr("o training loss   * validation loss"));
  EXPECT_EQ(virga({"show", "one"}).out, result.out);
  const auto document = nlohmann::json::parse(virga({"show", id, "--json"}).out);
  EXPECT_EQ(document["run"]["history"].size(), 3);
  EXPECT_EQ(document["run"]["resolved"]["model.kind"], "logistic");
  EXPECT_EQ(document["run"]["settings"]["seed"]["source"], "default");
}

TEST_F(RunsTest, AreRemovedAllOrNone) {
  const auto first = finished_run(0, "one", "x");
  const auto second = finished_run(1, "two", "y");
  EXPECT_EQ(virga({"rm", first, "nonsense"}).exit_code, 3);
  EXPECT_EQ(virga({"runs", "-q"}).out, first + "\n" + second + "\n");
  EXPECT_EQ(virga({"rm", first}).exit_code, 0);
  EXPECT_EQ(virga({"runs", "-q"}).out, second + "\n");
  EXPECT_EQ(virga({"rm"}).exit_code, 2);
}

TEST_F(RunsTest, ThatRunAreNotRemoved) {
  const RunRecord record(home(), settings("now", "x"), std::chrono::system_clock::now());
  const auto result = virga({"rm", "now"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("is running"));
  EXPECT_THAT(virga({"runs"}).out, HasSubstr("running"));
}

}  // namespace
}  // namespace virga
