#include "virga/job/options.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/job/settings.h"

namespace virga {
namespace {

TEST(OptionsTest, HaveNamesFlagsAndVariablesOfTheirOwn) {
  std::set<std::string> names;
  std::set<std::string> flags;
  std::set<std::string> variables;
  for (const auto& option : job_options()) {
    EXPECT_TRUE(names.insert(option_name(option)).second) << option_name(option);
    EXPECT_TRUE(flags.insert(option_flag(option)).second) << option_flag(option);
    EXPECT_TRUE(variables.insert(option_variable(option)).second) << option_variable(option);
  }
}

TEST(OptionsTest, AreStoredOrSayWhatWorksInstead) {
  for (const auto& option : job_options()) {
    EXPECT_EQ(option.store == nullptr, !option.instead.empty()) << option_name(option);
    EXPECT_FALSE(option.help.empty()) << option_name(option);
    EXPECT_FALSE(option.help.ends_with('.')) << option_name(option);
    EXPECT_EQ(option.type == OptionType::kChoice, !option.choices.empty()) << option_name(option);
  }
}

TEST(OptionsTest, StandInDeclaredSections) {
  std::set<std::string_view> sections;
  for (const auto& section : job_sections()) sections.insert(section.name);
  for (const auto& option : job_options()) EXPECT_TRUE(sections.contains(option.section)) << option_name(option);
}

TEST(OptionsTest, GiveTheDefaultsOfTheTypedJob) {
  std::vector<std::string> warnings;
  EXPECT_EQ(make_job(Settings(), warnings), Job());
  EXPECT_THAT(warnings, testing::IsEmpty());
}

TEST(OptionsTest, AreNamedForFilesFlagsAndVariables) {
  const auto* rate = find_option("optimizer", "learning_rate");
  ASSERT_NE(rate, nullptr);
  EXPECT_EQ(option_name(*rate), "optimizer.learning_rate");
  EXPECT_EQ(option_flag(*rate), "--learning-rate");
  EXPECT_EQ(option_variable(*rate), "VIRGA_OPTIMIZER_LEARNING_RATE");
  const auto* seed = find_option("", "seed");
  ASSERT_NE(seed, nullptr);
  EXPECT_EQ(option_name(*seed), "seed");
  EXPECT_EQ(option_variable(*seed), "VIRGA_SEED");
  EXPECT_EQ(find_option("optimizer", "seed"), nullptr);
}

}  // namespace
}  // namespace virga
