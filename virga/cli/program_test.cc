// The real program from the outside: help, typing errors, exit codes, JSON, standard streams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class ProgramTest : public testing::Test {
 protected:
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& variables = {}) const {
    return run_program(arguments, folder_.path(), variables);
  }
  /// The same line through bash, for redirections and pipes.
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  TemporaryFolder folder_;
};

TEST_F(ProgramTest, TeachesWhenNothingIsAsked) {
  const auto result = virga({});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, IsEmpty());
  for (const char* expected : {"Usage: virga COMMAND", "virga train", "Exit codes:", "doctor"}) {
    EXPECT_THAT(result.out, HasSubstr(expected));
  }
  EXPECT_EQ(virga({"--help"}).out, result.out);
}

TEST_F(ProgramTest, HasAPageForEachCommandWithAnExampleAndNoLineTooLong) {
  const auto overview = virga({}).out;
  const std::vector<std::vector<std::string>> commands{
      {"train"}, {"evaluate"}, {"predict"},        {"import"}, {"inspect"},        {"init"},      {"runs"},
      {"show"},  {"rm"},       {"config", "show"}, {"doctor"}, {"config", "docs"}, {"completion"}};
  for (auto command : commands) {
    EXPECT_THAT(overview, HasSubstr("  " + command[0]));
    command.emplace_back("--help");
    const auto page = virga(command);
    EXPECT_EQ(page.exit_code, 0);
    EXPECT_THAT(page.out, HasSubstr("Usage: virga " + command[0]));
    EXPECT_THAT(page.out, HasSubstr("Examples:\n"));
    EXPECT_THAT(page.out, HasSubstr("--json"));
    EXPECT_THAT(page.out, testing::Not(testing::ContainsRegex("[^\n]{101}")));
    EXPECT_THAT(page.out, testing::Not(testing::ContainsRegex(" \n")));
  }
}

TEST_F(ProgramTest, PrintsItsVersion) {
  EXPECT_THAT(virga({"--version"}).out, testing::MatchesRegex("virga [0-9.]+\n"));
}

TEST_F(ProgramTest, NamesTheNearestCommandAndFlag) {
  EXPECT_THAT(virga({"trian", "data"}).err, HasSubstr("did you mean train?"));
  const auto command = virga({"shwo"});
  EXPECT_EQ(command.exit_code, 2);
  EXPECT_EQ(command.err, "virga: error: unknown command 'shwo'\n  remedy: did you mean show?\n");
  EXPECT_THAT(command.out, IsEmpty());
  const auto flag = virga({"config", "show", "--learnig-rate", "0.1"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_EQ(flag.err, "virga: error: unknown flag '--learnig-rate'\n  remedy: did you mean --learning-rate?\n");
  EXPECT_THAT(virga({"config", "shwo"}).err, HasSubstr("did you mean show?"));
}

TEST_F(ProgramTest, RefusesWhatItDoesNotTake) {
  EXPECT_EQ(virga({"runs", "everything"}).exit_code, 2);
  EXPECT_THAT(virga({"runs", "everything"}).err, HasSubstr("unexpected argument 'everything'"));
  EXPECT_THAT(virga({"runs", "--tag"}).err, HasSubstr("--tag needs a value"));
  EXPECT_THAT(virga({"runs", "--progress", "loud"}).err, HasSubstr("'loud' is not one of"));
  EXPECT_THAT(virga({"--json", "runs"}).out, HasSubstr("flags come after the command"));
  EXPECT_EQ(virga({"runs", "--tag", "a", "b"}).exit_code, 2);
}

TEST_F(ProgramTest, PrintsErrorsAsJsonWhenAsked) {
  const auto result = virga({"show", "last", "--json"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, IsEmpty());
  const auto document = nlohmann::json::parse(result.out);
  EXPECT_EQ(document["schema_version"], 1);
  EXPECT_EQ(document["error"]["code"], "not_found");
  EXPECT_TRUE(document["error"]["message"].is_string());
  EXPECT_TRUE(document["error"]["remedy"].is_string());
  EXPECT_EQ(nlohmann::json::parse(virga({"config", "show", "--json", "--epohcs", "3"}).out)["error"]["code"], "usage");
}

TEST_F(ProgramTest, EndsQuietlyWhenItsReaderHasGone) {
  const auto result = shell("virga config docs | head -n 1; for i in 1 2 3; do virga config docs; done | true");
  EXPECT_EQ(result.out, "# The job file\n");
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(ProgramTest, ReportsThatItsOutputCouldNotBeWritten) {
  const auto full = shell("virga config docs > /dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("cannot write to standard output: No space left on device"));
  const auto closed = shell("virga config docs >&-");
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_THAT(closed.err, HasSubstr("cannot write to standard output"));
}

TEST_F(ProgramTest, NeverWritesAStreamIntoAFileThatTookItsNumber) {
  const auto result = shell("virga init data.csv 2>&- >&- <&-; tail -c 1 job.toml | wc -l; grep -c Wrote job.toml");
  EXPECT_EQ(result.out, "1\n0\n");
}

TEST_F(ProgramTest, CompletesCommandsFlagsAndWordsInBash) {
  const auto complete = [&](const std::string& words) {
    return shell("source <(virga completion bash); COMP_WORDS=(" + words +
                 "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _virga; echo ${COMPREPLY[@]}")
        .out;
  };
  EXPECT_EQ(complete("virga doc"), "doctor\n");
  EXPECT_EQ(complete("virga config s"), "show schema\n");
  EXPECT_EQ(complete("virga config show --learn"), "--learning-rate\n");
  EXPECT_EQ(complete("virga config show --optimizer ada"), "adagrad adam\n");
  EXPECT_EQ(complete("virga show la"), "last\n");
}

TEST_F(ProgramTest, PrintsCompletionThatParses) {
  const auto result =
      shell("virga completion bash > c.bash && bash -n c.bash && virga completion zsh > c.zsh && bash -n c.zsh");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(virga({"completion", "fish"}).exit_code, 2);
  EXPECT_THAT(virga({"completion", "zsh"}).out, StartsWith("#compdef virga\n"));
}

TEST_F(ProgramTest, DoctorFindsAHomeThatCannotBeWritten) {
  const auto healthy = virga({"doctor", "--json"});
  EXPECT_EQ(healthy.exit_code, 0);
  EXPECT_EQ(nlohmann::json::parse(healthy.out)["healthy"], true);
  folder_.write("file", "");
  const auto sick = shell("VIRGA_HOME=file/home virga doctor");
  EXPECT_EQ(sick.exit_code, 1);
  EXPECT_THAT(sick.out, HasSubstr("set VIRGA_HOME to a folder that you may write to"));
}

}  // namespace
}  // namespace virga
