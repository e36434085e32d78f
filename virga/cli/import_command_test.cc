// What the user of `virga import` sees: what is accepted, what is refused and how, what is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cli/program_testing.h"
#include "virga/data/files_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string libsvm_rows(int rows) {
  std::string text;
  for (int row = 0; row < rows; ++row) {
    text += std::to_string(row % 2) + " " + std::to_string(1 + row % 7) + ":0.5 9:" + std::to_string(row) + "\n";
  }
  return text;
}

/// IDX: `count` items of `shape`, all bytes `value % 3`.
std::string idx(std::uint32_t count, const std::vector<std::uint32_t>& shape) {
  std::string text{'\0', '\0', '\x08', static_cast<char>(1 + shape.size())};
  std::size_t size = count;
  auto dimensions = shape;
  dimensions.insert(dimensions.begin(), count);
  for (const auto dimension : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>((dimension >> shift) & 0xFF);
  }
  for (const auto dimension : shape) size *= dimension;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i % 3);
  return text;
}

class ImportTest : public testing::Test {
 protected:
  [[nodiscard]] ProgramResult import(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "import");
    arguments.insert(arguments.end(), {"--to", "set", "--progress", "none"});
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] ProgramResult import_text(const std::string& name, const std::string& text,
                                          std::vector<std::string> flags = {}) const {
    folder_.write(name, text);
    flags.insert(flags.begin(), name);
    return import(flags);
  }
  [[nodiscard]] json document(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", "--overwrite"});
    const auto result = import(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    return json::parse(result.out);
  }
  /// A refusal of the given exit code, which leaves nothing.
  void expect_refused(const ProgramResult& result, int code, const std::string& text) const {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("virga: error: "), HasSubstr(text)));
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "set"));
  }
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  TemporaryFolder folder_;
};

TEST_F(ImportTest, RefusesBadLinesOfLibsvmWithTheirPlace) {
  const auto after_good_rows = [&](const std::string& line) {
    return import_text("a.svm", libsvm_rows(20) + line + "\n" + libsvm_rows(20));
  };
  expect_refused(after_good_rows("1 2:nan"), 3, "a.svm:21:5: the value is not finite: \"nan\"");
  expect_refused(after_good_rows("1 2:1 5:-Inf"), 3, "a.svm:21:9: the value is not finite");
  expect_refused(after_good_rows("1 5:1 5:2"), 3, "a.svm:21:7: index 5 stands twice");
  expect_refused(after_good_rows("1 99999999999999999999:2"), 3, "a.svm:21:3: the index is above 2147483646");
  expect_refused(after_good_rows("1 3"), 3, "a.svm:21:3: not an index:value");
  expect_refused(import_text("a.svm", "1 0:3 2:1\n" + libsvm_rows(20), {"--index-base", "1"}), 3,
                 "a.svm:1:3: the index is 0");
}

TEST_F(ImportTest, AcceptsTheVariantsOfLibsvm) {
  const auto rows = libsvm_rows(40);
  auto returns = rows;
  for (std::size_t at = 0; (at = returns.find('\n', at)) != std::string::npos; at += 2) returns.insert(at, "\r");
  folder_.write("a", rows);
  const auto plain = document({"a"});
  EXPECT_EQ(plain["train"]["rows"].get<int>() + plain["validation"]["rows"].get<int>(), 40);
  EXPECT_EQ(plain["features"], 9);
  for (const auto& text : {rows.substr(0, rows.size() - 1), returns, gzip(rows), zstd(rows)}) {
    folder_.write("a", text);
    const auto set = document({"a"});
    EXPECT_EQ(set["train"], plain["train"]);
    EXPECT_EQ(set["validation"], plain["validation"]);
  }
  folder_.write("a", "# a comment\n\n1 9:1 2:1 # descending\n" + rows + "0 0:1\n");
  EXPECT_EQ(document({"a"})["features"], 10);  // the index 0 occurs: 0 ... 9
}

TEST_F(ImportTest, RefusesFilesWithoutRowsOrWithOneClass) {
  expect_refused(import_text("a.svm", ""), 3, "a.svm: there are no records in it");
  expect_refused(import_text("a.svm", "# only\n# comments\n", {"--format", "libsvm"}), 3, "there are no rows");
  expect_refused(import_text("a.csv", "a,b,label\n"), 3, "there are no rows");
  expect_refused(import_text("a.svm", "1 1:1\n1 2:1\n1 3:1\n"), 3, "all labels are the same (1)");
  expect_refused(import({"nowhere.svm"}), 3, "nowhere.svm: No such file");
}

TEST_F(ImportTest, RefusesPackedFilesThatAreCutShortOrDamaged) {
  const auto rows = libsvm_rows(2000);
  const auto half = [](const std::string& text) { return text.substr(0, text.size() / 2); };
  expect_refused(import_text("a.gz", half(gzip(rows))), 3, "a.gz: the packed data end too early");
  expect_refused(import_text("a.zst", half(zstd(rows))), 3, "a.zst: the packed data end too early");
  expect_refused(import_text("a.gz", gzip(rows) + "garbage"), 3, "a.gz: the gzip data are damaged");
}

TEST_F(ImportTest, RefusesIdxFilesThatDoNotFit) {
  const auto with = [&](const std::string& images, const std::string& labels) {
    folder_.write("train-images-idx3-ubyte", images);
    folder_.write("train-labels-idx1-ubyte", labels);
    return import({"."});
  };
  expect_refused(with(idx(60, {4, 4}), idx(50, {})), 3,
                 "it has 60 images, but ./train-labels-idx1-ubyte has 50 labels");
  expect_refused(with("\x12\x34\x56\x78 no such magic", idx(60, {})), 3, "this is not an IDX file");
  expect_refused(with(idx(60, {4, 4}).substr(0, 900), idx(60, {})), 3, "ends before the number of items");
  const auto images = with(idx(60, {4, 4}), idx(60, {}));
  EXPECT_EQ(images.exit_code, 0) << images.err;
  EXPECT_THAT(images.err, HasSubstr("16 features (dense), 3 classes"));
}

TEST_F(ImportTest, ReadsQuotedFieldsAndRefusesRaggedRows) {
  std::string rows = "size,\"the \"\"text\"\"\",label\n";
  for (int i = 0; i < 30; ++i) {
    rows += std::to_string(i) + ",\"a, \"\"b\"\"\nline " + std::to_string(i % 2) + "\"," + std::to_string(i % 2) + "\n";
  }
  folder_.write("a.csv", rows);
  const auto set = document({"a.csv"});
  EXPECT_EQ(set["columns"][1]["name"], "the \"text\"");
  EXPECT_EQ(set["columns"][1]["features"], 3);  // two levels, and what is not seen in training
  std::filesystem::remove_all(folder_.path() / "set");
  expect_refused(import_text("a.csv", rows + "1,2\n"), 3, "a.csv:62:1: 2 fields, but there are 3 columns");
  expect_refused(import_text("a.csv", rows + "1,\"open,1\n"), 3, "a.csv:62:3: a quote is not closed");
}

TEST_F(ImportTest, ToleratesAsManyBadLinesAsItIsTold) {
  folder_.write("a.svm", libsvm_rows(20) + "1 x\n" + libsvm_rows(20) + "1 1:inf\n");
  expect_refused(import({"a.svm", "--skip-bad", "1"}), 3, "more than 1 bad lines; the first: a.svm:21:3");
  const auto set = document({"a.svm", "--skip-bad", "2"});
  EXPECT_EQ(set["skipped_rows"], 2);
  EXPECT_THAT(set["first_bad_lines"], ElementsAre(testing::_, "a.svm:42:5: the value is not finite: \"inf\""));
  std::filesystem::remove_all(folder_.path() / "set");
  expect_refused(import({"a.svm", "--skip-bad", "-1"}), 2, "--skip-bad: '-1' is not a whole number");
}

TEST_F(ImportTest, RefusesColumnsAndWeightsThatMakeNoSense) {
  std::string rows = "size,weight,label\n";
  for (int i = 0; i < 30; ++i) rows += std::to_string(i) + ",1," + std::to_string(i % 2) + "\n";
  expect_refused(import_text("a.csv", rows, {"--label", "lable"}), 2, "is \"label\" meant?");
  const auto weighted = [&](const std::string& last) {
    return import_text("a.csv", rows + "1," + last + ",1\n", {"--weight", "weight"});
  };
  expect_refused(weighted("-1"), 3, "a.csv:32:3: column \"weight\": no weight (a number from 0 on): \"-1\"");
  expect_refused(weighted("nan"), 3, "no weight (a number from 0 on): \"nan\"");
  expect_refused(import_text("a.csv", rows + "1,1,\n"), 3, "a.csv:32:5: the label is missing");
  expect_refused(import_text("a.csv", rows + ",1,1\n", {"--missing", "error"}), 3, "the value is missing");
  expect_refused(import({"a.csv", "--format", "cvs"}), 2, "did you mean csv?");
}

TEST_F(ImportTest, NamesColumnsThatTeachNothingOrLookOdd) {
  std::string rows = "fixed,blank,almost,x,label\n";
  for (int i = 0; i < 30; ++i) {
    const auto number = std::to_string(i);
    rows += "5,," + (i == 7 ? "1e400" : number) + "," + number + "," + std::to_string(i % 2) + "\n";
  }
  folder_.write("a.csv", rows);
  const auto set = document({"a.csv"});
  EXPECT_THAT(set["constant_columns"], ElementsAre("fixed"));
  EXPECT_THAT(set["empty_columns"], ElementsAre("blank"));
  EXPECT_THAT(set["almost_numeric_columns"], ElementsAre("almost"));
}

TEST_F(ImportTest, HashesColumnsOfManyLevelsAndCountsUnseenOnes) {
  std::string rows = "user,colour,label\n";
  for (int i = 0; i < 12'000; ++i) {
    rows += "u" + std::to_string(i) + "," + (i % 3 == 0 ? "red" : "blue") + "," + std::to_string(i % 2) + "\n";
  }
  folder_.write("a.csv", rows);
  folder_.write("v.csv", "user,colour,label\nnew,green,1\nu1,red,0\n");
  const auto set = document({"a.csv", "--validation", "v.csv"});
  ASSERT_EQ(set["hashed_columns"].size(), 1);
  const auto& hashed = set["hashed_columns"][0];
  EXPECT_EQ(hashed["name"], "user");
  EXPECT_NEAR(hashed["levels"].get<double>(), 12'000, 20);  // told apart by 24 bits
  EXPECT_EQ(hashed["buckets"], 32'768);
  // n levels fall into m buckets: m (1 - exp(-n / m)) are in use; three standard deviations are below 0.01.
  EXPECT_NEAR(hashed["collision_rate"].get<double>(), 0.165, 0.01);
  EXPECT_EQ(set["unseen_values"], 1);  // green; a hashed column knows all values
}

TEST_F(ImportTest, KeepsWhatIsThereUnlessItIsToldToReplaceIt) {
  folder_.write("a.svm", libsvm_rows(40));
  ASSERT_EQ(import({"a.svm"}).exit_code, 0);
  EXPECT_EQ(import({"a.svm"}).exit_code, 1);
  EXPECT_EQ(import_text("bad.svm", libsvm_rows(40) + "1 x\n", {"--overwrite"}).exit_code, 3);
  EXPECT_EQ(run_program({"inspect", "set"}, folder_.path()).exit_code, 0);  // as it was
  EXPECT_EQ(import({"a.svm", "--overwrite"}).exit_code, 0);

  std::filesystem::remove_all(folder_.path() / "set");
  folder_.write("set", "precious");
  const auto on_a_file = import({"a.svm", "--overwrite"});
  EXPECT_EQ(on_a_file.exit_code, 1);
  EXPECT_THAT(on_a_file.err, HasSubstr("set: it is no directory"));
  EXPECT_TRUE(std::filesystem::is_regular_file(folder_.path() / "set"));
}

TEST_F(ImportTest, ReadsAPipeOnlyWhereOnceIsEnough) {
  folder_.write("a.svm", libsvm_rows(40));
  folder_.write("a.csv", "x,label\n1,0\n2,1\n3,0\n4,1\n");
  EXPECT_EQ(shell("virga import - --to set --format libsvm < a.svm").exit_code, 0);
  std::filesystem::remove_all(folder_.path() / "set");
  expect_refused(shell("virga import - --to set < a.svm"), 2, "say --format libsvm");
  expect_refused(shell("virga import <(cat a.csv) --to set --format csv"), 2, "CSV and IDX files are read twice");
}

TEST_F(ImportTest, LeavesNothingOnAFullDisk) {
  folder_.write("a.svm", libsvm_rows(50'000));
  // As on a full disk, a write fails in the middle: here beyond 64 KiB.
  expect_refused(shell("trap '' XFSZ; ulimit -f 64; virga import a.svm --to set"), 1, "set/train/000000.blk: File too");
}

/// Starts an import that waits for more input, sends it `signal` and prints its exit code. It reads a pipe of which it
/// has had rows, and which stays open until it has said that it stops (or is dead).
std::string script_that_sends(const std::string& signal) {
  return "set -m; mkfifo input events; virga import input --format libsvm --to set --json --progress none 2>events & "
         "pid=$!; exec 4<events 3>input; for i in {1..8}; do cat rows >&3; done; kill -" +
         signal + " $pid; read -r line <&4; exec 3>&-; wait $pid; echo \"exit $?\"; rm input events";
}

TEST_F(ImportTest, LeavesNothingWhenItIsStopped) {
  folder_.write("rows", libsvm_rows(50'000));
  for (const auto& [signal, code] : {std::pair{"INT", "130"}, {"TERM", "143"}}) {
    const auto stopped = shell(script_that_sends(signal));
    const auto end = stopped.out.find("exit ");
    ASSERT_NE(end, std::string::npos) << stopped.err;
    EXPECT_EQ(stopped.out.substr(end), std::string("exit ") + code + "\n");
    EXPECT_EQ(json::parse(stopped.out.substr(0, end))["error"]["code"], "interrupted");
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "set"));
  }
}

TEST_F(ImportTest, StartsAnewWhereAKilledOneLeftItsFiles) {
  folder_.write("rows", libsvm_rows(50'000));
  EXPECT_THAT(shell(script_that_sends("KILL")).out, HasSubstr("exit 137"));
  // Killed while it wrote blocks, it leaves these.
  EXPECT_EQ(shell("mkdir -p set/train; echo x | tee set/train/000007.blk set/train/.000008.blk.aB3xyZ").exit_code, 0);
  EXPECT_EQ(run_program({"inspect", "set"}, folder_.path()).exit_code, 3);  // it does not look whole
  ASSERT_EQ(import({"rows"}).exit_code, 0);
  EXPECT_EQ(shell("ls -A set/train").out, "000000.blk\n");
  EXPECT_EQ(run_program({"inspect", "set"}, folder_.path()).exit_code, 0);
}

TEST_F(ImportTest, AnswersInJsonWhateverHappens) {
  folder_.write("a.svm", libsvm_rows(40));
  const auto good = document({"a.svm"});
  EXPECT_EQ(good["schema_version"], 1);
  EXPECT_EQ(good["kind"], "set");
  EXPECT_EQ(good["set"], "set");
  for (const auto& [arguments, code] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"a.svm"}, "conflict"},
           {{"nowhere", "--overwrite"}, "not_found"},
           {{"a.svm", "--format", "x"}, "usage"},
           {{"a.svm", "--no-such-flag"}, "usage"},
           {{"a.svm", "--overwrite", "--label", "x", "--format", "idx"}, "bad_data"}}) {
    auto with_json = arguments;
    with_json.emplace_back("--json");
    const auto result = import(with_json);
    const auto answer = json::parse(result.out);
    EXPECT_EQ(answer["error"]["code"], code);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_FALSE(answer["error"]["message"].get<std::string>().empty());
  }
}

}  // namespace
}  // namespace virga
