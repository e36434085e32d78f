// Predictions for raw CSV rows, and what evaluate says about the same rows.
#include <cmath>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/random.h"
#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Rows {
  std::string labelled = "age,colour,note,answer\n";
  std::string bare = "note,age,colour\n";  // in another order, and without the label
  std::vector<bool> yes;
};

/// Numbers, some of them missing; words; quoted texts with commas and quotes. Older and red ones say yes, mostly.
Rows make_rows(int count, std::uint32_t seed) {
  const Random random(seed, Purpose::kTest);
  Rows rows;
  for (int i = 0; i < count; ++i) {
    const auto draw = [&](std::uint32_t what) { return random.uniform(0, static_cast<std::uint64_t>(i), what); };
    const bool red = draw(0) < 0.3;
    const auto age = std::to_string(20 + static_cast<int>(60 * draw(1)));
    const bool yes = (draw(1) > 0.5) != (draw(2) < (red ? 0.2 : 0.1));
    const std::string colour = red ? "red" : draw(3) < 0.5 ? "blue" : "";
    const auto shown = draw(4) < 0.1 ? std::string("NA") : age;
    const auto note = "\"a, \"\"" + std::to_string(i % 3) + "\"\"\"";
    rows.labelled += fmt::format("{},{},{},{}\n", shown, colour, note, yes ? "yes" : "no");
    rows.bare += fmt::format("{},{},{}\n", note, shown, colour);
    rows.yes.push_back(yes);
  }
  return rows;
}

class PredictTest : public testing::Test {
 protected:
  PredictTest() : test_(make_rows(400, 2)) {
    folder_.write("train.csv", make_rows(2000, 1).labelled);
    folder_.write("test.csv", test_.labelled);
    folder_.write("bare.csv", test_.bare);
    document({"import", "train.csv", "--test", "test.csv", "--to", "set"});
    document({"train", "set", "--epochs", "2", "--learning-rate", "0.5", "--out", "model"});
  }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  json document(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const auto result = virga(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    return json::parse(result.out);
  }
  void expect_refused(const std::vector<std::string>& arguments, int code, const std::string& text) const {
    const auto result = virga(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(text));
  }
  TemporaryFolder folder_;
  Rows test_;
};

TEST_F(PredictTest, JudgesRawRowsAsTheSameRowsOfTheImportedSet) {
  auto raw = document({"evaluate", "model", "test.csv"});
  auto imported = document({"evaluate", "model", "set", "--split", "test"});
  // The rows of a set are shuffled, so sums round otherwise.
  EXPECT_NEAR(raw["loss"].get<double>(), imported["loss"].get<double>(), 1e-12);
  EXPECT_NEAR(raw["auc"].get<double>(), imported["auc"].get<double>(), 1e-12);
  EXPECT_EQ(raw["accuracy"], imported["accuracy"]);
  EXPECT_EQ(raw["confusion_matrix"], imported["confusion_matrix"]);
  EXPECT_EQ(imported["split"], "test");
  EXPECT_EQ(raw["split"], nullptr);
}

TEST_F(PredictTest, GivesTheProbabilitiesWhoseLossEvaluateReports) {
  const auto result = virga({"predict", "model", "bare.csv", "--output", "probability"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(result.out);
  double loss = 0;
  std::size_t row = 0;
  for (double probability; lines >> probability; ++row) {
    ASSERT_LT(row, test_.yes.size());
    loss -= std::log(test_.yes[row] ? probability : 1 - probability);
  }
  ASSERT_EQ(row, test_.yes.size());
  // Probabilities are floats, off by 2^-24: the logarithm of 1 - p by 2^-24 / (1 - p), and 1 - p is above 0.01 here.
  EXPECT_NEAR(loss / static_cast<double>(row), document({"evaluate", "model", "test.csv"})["loss"].get<double>(), 1e-5);
  EXPECT_EQ(virga({"predict", "model", "test.csv", "--output", "probability"}).out, result.out);
}

TEST_F(PredictTest, CountsValuesThatTrainingDidNotHave) {
  folder_.write("new.csv", "age,colour,note\n30,violet,\"a, \"\"0\"\"\"\n");
  const auto document_of_new = document({"predict", "model", "new.csv", "--out", "p.txt"});
  EXPECT_EQ(document_of_new["unseen_values"], 1);
  EXPECT_THAT(virga({"predict", "model", "new.csv"}).err, HasSubstr("1 value does not occur"));
}

TEST_F(PredictTest, RefusesBadRowsUnlessItMaySkipThem) {
  folder_.write("new.csv", "age,colour,note\nold,red,x\n30,red,x\n");
  expect_refused({"predict", "model", "new.csv"}, 3, "new.csv:2:1: column \"age\" is numeric");
  const auto skipped = virga({"predict", "model", "new.csv", "--skip-bad", "1"});
  EXPECT_EQ(skipped.exit_code, 0);
  EXPECT_EQ(std::ranges::count(skipped.out, '\n'), 1);
  folder_.write("other.csv", "age,color,note\n30,red,x\n");
  expect_refused({"predict", "model", "other.csv"}, 3, "there is no column \"colour\"");
  expect_refused({"evaluate", "model", "bare.csv"}, 3, "there is no column \"answer\"");
}

TEST_F(PredictTest, RefusesWhatMakesNoSense) {
  expect_refused({"predict", "model", "set"}, 2, "an imported set, whose rows are shuffled");
  expect_refused({"predict", "model", "bare.csv", "--output", "labels"}, 2, "use label, probability or raw");
  expect_refused({"predict", "model", "bare.csv", "--out", "./model"}, 2, "cannot write ./model: it is read, too");
  expect_refused({"predict", "model", "bare.csv", "--out", "bare.csv"}, 2, "cannot write bare.csv: it is read, too");
  expect_refused({"predict", "nothing", "bare.csv"}, 3, "cannot read nothing");
  expect_refused({"predict", "bare.csv", "bare.csv"}, 3, "not a valid safetensors file");
  expect_refused({"evaluate", "model", "set", "--split", "tset"}, 2, "--split: 'tset'");
  expect_refused({"evaluate", "model", "nowhere.csv"}, 3, "nowhere.csv");
  expect_refused({"evaluate", "model", "test.csv", "--split", "test"}, 2, "which has no splits");
  expect_refused({"evaluate", "model", "test.csv", "--skip-bad", "-1"}, 2, "'-1' is not a whole number");
  EXPECT_EQ(json::parse(virga({"evaluate", "model", "bare.csv", "--json"}).out)["error"]["code"], "bad_data");
  EXPECT_EQ(shell("head -c 500 model > cut; virga evaluate cut test.csv").exit_code, 3);
}

TEST_F(PredictTest, SaysThatTheDiskIsFull) {
  const auto full = shell("virga predict model bare.csv > /dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  expect_refused({"predict", "model", "bare.csv", "--out", "/dev/full"}, 1, "No space left");
  // A write that fails in the middle, here beyond 1 KiB, leaves no file.
  EXPECT_EQ(shell("trap '' XFSZ; ulimit -f 1; virga predict model bare.csv --output raw --out p.txt").exit_code, 1);
  EXPECT_EQ(shell("ls -A | grep p.txt").out, "");
}

}  // namespace
}  // namespace virga
