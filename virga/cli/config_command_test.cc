// Where the values of a job come from, seen from the outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() { std::filesystem::create_directory(folder_.path() / "home"); }
  [[nodiscard]] ProgramResult show(std::vector<std::string> arguments,
                                   const std::vector<std::string>& variables = {}) const {
    arguments.insert(arguments.begin(), {"config", "show"});
    return run_program(arguments, folder_.path(), variables);
  }
  /// Value and source of stop.epochs.
  [[nodiscard]] std::string epochs(std::vector<std::string> arguments,
                                   const std::vector<std::string>& variables = {}) const {
    arguments.emplace_back("--json");
    const auto json = nlohmann::json::parse(show(std::move(arguments), variables).out);
    const auto& entry = json["settings"]["stop"]["epochs"];
    return entry["value"].dump() + " " + entry["source"].get<std::string>();
  }
  TemporaryFolder folder_;
};

TEST_F(ConfigTest, PrefersFlagThenVariableThenJobFileThenConfigThenDefault) {
  const std::vector<std::string> variable{"VIRGA_STOP_EPOCHS=4"};
  EXPECT_EQ(epochs({}), "20 default");
  folder_.write("home/config.toml", "[stop]\nepochs = 2\n");
  EXPECT_EQ(epochs({}), "2 config");
  folder_.write("job.toml", "[stop]\nepochs = 3\n");
  EXPECT_EQ(epochs({"job.toml"}), "3 job_file");
  EXPECT_EQ(epochs({"job.toml"}, variable), "4 variable");
  EXPECT_EQ(epochs({"job.toml", "--epochs", "5"}, variable), "5 flag");
}

TEST_F(ConfigTest, NamesFileAndLineVariableAndFlag) {
  folder_.write("job.toml", "\n[stop]\nepochs = 3\n");
  const auto text = show({"job.toml", "--l2", "0.5", "--no-fit-bias"}, {"VIRGA_SEED=8"}).out;
  EXPECT_THAT(text, testing::ContainsRegex("stop.epochs +3 +job.toml:3\n"));
  EXPECT_THAT(text, testing::ContainsRegex("model.l2 +0.5 +--l2\n"));
  EXPECT_THAT(text, testing::ContainsRegex("model.fit_bias +false +--fit-bias\n"));
  EXPECT_THAT(text, testing::ContainsRegex("seed +8 +VIRGA_SEED\n"));
}

TEST_F(ConfigTest, TakesListsWithCommasAndRepeated) {
  const auto text = show({"--ignore", "a,b", "--ignore", "c", "--tags=x"}).out;
  EXPECT_THAT(text, testing::ContainsRegex("data.ignore +a,b,c +--ignore\n"));
  EXPECT_THAT(text, testing::ContainsRegex("output.tags +x +--tags\n"));
}

TEST_F(ConfigTest, TakesTheLastOfARepeatedFlag) { EXPECT_EQ(epochs({"--epochs", "5", "--epochs", "6"}), "6 flag"); }

TEST_F(ConfigTest, WarnsOfAVariableThatIsATypingError) {
  const auto result = show({}, {"VIRGA_STOP_EPOCH=4"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("did you mean VIRGA_STOP_EPOCHS?"));
  EXPECT_EQ(show({"--quiet"}, {"VIRGA_STOP_EPOCH=4"}).err, "");
}

TEST_F(ConfigTest, RefusesABadJobFileWithItsLine) {
  folder_.write("job.toml", "[optimizer]\nlearning_rte = 1\n");
  const auto result = show({"job.toml"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(
      result.err,
      "virga: error: job.toml:2: unknown key 'learning_rte' in [optimizer]\n  remedy: did you mean learning_rate?\n");
  EXPECT_EQ(show({"none.toml"}).exit_code, 2);
  EXPECT_EQ(show({"--l1", "1", "--optimizer", "momentum"}).exit_code, 2);
  EXPECT_EQ(show({"--engine", "lambda"}).exit_code, 2);
}

TEST_F(ConfigTest, PrintsAJsonSchemaAndAManual) {
  const auto schema = nlohmann::json::parse(run_program({"config", "schema"}, folder_.path()).out);
  EXPECT_EQ(schema["properties"]["stop"]["properties"]["epochs"]["default"], 20);
  EXPECT_THAT(run_program({"config", "docs"}, folder_.path()).out, testing::StartsWith("# The job file\n"));
}

TEST_F(ConfigTest, InitWritesAJobFileOnce) {
  const auto first = run_program({"init", "my data.csv"}, folder_.path());
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(show({"job.toml"}).out, testing::ContainsRegex("data.train +my data.csv +job.toml:"));
  const auto again = run_program({"init"}, folder_.path());
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, HasSubstr("job.toml is there already"));
}

}  // namespace
}  // namespace virga
