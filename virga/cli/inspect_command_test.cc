#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"
#include "virga/data/set_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

class InspectTest : public testing::Test {
 protected:
  InspectTest() : set_({.train_rows = 25, .validation_rows = 5, .shape = {.rows = 10, .features = 100}}) {}
  [[nodiscard]] ProgramResult inspect(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "inspect");
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] std::string block() const { return set_.store().uri() + "/train/000000.blk"; }
  TestSet set_;
  TemporaryFolder folder_;
};

TEST_F(InspectTest, ShowsASet) {
  const auto text = inspect({set_.store().uri()});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("regression from libsvm, 100 sparse features"));
  EXPECT_THAT(text.out, testing::ContainsRegex("train +25 "));
  EXPECT_THAT(text.out, testing::ContainsRegex("validation +5 "));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("test ")));
  const auto document = nlohmann::json::parse(inspect({set_.store().uri(), "--json"}).out);
  EXPECT_EQ(document["kind"], "set");
  EXPECT_EQ(document["train"]["rows"], 25);
  EXPECT_EQ(document["schema_version"], 1);
}

TEST_F(InspectTest, ShowsABlockAndItsFirstRows) {
  const auto text = inspect({block(), "--rows", "2"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("3 groups"));
  EXPECT_THAT(text.out, testing::ContainsRegex("\n0 [0-9]+:.*\n1 [0-9]+:"));
  const auto document = nlohmann::json::parse(inspect({block(), "--json"}).out);
  EXPECT_EQ(document["groups"].size(), 3);
  EXPECT_EQ(document["groups"][2]["rows"], 5);
}

TEST_F(InspectTest, ShowsTheColumnsOfASetFromCsv) {
  folder_.write("rows.csv", "id,size,colour,bought\n1,2.5,red,no\n2,,blue,yes\n3,0.5,red,no\n4,1,green,yes\n");
  const auto imported = run_program(
      {"import", "rows.csv", "--to", "set", "--ignore", "id", "--validation-fraction", "0"}, folder_.path());
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  const auto text = inspect({"set"}).out;
  EXPECT_THAT(text, HasSubstr("binary from csv, 6 sparse features"));
  EXPECT_THAT(text, testing::ContainsRegex("\nid +ignored +- +-\nsize +numeric +2 +0\ncolour +categorical +4 +2\n"));
  EXPECT_THAT(text, testing::ContainsRegex("\nyes +2 +50.00 %\n"));
}

TEST_F(InspectTest, RefusesWhatIsDamagedMissingOrSomethingElse) {
  std::filesystem::resize_file(block(), std::filesystem::file_size(block()) - 1);
  const auto damaged = inspect({block()});
  EXPECT_EQ(damaged.exit_code, 3);
  EXPECT_THAT(damaged.err, HasSubstr("000000.blk"));
  EXPECT_EQ(inspect({"nowhere"}).exit_code, 3);
  folder_.write("notes.txt", "hello");
  EXPECT_THAT(inspect({"notes.txt"}).err, HasSubstr("notes.txt: neither"));
  EXPECT_EQ(inspect({folder_.path().string()}).exit_code, 3);
  EXPECT_EQ(inspect({}).exit_code, 2);
  EXPECT_EQ(inspect({set_.store().uri(), "--rows", "-1"}).exit_code, 2);
}

}  // namespace
}  // namespace virga
