// Runs on functions as their user sees them: dry run, end of a run, logs, stop, resume.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"
#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class FunctionsTest : public testing::Test {
 protected:
  FunctionsTest() {
    std::string rows;
    for (int row = 0; row < 1000; ++row) {
      const bool positive = row % 3 == 0;
      rows += std::string(positive == (row % 10 != 0) ? "1" : "-1") + (positive ? " 1:1" : " 2:1") + "\n";
    }
    folder_.write("data.svm", rows);
  }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  [[nodiscard]] ProgramResult train(const std::vector<std::string>& flags) const {
    std::vector<std::string> arguments{"train",     "data.svm", "--learning-rate", "0.5", "--engine", "process",
                                       "--workers", "2",        "--epochs",        "3"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return virga(arguments);
  }
  /// A run named "endless" that goes on beside what `then` does, which starts after its first evaluation; its process
  /// is $run.
  [[nodiscard]] ProgramResult beside_endless_run(const std::string& engine, const std::string& then) const {
    return shell(
        "set -m; mkfifo events; virga train data.svm --epochs 100000000 --patience 0 --learning-rate 0.1 "
        "--workers 2 --name endless --progress jsonl --engine " +
        engine + " 2> events & run=$!; exec 3< events; grep -m 1 evaluated <&3 > first; cat <&3 > rest & " + then);
  }
  TemporaryFolder folder_;
};

TEST_F(FunctionsTest, EndWithWhatTheyWouldHaveCost) {
  const auto text = train({"--pattern", "auto"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.err, ContainsRegex("auto chose [a-z-]+.*: [0-9.]+ ms a round expected; .*tree [0-9.]+ ms"));
  EXPECT_THAT(virga({"show"}).out, ContainsRegex("exchange.pattern_why = [a-z-]+.*: [0-9.]+ ms a round expected"));
  EXPECT_THAT(text.err, ContainsRegex("\nwould cost \\$[0-9.]+ on AWS Lambda \\(prices of [0-9-]+\\): functions "));
  EXPECT_THAT(text.err, ContainsRegex("\nfunctions: [0-9]+ invocations, .* in all: "));
  EXPECT_THAT(train({"-q"}).err, IsEmpty());
  const auto result = train({"--json"});
  const auto cost = json::parse(result.out)["cost"];
  EXPECT_EQ(cost["usd_kind"], "estimated");
  EXPECT_GT(cost["usd"], 0);
  EXPECT_EQ(cost["workers"].size(), 2);
  EXPECT_EQ(json::parse(virga({"show", "--json"}).out)["run"]["cost"]["usd"], cost["usd"]);
  ASSERT_EQ(virga({"show", "--html", "page.html"}).exit_code, 0);
  const auto page = shell("cat page.html").out;
  EXPECT_THAT(page, AllOf(HasSubstr("loss of the base rate"), ContainsRegex("base rate [0-9.]+<"),
                          ContainsRegex("key driver\"></span>driver ")));
}

TEST_F(FunctionsTest, DryRunPlansWithoutARecordOrAnImport) {
  const auto raw = train({"--dry-run", "--seconds", "10min"});
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_THAT(raw.out, AllOf(HasSubstr("Would import data.svm"), HasSubstr("2 of 1769 MB"),
                             ContainsRegex("at most \\$[0-9.]+ in all, by the time limit")));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "home"));

  ASSERT_EQ(virga({"import", "data.svm", "--to", "set"}).exit_code, 0);
  const auto plan = json::parse(
      virga({"train", "set", "--engine", "process", "--workers", "2", "--dry-run", "--json", "--seconds", "1h"}).out);
  EXPECT_EQ(plan["model"], "logistic");
  EXPECT_EQ(plan["workers"], 2);
  EXPECT_GT(plan["rounds_per_epoch"], 0);
  EXPECT_LT(plan["worker_needed_bytes"], plan["memory_bytes"]);
  EXPECT_EQ(plan["cost"]["usd_bound"], "time limit");
  EXPECT_GT(plan["cost"]["usd_at_most"], plan["cost"]["usd_at_once"]);
  EXPECT_EQ(plan["pattern"], "all-to-all");
  EXPECT_THAT(virga({"train", "set", "--engine", "process", "--workers", "2", "--pattern", "auto", "--dry-run"}).out,
              HasSubstr("what a probe of 2 s at most says is fastest, through a data store"));
  EXPECT_TRUE(plan["succession"].is_null());
  const auto fresh = json::parse(virga({"train", "set", "--engine", "process", "--workers", "2", "--epochs", "3",
                                        "--rounds-per-invocation", "2", "--dry-run", "--json"})
                                     .out);
  const auto rounds = 3 * fresh["rounds_per_epoch"].get<int>();
  const auto generations = (rounds + 1) / 2;
  EXPECT_EQ(fresh["succession"]["generations"], generations);
  EXPECT_EQ(fresh["succession"]["invocations"], 2 * generations);
  EXPECT_EQ(fresh["succession"]["checkpoints_put"], generations - 1);
  EXPECT_EQ(fresh["succession"]["checkpoints_got"], 2 * (generations - 1));
  EXPECT_GT(fresh["succession"]["start_usd"], 0);
  const auto tight = virga({"train", "set", "--engine", "process", "--memory", "1MB", "--dry-run"});
  EXPECT_NE(tight.exit_code, 0);
  EXPECT_THAT(tight.err, HasSubstr("remedy"));
  const auto billed = [&](const char* flag, const char* value) {
    return virga({"train", "set", "--engine", "process", "--emulate", "aws-2021:s3", "--dry-run", flag, value}).out;
  };
  EXPECT_THAT(billed("--seed", "1"), HasSubstr("requests to S3 or DynamoDB come on top"));
  EXPECT_THAT(billed("--budget", "1"), HasSubstr("requests to S3 or DynamoDB are within the budget"));
  EXPECT_THAT(virga({"train", "set", "--engine", "process", "--dry-run"}).out, Not(HasSubstr("DynamoDB")));
  const auto single = virga({"train", "set", "--engine", "single", "--dry-run"});
  EXPECT_THAT(single.out, HasSubstr("nothing on a platform"));
  EXPECT_THAT(virga({"runs"}).err, HasSubstr("No runs yet"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "model.safetensors"));
}

TEST_F(FunctionsTest, DryRunFindsWhatIsImportedAlready) {
  std::filesystem::create_directory(folder_.path() / "raw");
  std::filesystem::copy(folder_.path() / "data.svm", folder_.path() / "raw");
  const auto imported = [&] {
    return json::parse(virga({"train", "raw/data.svm", "--dry-run", "--json"}).out)["imported"];
  };
  EXPECT_EQ(imported(), false);
  EXPECT_EQ(virga({"train", "raw/data.svm", "--epochs", "1", "--learning-rate", "0.5"}).exit_code, 0);
  EXPECT_EQ(imported(), true);
}

TEST_F(FunctionsTest, AreRefusedAtOnceIfTheMachineCannotHoldThem) {
  for (const char* dry : {"--dry-run", "--no-fit-bias"}) {
    const auto result = virga({"train", "data.svm", "--engine", "local", "--learning-rate", "0.5", "--workers", "1000",
                               "--memory", "10GB", dry});
    EXPECT_NE(result.exit_code, 0) << dry;
    EXPECT_THAT(result.err, AllOf(ContainsRegex("1000 workers and an evaluation of .* need .*, and this machine has"),
                                  HasSubstr("fewer workers (--workers)")))
        << dry;
  }
}

TEST_F(FunctionsTest, KeepToTheirBudget) {
  const auto small = train({"--budget", "0.0001"});
  EXPECT_EQ(small.exit_code, 5);
  EXPECT_THAT(small.err, AllOf(ContainsRegex("a budget of \\$0.0001.* is too small for 2 functions to begin: at least"),
                               HasSubstr("remedy: give a larger budget (--budget)")));
  EXPECT_EQ(train({"--budget", "0.0001", "--dry-run"}).exit_code, 5);
  EXPECT_THAT(train({"--budget", "1", "--dry-run"}).out, HasSubstr("at most $1.00 in all, by the budget"));
  EXPECT_THAT(virga({"train", "data.svm", "--epochs", "1", "--engine", "single", "--budget", "1"}).err,
              HasSubstr("stop.usd has no effect with engine single"));

  // Over a folder, which costs nothing, with a lifetime of a second: one generation of two workers.
  const auto part = train({"--epochs", "1000000", "--patience", "0", "--channel", "directory", "--pattern", "auto",
                           "--lifetime", "1", "--budget", "0.0019", "--json"});
  ASSERT_EQ(part.exit_code, 0) << part.err;
  const auto said = json::parse(part.out);
  EXPECT_EQ(said["ended_by"], "budget");
  EXPECT_LE(said["cost"]["usd"], 0.0019);
  const auto run = said["run"].get<std::string>();
  const auto resolved = json::parse(virga({"show", run, "--json"}).out)["run"]["resolved"];
  EXPECT_EQ(resolved["exchange.pattern_probe"]["forecasts"].size(), 5);
  EXPECT_THAT(virga({"resume", run, "--budget", "0.0001"}).err, HasSubstr("too small"));
  EXPECT_THAT(virga({"resume", run, "--budget", "much"}).err, HasSubstr("--budget"));
  const auto rest = json::parse(virga({"resume", run, "--budget", "0.0022", "--json"}).out);
  EXPECT_EQ(rest["ended_by"], "budget");
  EXPECT_LE(rest["cost"]["usd"], 0.0022);
  EXPECT_GT(rest["cost"]["usd"], said["cost"]["usd"]);
  EXPECT_GT(rest["epochs"], said["epochs"]);

  // Times go on where the first driver ended: in the ledger, in the history, in what the drivers did.
  const auto shown = json::parse(virga({"show", run, "--json"}).out)["run"];
  EXPECT_EQ(shown["resolved"], resolved) << "neither the rate nor the pattern is looked for again";
  const auto ledger = read_ledger(shown["folder"].get<std::string>() + "/ledger.jsonl");
  double before = 0, least = 1e9, most = 0;
  for (const auto& record : ledger.invocations) {
    if (record.task == "worker" && record.generation == 1) before = std::max(before, record.start_seconds);
    if (record.task == "worker" && record.generation > 1) least = std::min(least, record.start_seconds);
    most = std::max(most, record.start_seconds + record.seconds);
  }
  EXPECT_GT(least, before + said["functions"]["wall"]["wall_seconds"].get<double>() / 2);
  const auto& functions = shown["functions"];
  EXPECT_GE(functions["wall"]["wall_seconds"], most);
  EXPECT_GT(functions["wall"]["accounted_share"], 0.5);
  EXPECT_EQ(functions["training_start_seconds"], said["functions"]["training_start_seconds"]);
  double end = 0;
  bool resumed = false;
  for (const auto& stretch : functions["driver"]) {
    EXPECT_GE(stretch["start_seconds"].get<double>(), end - 1e-6) << stretch;
    end = stretch["start_seconds"].get<double>() + stretch["seconds"].get<double>();
    resumed |= stretch["what"] == "resumed";
  }
  EXPECT_TRUE(resumed);
  double last = 0;
  for (const auto& entry : shown["history"]) {
    EXPECT_GE(entry["elapsed_seconds"], last);
    last = entry["elapsed_seconds"];
  }
  EXPECT_GT(last + functions["training_start_seconds"].get<double>(), least);
}

TEST_F(FunctionsTest, AreStoppedFromElsewhereAndMayGoOn) {
  const auto result = beside_endless_run("process", "virga stop endless --json; wait $run; echo \"exit $?\"");
  EXPECT_THAT(result.out, HasSubstr("exit 130\n")) << result.err;
  const auto said = json::parse(result.out.substr(0, result.out.find('\n')));
  EXPECT_EQ(said["state"], "stopped");
  EXPECT_EQ(said["reason"], "signal");
  EXPECT_EQ(said["resume"], "virga resume " + said["run"].get<std::string>());
  const auto again = virga({"stop", "endless"});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, AllOf(HasSubstr("is not running: stopped"), HasSubstr("virga resume")));
}

TEST_F(FunctionsTest, OfOneMachineAreStoppedWithoutAWordOfResuming) {
  const auto result = beside_endless_run("single", "virga stop endless; wait $run; echo \"exit $?\"");
  EXPECT_THAT(result.out, HasSubstr("exit 130\n"));
  EXPECT_THAT(result.err, AllOf(HasSubstr(": stopped (signal)\n"), Not(HasSubstr("resume"))));
}

TEST_F(FunctionsTest, AreFollowedUntilTheyEnd) {
  const auto result = beside_endless_run("local",
                                         "virga logs > now; (virga logs -f --worker 1 2> notes; echo \"logs $?\") > "
                                         "followed & virga stop endless 2> told; "
                                         "wait; cat told now; echo ---; cat followed notes");
  const auto middle = result.out.find("---\n");
  ASSERT_NE(middle, std::string::npos) << result.err;
  EXPECT_THAT(result.out.substr(0, middle),
              AllOf(HasSubstr("to go on: virga resume "), ContainsRegex("\n0.1 +[^ ]+ worker 0 generation 1 begins, "),
                    ContainsRegex("\nevaluate +START RequestId: ")));
  EXPECT_THAT(result.out.substr(middle),
              AllOf(ContainsRegex("\n1.1 +[^ ]+ worker 1 generation 1 begins, "), Not(HasSubstr("\n0.1 ")),
                    HasSubstr("logs 0\n"), HasSubstr(": stopped (signal)\n")));
}

TEST_F(FunctionsTest, ProgressEventsSayHowTheLossesAre) {
  const auto result = train({"--progress", "jsonl", "-q"});
  EXPECT_THAT(result.err, ContainsRegex("\"base_loss\":0.6[^\n]*\"event\":\"progress\"[^\n]*\"train_loss\":0."));
}

TEST_F(FunctionsTest, NewcomersErrorsAreNamed) {
  const auto flag = virga({"train", "data.svm", "--dryrun"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_THAT(flag.err, HasSubstr("did you mean --dry-run?"));
  const auto command = virga({"log"});
  EXPECT_THAT(command.err, HasSubstr("did you mean logs?"));
  for (const char* name : {"logs", "stop", "show"}) {
    EXPECT_THAT(virga({name, "--help"}).out, HasSubstr("Examples:\n  virga " + std::string(name))) << name;
  }
  EXPECT_THAT(virga({"completion", "bash"}).out, AllOf(HasSubstr("\"logs\")"), HasSubstr("\"stop\")")));
}

TEST_F(FunctionsTest, VirtualMachinesAreBilledFromTheirRequestOn) {
  const std::vector<std::string> flags{"train",     "data.svm", "--learning-rate", "0.5", "--engine",  "vm",
                                       "--workers", "2",        "--epochs",        "3",   "--emulate", "aws-2021"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), flags.begin(), flags.end());
    return virga(more);
  };
  const auto text = with({});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.err,
              AllOf(ContainsRegex("would cost \\$[0-9.]+ on Amazon EC2 \\(prices of [0-9-]+\\): c5.large "),
                    HasSubstr("2 workers (virtual machines"), HasSubstr("virtual machines: 2 of type c5.large"),
                    HasSubstr("of start-up (aws-2021: not")));
  EXPECT_THAT(virga({"show"}).out,
              AllOf(HasSubstr("Virtual machines:"), HasSubstr("VM-seconds of start-up"), HasSubstr("START-UP")));
  const auto result = with({"--json", "--instance", "t2.medium"});
  const auto cost = json::parse(result.out)["cost"];
  EXPECT_EQ(cost["vm_startup_seconds"], 2 * 132);
  EXPECT_GT(cost["vm_seconds"], 0);
  EXPECT_EQ(cost["functions_usd"], 0);
  EXPECT_EQ(cost["usd"], cost["vm_usd"]);
  EXPECT_EQ(cost["workers"][1]["vm_startup_seconds"], 132);
  EXPECT_EQ(cost["bill"][0]["service"], "t2.medium");
  ASSERT_EQ(virga({"show", "--html", "page.html"}).exit_code, 0);
  EXPECT_THAT(shell("cat page.html").out, AllOf(HasSubstr("2 of type t2.medium"), HasSubstr("on Amazon EC2")));

  const auto plan = json::parse(with({"--dry-run", "--seconds", "1min", "--json"}).out);
  EXPECT_EQ(plan["instance"], "c5.large");
  EXPECT_EQ(plan["startup_seconds"], 132);
  EXPECT_EQ(plan["channel"], "direct");
  EXPECT_NEAR(plan["cost"]["usd_per_hour"], 2 * 0.085, 1e-9);
  EXPECT_THAT(with({"--dry-run"}).out, HasSubstr("2 of type c5.large, 2 vCPUs and 4 GiB each"));
  EXPECT_EQ(with({"--lifetime", "60s"}).exit_code, 2);
  EXPECT_EQ(with({"--memory", "708MB"}).exit_code, 2);
  EXPECT_THAT(with({"--dry-run", "--budget", "0.001"}).err, HasSubstr("132 s of start-up included"));
}

/// aws-us-east-1 with other figures.
std::string prices_of_mine(double usd_per_gb_second) {
  auto table = builtin_price_table();
  table.name = "My Cloud";
  table.date = "2026-02-03";
  table.functions.usd_per_gb_second = usd_per_gb_second;
  table.instances.types = {{"mine.small", table.instances.types.at("t2.medium")}};
  return price_table_text(table);
}

/// By prices_of_mine(0.001), reckoned by hand.
double usd_by_mine(const json& cost) {
  return cost["gb_seconds"].get<double>() * 0.001 + cost["invocations"].get<double>() * 2e-7;
}

TEST_F(FunctionsTest, AreReckonedByAPriceTableOfOnesOwnWhateverBecomesOfTheFile) {
  folder_.write("mine.json", prices_of_mine(0.001));
  const auto result = train({"--prices", "mine.json", "--channel", "directory", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto said = json::parse(result.out);
  const auto usd = said["cost"]["usd"].get<double>();
  EXPECT_EQ(said["cost"]["prices"]["name"], "My Cloud");
  EXPECT_NEAR(usd, usd_by_mine(said["cost"]), 1e-9);

  for (const auto& text : {prices_of_mine(5), std::string("{")}) {
    folder_.write("mine.json", text);
    EXPECT_EQ(json::parse(virga({"show", "--json"}).out)["run"]["cost"]["usd"], usd);
  }
  std::filesystem::remove(folder_.path() / "mine.json");
  const auto shown = json::parse(virga({"show", "--json"}).out)["run"];
  EXPECT_EQ(shown["cost"], said["cost"]);
  EXPECT_NEAR(shown["history"].back()["usd"].get<double>(), usd, usd);
  EXPECT_EQ(shown["settings"]["functions"]["prices"]["value"], "mine.json");
  EXPECT_THAT(virga({"show"}).out, HasSubstr("on My Cloud (prices of 2026-02-03)"));
  ASSERT_EQ(virga({"show", "--html", "page.html"}).exit_code, 0);
  EXPECT_THAT(shell("cat page.html").out, HasSubstr("on My Cloud (prices of 2026-02-03)"));

  // What would it have cost elsewhere?
  const auto elsewhere = json::parse(virga({"show", "--json", "--prices", "ibm-2021"}).out)["run"]["cost"];
  EXPECT_EQ(elsewhere["prices"]["name"], "IBM Cloud Functions");
  EXPECT_NEAR(elsewhere["usd"].get<double>(), elsewhere["gb_seconds"].get<double>() * 0.000017, 1e-9);
  EXPECT_EQ(virga({"show", "--prices", "ibm-2012"}).exit_code, 2);

  // A record that is older than such copies.
  std::filesystem::remove(shown["folder"].get<std::string>() + "/prices.json");
  EXPECT_THAT(virga({"show"}).out, HasSubstr("on AWS Lambda (prices of 2025-08-01)"));
}

TEST_F(FunctionsTest, GoOnByThePricesThatTheyWereStartedWith) {
  folder_.write("mine.json", prices_of_mine(0.001));
  const auto part = train({"--epochs", "1000000", "--patience", "0", "--channel", "directory", "--lifetime", "1",
                           "--prices", "mine.json", "--budget", "0.12", "--json"});
  ASSERT_EQ(part.exit_code, 0) << part.err;
  const auto said = json::parse(part.out);
  EXPECT_EQ(said["ended_by"], "budget");
  const auto usd = said["cost"]["usd"].get<double>();
  EXPECT_LE(usd, 0.12);
  EXPECT_NEAR(usd, usd_by_mine(said["cost"]), 1e-9) << "sixty times the usual prices";
  std::filesystem::remove(folder_.path() / "mine.json");
  const auto run = said["run"].get<std::string>();
  EXPECT_EQ(virga({"resume", run, "--budget", fmt::format("{:.9f}", usd / 2)}).exit_code, 5) << "it has cost more";
  const auto rest = virga({"resume", run, "--budget", "0.16", "--json"});
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  const auto all = json::parse(rest.out)["cost"];
  EXPECT_EQ(all["prices"]["name"], "My Cloud");
  EXPECT_GT(all["usd"], usd);
  EXPECT_NEAR(all["usd"], usd_by_mine(all), 1e-9);
  EXPECT_LE(all["usd"], 0.16);
}

TEST_F(FunctionsTest, ArePlannedByThePricesInForce) {
  std::filesystem::create_directory(folder_.path() / "jobs");
  folder_.write("jobs/job.toml",
                "[data]\ntrain = \"../data.svm\"\n[functions]\nworkers = 2\nmemory = \"1024MB\"\n"
                "prices = \"../mine.json\"\n[exchange]\nchannel = \"directory\"\n");
  const auto plan_with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"train", "jobs/job.toml", "--engine", "process", "--dry-run"});
    return virga(flags);
  };
  folder_.write("mine.json", prices_of_mine(0.001));
  const auto planned = plan_with({"--json"});
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  const auto plan = json::parse(planned.out);
  EXPECT_EQ(plan["cost"]["prices"]["name"], "My Cloud");
  // Two workers and an evaluation of a GB for an hour at a mill a second; requests are a hundred-thousandth of it.
  EXPECT_NEAR(plan["cost"]["usd_per_hour"].get<double>(), 3 * 3600 * 0.001, 1e-4);
  EXPECT_THAT(plan_with({"--prices", "ibm-2021"}).out, HasSubstr("on IBM Cloud Functions (prices of 2021-12-06)"));

  folder_.write("mine.json", R"({"schema_version": 1, "name": "Mine"})");
  const auto broken = plan_with({});
  EXPECT_EQ(broken.exit_code, 2);
  EXPECT_THAT(broken.err, AllOf(HasSubstr("job.toml:6: functions.prices: "), HasSubstr("mine.json"),
                                HasSubstr("region is missing")));
  const auto gone = train({"--prices", "nowhere.json"});
  EXPECT_EQ(gone.exit_code, 2);
  EXPECT_THAT(gone.err, HasSubstr("--prices: functions.prices: "));
  EXPECT_THAT(train({"--prices", "ibm-2012"}).err, HasSubstr("did you mean ibm-2021?"));
  EXPECT_THAT(virga({"train", "data.svm", "--engine", "single", "--epochs", "1", "--prices", "ibm-2021"}).err,
              HasSubstr("functions.prices has no effect with engine single"));
}

TEST_F(FunctionsTest, AreRefusedAtOnceIfThePricesDoNotSellWhatTheyNeed) {
  const auto refused = [&](const std::vector<std::string>& flags) {
    const auto result = train(flags);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    return result.err;
  };
  for (const char* dry : {"--dry-run", "--no-fit-bias"}) {
    EXPECT_THAT(refused({"--prices", "ibm-2021", "--emulate", "aws-2021", "--channel", "s3", dry}),
                AllOf(HasSubstr("paid for as 'object-store'"), HasSubstr("IBM Cloud Functions of 2021-12-06"),
                      HasSubstr("remedy: ")));
    EXPECT_THAT(refused({"--prices", "ibm-2021", "--memory", "3GB", dry}),
                AllOf(HasSubstr("no function has more than 2048MB"), HasSubstr("--memory 2048MB")));
    EXPECT_THAT(refused({"--prices", "ibm-2021", "--engine", "vm", dry}),
                HasSubstr("the prices of IBM Cloud Functions of 2021-12-06 have no virtual machines"));
    EXPECT_THAT(refused({"--engine", "vm", "--instance", "c5.lrge", dry}), HasSubstr("did you mean c5.large?"));
  }
  EXPECT_THAT(virga({"runs"}).err, HasSubstr("No runs yet"));
  folder_.write("mine.json", prices_of_mine(0.001));
  EXPECT_THAT(refused({"--prices", "mine.json", "--engine", "vm"}), HasSubstr("'c5.large' is not one of mine.small"));
  const auto own = train({"--prices", "mine.json", "--engine", "vm", "--instance", "mine.small", "--json"});
  ASSERT_EQ(own.exit_code, 0) << own.err;
  EXPECT_EQ(json::parse(own.out)["cost"]["bill"][0]["service"], "mine.small");
}

}  // namespace
}  // namespace virga
