#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class GenerateTest : public testing::Test {
 protected:
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  TemporaryFolder folder_;
};

TEST_F(GenerateTest, MakesTheSameFileFromTheSameSeed) {
  for (const auto* name : {"a.csv", "b.csv"}) {
    const auto result = virga({"generate", "criteo", "--to", name, "--rows", "500", "--seed", "7", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto document = json::parse(result.out);
    EXPECT_EQ(document["rows"], 500);
    EXPECT_EQ(document["text_bytes"], std::filesystem::file_size(folder_.path() / name));
  }
  EXPECT_EQ(shell("cmp a.csv b.csv && wc -l < a.csv").out, "501\n");
}

TEST_F(GenerateTest, MakesTheSetThatImportMakesOfItsFile) {
  ASSERT_EQ(virga({"generate", "ctr", "--to", "set", "--rows", "3000"}).exit_code, 0);
  ASSERT_EQ(virga({"generate", "ctr", "--to", "rows.svm", "--rows", "3000"}).exit_code, 0);
  ASSERT_EQ(virga({"import", "rows.svm", "--to", "imported"}).exit_code, 0);
  EXPECT_EQ(shell("cmp set/train/000000.blk imported/train/000000.blk").exit_code, 0);
  EXPECT_EQ(shell("cmp set/validation/000000.blk imported/validation/000000.blk").exit_code, 0);
}

TEST_F(GenerateTest, RefusesWhatMakesNoSense) {
  const auto kind = virga({"generate", "ctrr", "--to", "x.svm"});
  EXPECT_EQ(kind.exit_code, 2);
  EXPECT_THAT(kind.err, HasSubstr("is \"ctr\" meant?"));
  EXPECT_EQ(virga({"generate", "ctr", "--to", "x.svm", "--rows", "0"}).exit_code, 2);
  EXPECT_EQ(virga({"generate", "ctr", "--to", "x.svm", "--rows", "-5"}).exit_code, 2);
  EXPECT_EQ(virga({"generate", "ctr", "--to", "x.csv"}).exit_code, 2);
  EXPECT_EQ(virga({"generate", "ctr"}).exit_code, 2);
  EXPECT_EQ(shell("ls").out, "");
}

TEST_F(GenerateTest, ReplacesNothingUnlessItIsTold) {
  folder_.write("x.svm", "mine");
  EXPECT_EQ(virga({"generate", "ctr", "--to", "x.svm", "--rows", "10"}).exit_code, 1);
  EXPECT_EQ(shell("cat x.svm").out, "mine");
  EXPECT_EQ(virga({"generate", "ctr", "--to", "x.svm", "--rows", "10", "--overwrite"}).exit_code, 0);
}

TEST_F(GenerateTest, LeavesNothingOnAFullDisk) {
  for (const auto* to : {"x.svm", "set"}) {
    // As on a full disk, a write fails in the middle: here beyond 64 KiB.
    const auto result = shell(std::string("trap '' XFSZ; ulimit -f 64; virga generate ctr --rows 10000 --to ") + to);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr(std::string(to) + ": File too large"));
    EXPECT_EQ(shell("ls -A").out, "");
  }
}

}  // namespace
}  // namespace virga
