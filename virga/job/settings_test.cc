#include "virga/job/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Option& option(std::string_view section, std::string_view key) {
  const auto* found = find_option(section, key);
  EXPECT_NE(found, nullptr) << key;
  return *found;
}

Setting setting(std::string_view section, std::string_view key, std::string_view text, Source source = Source::kFlag) {
  const auto& which = option(section, key);
  return {.option = &which,
          .value = parse_value(which, text, option_flag(which)),
          .source = source,
          .origin = option_flag(which)};
}

Job job_of(std::vector<Setting> given) {
  Settings settings;
  settings.set(std::move(given));
  std::vector<std::string> warnings;
  return make_job(settings, warnings);
}

template <typename Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::kInternal, ""};
}

Error refusal(std::string_view section, std::string_view key, std::string_view text) {
  return error_of([&] { static_cast<void>(setting(section, key, text)); });
}

TEST(ParseValueTest, ReadsEachType) {
  EXPECT_EQ(job_of({setting("optimizer", "learning_rate", "0.25")}).optimizer.learning_rate, 0.25);
  EXPECT_EQ(job_of({setting("optimizer", "learning_rate", "auto")}).optimizer.learning_rate, std::nullopt);
  EXPECT_EQ(job_of({setting("optimizer", "batch_size", "512")}).optimizer.batch_size, 512);
  EXPECT_EQ(job_of({setting("model", "fit_bias", "false")}).model.fit_bias, false);
  EXPECT_EQ(job_of({setting("stop", "seconds", "15min")}).stop.seconds, std::chrono::minutes(15));
  EXPECT_EQ(job_of({setting("functions", "workers", "3")}).functions.workers, 3);
  EXPECT_EQ(job_of({setting("", "seed", "9223372036854775807")}).seed, 9223372036854775807U);
  EXPECT_THAT(job_of({setting("output", "tags", "a,b")}).output.tags, ElementsAre("a", "b"));
}

TEST(ParseValueTest, ReadsClassWeights) {
  EXPECT_TRUE(job_of({setting("model", "class_weight", "balanced")}).model.class_weight_balanced);
  const auto job = job_of({setting("model", "class_weight", "-1=1,a=b=2.5")});
  EXPECT_FALSE(job.model.class_weight_balanced);
  EXPECT_EQ(job.model.class_weight, (std::map<std::string, double>{{"-1", 1}, {"a=b", 2.5}}));
  EXPECT_EQ(job_of({setting("model", "class_weight", "none")}), Job());
}

TEST(ParseValueTest, ReadsBackWhatItPrints) {
  for (const auto& [section, key, text] :
       std::vector<std::array<const char*, 3>>{{"optimizer", "learning_rate", "0.1"},
                                               {"optimizer", "learning_rate", "auto"},
                                               {"optimizer", "epsilon", "1e-08"},
                                               {"model", "class_weight", "0=1,1=2.5"},
                                               {"model", "class_weight", "balanced"},
                                               {"data", "ignore", "id,name"},
                                               {"stop", "seconds", "90s"},
                                               {"stop", "target_loss", "none"},
                                               {"", "seed", "18"}}) {
    const auto& which = option(section, key);
    EXPECT_EQ(value_text(which, parse_value(which, text, "test")), text) << key;
  }
}

TEST(ParseValueTest, RefusesWhatIsNotOfTheType) {
  EXPECT_STREQ(refusal("optimizer", "learning_rate", "fast").what(), "--learning-rate: 'fast' is not a number");
  EXPECT_EQ(refusal("optimizer", "learning_rate", "fast").remedy(), "give a number or auto");
  EXPECT_STREQ(refusal("optimizer", "batch_size", "1.5").what(), "--batch-size: '1.5' is not a whole number");
  EXPECT_STREQ(refusal("optimizer", "batch_size", "-1").what(), "--batch-size: '-1' is not a whole number");
  EXPECT_STREQ(refusal("model", "fit_bias", "maybe").what(), "--fit-bias: 'maybe' is neither true nor false");
  EXPECT_STREQ(refusal("model", "class_weight", "heavy").what(), "--class-weight: 'heavy' is not CLASS=WEIGHT");
  EXPECT_THAT(refusal("stop", "seconds", "5 parsecs").what(), HasSubstr("unknown unit 'parsecs'"));
  EXPECT_STREQ(refusal("data", "train", "").what(), "--train: is empty");
}

TEST(ParseValueTest, RefusesWhatIsOutOfRange) {
  EXPECT_STREQ(refusal("optimizer", "learning_rate", "0").what(), "--learning-rate: must be above 0, and is 0");
  EXPECT_STREQ(refusal("optimizer", "batch_size", "0").what(), "--batch-size: must be at least 1, and is 0");
  EXPECT_STREQ(refusal("optimizer", "momentum", "1").what(), "--momentum: must be below 1, and is 1");
  EXPECT_STREQ(refusal("model", "l2", "-1").what(), "--l2: must be at least 0, and is -1");
  EXPECT_THAT(refusal("model", "l2", "nan").what(), HasSubstr("must be"));
  EXPECT_THAT(refusal("model", "l2", "inf").what(), HasSubstr("must be"));
  EXPECT_THAT(refusal("model", "class_weight", "a=-2").what(), HasSubstr("must be at least 0"));
  EXPECT_THAT(refusal("", "seed", "18446744073709551615").what(), HasSubstr("too large"));
  EXPECT_THAT(refusal("stop", "seconds", "0s").what(), HasSubstr("must be above 0"));
}

TEST(ParseValueTest, NamesTheNearestWord) {
  const auto error = refusal("model", "kind", "logistik");
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_STREQ(error.what(),
               "--model: 'logistik' is not one of auto, logistic, svm, svm-squared, softmax, least-squares, kmeans, "
               "gaussian-mixture");
  EXPECT_EQ(error.remedy(), "did you mean logistic?");
}

TEST(ParseValueTest, ReadsAChoiceThatGoesOn) {
  for (const auto* text :
       {"ps:unix:/run/virga.socket", "ps:tcp:127.0.0.1:7077", "ps:tcp:[::1]:7077", "redis://127.0.0.1:6379",
        "redis://me@cache/2", "redis:unix:/run/redis.socket", "memcached://cache", "memcached:unix:/run/m",
        "dynamodb://table/runs", "dynamodb://table?region=eu-west-1&endpoint=http://127.0.0.1:8000", "s3://bucket/runs",
        "s3://bucket?region=eu-west-1&endpoint=http://127.0.0.1:8000&style=virtual", "direct", "direct:10.0.0.7"}) {
    EXPECT_EQ(job_of({setting("exchange", "channel", text)}).exchange.channel, text);
  }
  const std::pair<const char*, const char*> refused[] = {
      {"ps:", "--channel: not an address: \"\""},
      {"ps:nowhere", "--channel: not an address: \"nowhere\""},
      {"ps:tcp:127.0.0.1", "the port is missing"},
      {"ps:unix:virga.socket", "--channel: the path of the socket is a relative one"},
      {"psst:tcp:127.0.0.1:7077",
       "is not one of auto, ps, ps:ADDRESS, redis://HOST:PORT, rediss://HOST:PORT, memcached://HOST:PORT, "
       "dynamodb://TABLE/PREFIX, "
       "s3://BUCKET/PREFIX, s3, redis, memcached, dynamodb, direct, direct:HOST, directory"},
      {"redis:", "--channel: not the URI of a Redis server"},
      {"redis://cache:none", "its port is no number"},
      {"redis:unix:redis.socket", "--channel: the path of the socket is a relative one"},
      {"redis://me:pa55word@cache", "holds a password"},
      {"memcached:", "--channel: "},
      {"memcached:unix:m.socket", "--channel: the path of the socket is a relative one"},
      {"memcached://me:pa55word@cache", "a password does not belong there"},
      {"dynamodb://a", "3 to 255 characters"},
      {"dynamodb://me:pa55word@table", "no password in it"},
      {"direct:0.0.0.0", "nobody can connect to 0.0.0.0"},
      {"s3:bucket", "--channel: "},
      {"s3://me:pa55word@bucket", "no password in it"}};
  for (const auto& [text, why] : refused) {
    const auto error = refusal("exchange", "channel", text);
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(why));
  }
  EXPECT_THAT(refusal("exchange", "channel", "ps:nowhere").remedy(), HasSubstr("tcp:127.0.0.1:7077"));
  for (const auto* text : {"redis://me:pa55word@cache", "rediss://me:pa55word@cache", "memcached://me:pa55word@cache",
                           "dynamodb://me:pa55word@table", "s3://me:pa55word@bucket"}) {
    EXPECT_THAT(refusal("exchange", "channel", text).what(), testing::Not(HasSubstr("pa55")));
  }
  EXPECT_EQ(refusal("exchange", "channel", "rediss://cache?ca=relative.pem").kind(), ErrorKind::kUsage);
  EXPECT_EQ(refusal("exchange", "channel", "dirctory").remedy(), "did you mean directory?");
}

TEST(ParseValueTest, RefusesByNameWhatIsNotBuilt) {
  const auto engine = refusal("functions", "engine", "lambda");
  EXPECT_EQ(engine.kind(), ErrorKind::kUnsupported);
  EXPECT_STREQ(engine.what(), "--engine: \"lambda\" is not built yet");
  EXPECT_THAT(engine.remedy(), HasSubstr("single"));
}

TEST(ParseValueTest, ReadsBytes) {
  EXPECT_EQ(job_of({}).functions.memory_bytes, std::nullopt);
  EXPECT_EQ(job_of({setting("functions", "memory", "512MiB")}).functions.memory_bytes, 512U << 20);
  const auto& option = *find_option("functions", "memory");
  EXPECT_EQ(value_text(option, parse_value(option, "2GB", "here")), "2000MB");
  EXPECT_EQ(value_text(option, parse_value(option, "1KiB", "here")), "1024");
  EXPECT_THAT(refusal("functions", "memory", "0").what(), HasSubstr("must be at least 1"));
  EXPECT_THAT(refusal("functions", "memory", "much").what(), HasSubstr("is not a number with a unit"));
  EXPECT_THAT(refusal("functions", "memory", "3 parrots").what(), HasSubstr("unknown unit"));
}

TEST(SettingsTest, LetTheHigherSourceWinInAnyOrder) {
  const auto value = [](std::vector<Setting> given) { return job_of(std::move(given)).stop.epochs; };
  EXPECT_EQ(value({setting("stop", "epochs", "1", Source::kConfig), setting("stop", "epochs", "2", Source::kJobFile)}),
            2);
  EXPECT_EQ(
      value({setting("stop", "epochs", "3", Source::kVariable), setting("stop", "epochs", "2", Source::kJobFile)}), 3);
  EXPECT_EQ(value({setting("stop", "epochs", "4", Source::kFlag), setting("stop", "epochs", "3", Source::kVariable)}),
            4);
}

TEST(SettingsTest, TellTheSourceOfEachValue) {
  Settings settings;
  settings.set({setting("optimizer", "learning_rate", "0.5")});
  const auto json = settings_json(settings);
  EXPECT_EQ(json["optimizer"]["learning_rate"],
            (nlohmann::json{{"value", 0.5}, {"source", "flag"}, {"origin", "--learning-rate"}}));
  EXPECT_EQ(json["seed"], (nlohmann::json{{"value", 1}, {"source", "default"}}));
  EXPECT_EQ(json["optimizer"]["batch_size"]["value"], "auto");
  EXPECT_EQ(json["stop"]["seconds"]["value"], nullptr);
}

TEST(EnvironmentTest, GivesSettings) {
  const std::pair<std::string, std::string> environment[] = {
      {"PATH", "/bin"}, {"VIRGA_HOME", "/tmp/x"}, {"VIRGA_OPTIMIZER_LEARNING_RATE", "0.3"}, {"VIRGA_SEED", ""}};
  std::vector<std::string> warnings;
  const auto settings = settings_from_environment(environment, warnings);
  ASSERT_EQ(settings.size(), 1);
  EXPECT_EQ(settings[0].origin, "VIRGA_OPTIMIZER_LEARNING_RATE");
  EXPECT_EQ(settings[0].source, Source::kVariable);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(EnvironmentTest, WarnsOfNamesThatLookLikeOptions) {
  const std::pair<std::string, std::string> environment[] = {{"VIRGA_OPTIMIZER_LEARNING_RTE", "0.3"},
                                                             {"VIRGA_SEEED", "3"},
                                                             {"VIRGA_BIN_DIR", "/x"},
                                                             {"VIRGA_CHANNEL_TOKEN", "secret"}};
  std::vector<std::string> warnings;
  EXPECT_THAT(settings_from_environment(environment, warnings), IsEmpty());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("did you mean VIRGA_OPTIMIZER_LEARNING_RATE?"),
                                    HasSubstr("did you mean VIRGA_SEED?")));
}

TEST(EnvironmentTest, RefusesBadValuesByTheVariablesName) {
  const std::pair<std::string, std::string> environment[] = {{"VIRGA_STOP_EPOCHS", "many"}};
  std::vector<std::string> warnings;
  const auto error = error_of([&] { static_cast<void>(settings_from_environment(environment, warnings)); });
  EXPECT_STREQ(error.what(), "VIRGA_STOP_EPOCHS: stop.epochs: 'many' is not a whole number");
}

TEST(MakeJobTest, RefusesL1WithOptimizersThatHaveNoDefinitionOfIt) {
  for (const char* name : {"momentum", "nesterov"}) {
    const auto error = error_of([&] {
      static_cast<void>(job_of({setting("model", "l1", "0.1"), setting("optimizer", "name", name)}));
    });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("model.l1 cannot be combined with optimizer"));
  }
  for (const char* name : {"sgd", "adagrad", "adam"}) {
    EXPECT_EQ(job_of({setting("model", "l1", "0.1"), setting("optimizer", "name", name)}).optimizer.name, name);
  }
}

TEST(MakeJobTest, RefusesClassWeightsWithoutClasses) {
  EXPECT_THROW(static_cast<void>(
                   job_of({setting("model", "kind", "least-squares"), setting("model", "class_weight", "balanced")})),
               Error);
}

TEST(MakeJobTest, RefusesAColumnWithTwoRoles) {
  const auto error = error_of([] {
    static_cast<void>(job_of({setting("data", "label", "y"), setting("data", "ignore", "x,y")}));
  });
  EXPECT_STREQ(error.what(), "--ignore: column 'y' is both data.label and data.ignore");
}

TEST(MakeJobTest, RefusesFaultsThatThereAreNot) {
  const auto refused = [](const std::string& faults) {
    return std::string(error_of([&] { static_cast<void>(job_of({setting("exchange", "faults", faults)})); }).what());
  };
  const auto typo = error_of([] { static_cast<void>(job_of({setting("exchange", "faults", "thottled=0.1")})); });
  EXPECT_STREQ(typo.what(), "--faults: exchange.faults: there is no fault \"thottled\"");
  EXPECT_EQ(typo.remedy(), "did you mean throttled?");
  EXPECT_THAT(refused("lost=2"), HasSubstr("lost: \"2\" is not a probability"));
  EXPECT_THAT(refused("late=0.1,late=0.2"), HasSubstr("late is given twice"));
  EXPECT_THAT(refused("late=0.6,lost=0.6"), HasSubstr("more than 1 together"));
  EXPECT_THAT(refused("jitter=0.1x"), HasSubstr("jitter"));
}

TEST(MakeJobTest, WarnsOfWhatHasNoEffect) {
  Settings settings;
  settings.set({setting("optimizer", "momentum", "0.8")});
  std::vector<std::string> warnings;
  static_cast<void>(make_job(settings, warnings));
  EXPECT_THAT(warnings, ElementsAre("--momentum: optimizer.momentum has no effect with optimizer adagrad"));
}

TEST(MakeJobTest, TakesPricesByNameOrAsAFile) {
  EXPECT_EQ(job_of({}).functions.prices, "aws-us-east-1");
  EXPECT_EQ(job_of({setting("functions", "prices", "ibm-2021")}).functions.prices, "ibm-2021");
  EXPECT_EQ(job_of({setting("functions", "prices", "mine.json")}).functions.prices, "mine.json");
  const auto unknown = refusal("functions", "prices", "ibm-2012");
  EXPECT_EQ(unknown.kind(), ErrorKind::kUsage);
  EXPECT_THAT(unknown.what(), HasSubstr("--prices: there is no price table 'ibm-2012' in this program, only aws"));
  EXPECT_EQ(unknown.remedy(), "did you mean ibm-2021?");
}

TEST(MakeJobTest, EmulatesAServiceByNameBySetOrByFiguresOfOnesOwn) {
  const auto emulated = [](std::vector<Setting> settings) {
    settings.push_back(setting("functions", "engine", "process"));
    return job_of(std::move(settings)).exchange;
  };
  EXPECT_EQ(emulated({setting("exchange", "emulate", "ibm-2021:redis")}).emulate, "ibm-2021:redis");
  const auto named = emulated({setting("exchange", "emulate", "ibm-2021"), setting("exchange", "channel", "redis")});
  EXPECT_EQ(named.emulate, "ibm-2021:redis");
  EXPECT_EQ(named.channel, "ps");
  EXPECT_EQ(emulated({setting("exchange", "emulate", "latency=25ms,bandwidth=40MB")}).emulate,
            "latency=25ms,bandwidth=40MB");
  const auto unknown = refusal("exchange", "emulate", "latency=25ms");
  EXPECT_EQ(unknown.kind(), ErrorKind::kUsage);
  EXPECT_THAT(unknown.what(), HasSubstr("--emulate: \"latency=25ms\" is no service: its bandwidth is missing"));
  EXPECT_THAT(unknown.remedy(), HasSubstr("latency=25ms,bandwidth=40MB"));
}

TEST(MakeJobTest, OfPricesOnlyAFileIsTakenFromTheFolder) {
  const auto kept = [](const char* text) {
    Settings settings;
    settings.set({setting("functions", "prices", text)});
    const auto again = settings_from_text(settings_text(settings, "/here"));
    return std::get<std::string>(again.get("functions", "prices").value);
  };
  EXPECT_EQ(kept("ibm-2021"), "ibm-2021");
  EXPECT_EQ(kept("mine.json"), "/here/mine.json");
  EXPECT_EQ(kept("/there/mine.json"), "/there/mine.json");
}

TEST(MakeJobTest, ConnectsVirtualMachinesWithEachOther) {
  const auto engine = setting("functions", "engine", "vm");
  EXPECT_EQ(job_of({engine}).exchange.channel, "direct");
  EXPECT_EQ(job_of({engine, setting("exchange", "channel", "ps")}).exchange.channel, "ps");
  const auto emulated = setting("exchange", "emulate", "aws-2021");
  EXPECT_EQ(job_of({engine, emulated}).exchange.emulate, "aws-2021:c5.large");
  EXPECT_EQ(job_of({engine, emulated, setting("functions", "instance", "t2.medium")}).exchange.emulate,
            "aws-2021:t2.medium");
  const auto through_s3 = job_of({engine, emulated, setting("exchange", "channel", "s3")});
  EXPECT_EQ(through_s3.exchange.emulate, "aws-2021:s3");
  EXPECT_EQ(through_s3.exchange.channel, "ps");
}

TEST(MakeJobTest, RefusesOfVirtualMachinesWhatOnlyFunctionsHave) {
  const auto error_with = [](const char* key, const char* value) {
    return error_of([&] {
      static_cast<void>(job_of({setting("functions", "engine", "vm"), setting("functions", key, value)}));
    });
  };
  EXPECT_THAT(error_with("memory", "1769MB").what(), HasSubstr("--memory: functions.memory: engine vm has no limit"));
  EXPECT_THAT(error_with("memory", "1769MB").remedy(), HasSubstr("--instance"));
  EXPECT_THAT(error_with("lifetime", "60s").what(),
              HasSubstr("--lifetime: functions.lifetime: the workers of engine vm"));
  EXPECT_EQ(error_with("lifetime", "60s").kind(), ErrorKind::kUsage);
  EXPECT_EQ(job_of({setting("functions", "instance", "mine.large")}).functions.instance, "mine.large")
      << "a price table may have it";
  // A config.toml may say it for other jobs.
  Settings settings;
  settings.set({setting("functions", "engine", "vm")});
  auto memory = setting("functions", "memory", "1769MB");
  memory.source = Source::kConfig;
  settings.set({memory});
  std::vector<std::string> warnings;
  static_cast<void>(make_job(settings, warnings));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("functions.memory has no effect with engine vm")));
}

}  // namespace
}  // namespace virga
