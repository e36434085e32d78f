#include "virga/job/presets.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Job preset_job(std::string_view name, const std::vector<std::pair<std::string_view, std::string_view>>& more = {}) {
  Settings settings;
  settings.set(find_preset(name).settings);
  for (const auto& [option, text] : more) {
    const auto* found = find_option(option.substr(0, option.find('.')), option.substr(option.find('.') + 1));
    settings.set(
        {{.option = found, .value = parse_value(*found, text, "test"), .source = Source::kFlag, .origin = ""}});
  }
  std::vector<std::string> warnings;
  auto job = make_job(settings, warnings);
  EXPECT_THAT(warnings, testing::IsEmpty()) << name;
  return job;
}

Error preset_refusal(std::string_view name, std::vector<std::pair<std::string_view, std::string_view>> more = {}) {
  try {
    (void)preset_job(name, std::move(more));
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << name << " was not refused";
  return {ErrorKind::kInternal, ""};
}

Error refusal_of_text(std::string_view text) {
  try {
    (void)parse_preset("mine", text, "mine.toml");
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << text << " was not refused";
  return {ErrorKind::kInternal, ""};
}

bool needs_service(const Preset& preset) { return preset.name.starts_with("lambdaml-") || preset.name == "pywren"; }

TEST(PresetsTest, MakeJobsThatAreAllowed) {
  std::set<std::string> names;
  for (const auto& preset : presets()) {
    EXPECT_TRUE(names.insert(preset.name).second) << preset.name;
    EXPECT_FALSE(preset.help.empty()) << preset.name;
    EXPECT_THAT(preset.text, HasSubstr(preset.help));
    if (!needs_service(preset)) (void)preset_job(preset.name);
  }
}

TEST(PresetsTest, DecideWhatTheirNamesSay) {
  EXPECT_EQ(preset_job("single").functions.engine, "single");
  EXPECT_EQ(preset_job("functions-ps").functions.engine, "local");
  EXPECT_EQ(preset_job("functions-ps").exchange.channel, "ps");
  EXPECT_EQ(preset_job("functions-directory").exchange.channel, "directory");
  EXPECT_EQ(preset_job("single").exchange.algorithm, "gradient-averaging");
  EXPECT_EQ(preset_job("model-averaging").exchange.algorithm, "model-averaging");
  EXPECT_EQ(preset_job("admm").exchange.algorithm, "admm");
  EXPECT_EQ(preset_job("ssp").exchange.protocol, "ssp");
  EXPECT_EQ(preset_job("siren").exchange.protocol, "asp");
}

TEST(PresetsTest, AServiceThatIsNamedIsTheOneOfTheJob) {
  const auto redis = preset_job("lambdaml-redis", {{"services.redis", "redis://cache:6379"}});
  EXPECT_EQ(redis.exchange.channel, "redis://cache:6379");
  EXPECT_EQ(redis.exchange.emulate, std::nullopt);
  EXPECT_EQ(preset_job("lambdaml-s3", {{"services.s3", "s3://bucket/x"}}).exchange.channel, "s3://bucket/x");
  EXPECT_EQ(preset_job("lambdaml-memcached", {{"services.memcached", "memcached://cache"}}).exchange.channel,
            "memcached://cache");
  EXPECT_EQ(preset_job("lambdaml-dynamodb", {{"services.dynamodb", "dynamodb://table"}}).exchange.channel,
            "dynamodb://table");
  const auto nowhere = preset_refusal("lambdaml-redis");
  EXPECT_THAT(nowhere.what(), HasSubstr("which redis is not said"));
  EXPECT_THAT(nowhere.remedy(), AllOf(HasSubstr("--redis redis://HOST:PORT"), HasSubstr("--emulate aws-2021")));
}

TEST(PresetsTest, PywrenHasAFunctionForEachRound) {
  EXPECT_EQ(preset_job("siren").functions.rounds_per_invocation, std::nullopt);
  const auto pywren = preset_job("pywren", {{"services.s3", "s3://bucket/x"}});
  EXPECT_EQ(pywren.functions.rounds_per_invocation, 1U);
  EXPECT_EQ(pywren.exchange.pattern, "leader");
  EXPECT_EQ(pywren.exchange.channel, "s3://bucket/x");
  EXPECT_EQ(preset_job("pywren", {{"exchange.emulate", "aws-2021"}}).exchange.emulate, "aws-2021:s3");
  EXPECT_THAT(preset_refusal("pywren").what(), HasSubstr("which s3 is not said"));
}

TEST(PresetsTest, AServiceThatIsNamedIsEmulated) {
  const auto s3 = preset_job("lambdaml-s3", {{"exchange.emulate", "aws-2021"}});
  EXPECT_EQ(s3.exchange.channel, "ps");
  EXPECT_EQ(s3.exchange.emulate, "aws-2021:s3");
  for (const auto* cache : {"lambdaml-redis", "lambdaml-memcached"}) {
    EXPECT_EQ(preset_job(cache, {{"exchange.emulate", "aws-2021"}}).exchange.emulate, "aws-2021:cache.t3.medium");
  }
  EXPECT_THAT(preset_refusal("lambdaml-dynamodb", {{"exchange.emulate", "aws-2021"}}).what(),
              HasSubstr("aws-2021 has no figures of dynamodb"));
}

TEST(PresetsTest, AnUnknownOneIsRefusedWithTheNearest) {
  EXPECT_EQ(preset_refusal("singel").remedy(), "did you mean single?");
  EXPECT_THAT(preset_refusal("zzzzzzzzzz").remedy(), HasSubstr("functions-ps, functions-directory"));
  EXPECT_EQ(preset_refusal("/nowhere/mine.toml").kind(), ErrorKind::kUsage);
}

TEST(PresetsTest, TryAllCombinationsOfWhatTheyTune) {
  const auto preset = parse_preset("mine",
                                   "# mine\n[tune.exchange]\nrho = [\"auto\", 0.5]\n"
                                   "[tune.optimizer]\nbatch_size = [10, 20, 30]\n",
                                   "mine.toml");
  EXPECT_EQ(preset.help, "mine");
  const auto trials = trials_of(preset);
  ASSERT_EQ(trials.size(), 6U);
  std::set<std::string> texts;
  for (const auto& trial : trials) {
    ASSERT_EQ(trial.size(), 2U);
    texts.insert(value_text(*trial[0].option, trial[0].value) + "|" + value_text(*trial[1].option, trial[1].value));
  }
  EXPECT_EQ(texts.size(), 6U);
  EXPECT_EQ(trials[1][0].option, trials[0][0].option);
  EXPECT_THAT(trials_of(parse_preset("mine", "", "mine.toml")), testing::ElementsAre(testing::IsEmpty()));
}

TEST(PresetsTest, RefuseWhatIsNoPreset) {
  EXPECT_THAT(refusal_of_text("[tune]\nrho = [1]\n").what(), HasSubstr("mine.toml:2"));
  EXPECT_THAT(refusal_of_text("[tune.exchange]\nrho = 1\n").what(), HasSubstr("takes an array of values to try"));
  EXPECT_THAT(refusal_of_text("[tune.exchange]\nrho = []\n").what(), HasSubstr("an empty one"));
  EXPECT_THAT(refusal_of_text("[tune.exchange]\nrho = [0]\n").what(), HasSubstr("must be above 0"));
  EXPECT_EQ(refusal_of_text("[tune.exchange]\nroh = [1]\n").remedy(), "did you mean rho?");
  EXPECT_EQ(refusal_of_text("[exchange]\nprotocol = \"isp\"\n").kind(), ErrorKind::kUnsupported);
  std::string many = "[tune.optimizer]\n";
  for (const auto* key : {"beta1", "beta2", "momentum"}) many += std::string(key) + " = [0.1, 0.2, 0.3, 0.4, 0.5]\n";
  EXPECT_THAT(refusal_of_text(many).what(), HasSubstr("more than 64 combinations"));
}

}  // namespace
}  // namespace virga
