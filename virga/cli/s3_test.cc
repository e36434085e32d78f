// A data set at S3 (OpenStack Swift) from import to model, as a user runs it.
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/file.h"
#include "virga/cli/program_testing.h"
#include "virga/cost/ledger.h"
#include "virga/storage/object_store.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class S3ProgramTest : public testing::Test {
 protected:
  S3ProgramTest() : uri_("s3://" + swift_.make_bucket() + "/sets/small") {
    std::string rows;
    for (int row = 0; row < 400; ++row) {
      rows += fmt::format("{} {}:1 9:{}\n", row % 2, 1 + row % 2, row % 7);
    }
    folder_.write("rows.svm", rows);
  }

  [[nodiscard]] ProgramResult run(const std::vector<std::string>& arguments,
                                  std::map<std::string, std::string> variables = {}) const {
    auto all = swift_.variables();
    for (const auto& [name, value] : variables) all[name] = value;
    std::vector<std::string> list;
    for (const auto& [name, value] : all) list.push_back(fmt::format("{}={}", name, value));
    const auto result = run_program(arguments, folder_.path(), list);
    EXPECT_THAT(result.out + result.err, Not(HasSubstr("testing"))) << "the secret";
    return result;
  }

  Swift& swift_ = Swift::shared();
  TemporaryFolder folder_;
  const std::string uri_;
};

TEST_F(S3ProgramTest, ImportsInspectsTrainsAndEvaluates) {
  const auto imported = run({"import", "rows.svm", "--to", uri_, "--json"});
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  EXPECT_EQ(json::parse(imported.out)["set"], uri_);
  const auto store = open_object_store(uri_, swift_.environment());
  EXPECT_TRUE(store->exists("manifest.json"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "s3:"));

  const auto again = run({"import", "rows.svm", "--to", uri_});
  EXPECT_EQ(again.exit_code, 1) << again.err;
  EXPECT_THAT(again.err, HasSubstr("--overwrite"));
  EXPECT_EQ(run({"import", "rows.svm", "--to", uri_, "--overwrite"}).exit_code, 0);

  const auto inspected = run({"inspect", uri_});
  EXPECT_THAT(inspected.out, AllOf(HasSubstr(uri_), HasSubstr("rows.svm")));

  const auto trained = run({"train", uri_, "--engine", "single", "--out", "model.safetensors", "--json"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ASSERT_EQ(run({"import", "rows.svm", "--to", "here"}).exit_code, 0);
  ASSERT_EQ(run({"train", "here", "--engine", "single", "--out", "of_here.safetensors"}).exit_code, 0);
  const auto model_of = [&](const std::string& file) {
    const auto shown = run({"inspect", file, "--json", "--top", "9"});
    auto document = json::parse(shown.out);
    for (const auto* name : {"file", "data", "path", "model", "job", "created"}) document.erase(name);
    return document.dump();
  };
  EXPECT_EQ(model_of("model.safetensors"), model_of("of_here.safetensors")) << "the same rows, the same bits";
  EXPECT_EQ(run({"evaluate", "model.safetensors", uri_}).exit_code, 0);
}

TEST_F(S3ProgramTest, FunctionsReadTheirDataThere) {
  ASSERT_EQ(run({"import", "rows.svm", "--to", uri_}).exit_code, 0);
  for (const auto* engine : {"process", "local"}) {
    const auto result = run({"train", uri_, "--epochs", "2", "--learning-rate", "0.5", "--engine", engine, "--workers",
                             "2", "--channel", "directory"});
    EXPECT_EQ(result.exit_code, 0) << engine << ": " << result.err;
  }
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), Not(HasSubstr("testing"))) << file.path();
  }
}

TEST_F(S3ProgramTest, IsReachedOverTls) {
  const TlsFront front(swift_.address());
  std::map<std::string, std::string> variables{
      {"AWS_ENDPOINT_URL_S3", fmt::format("https://localhost:{}", front.address().port)},
      {"AWS_CA_BUNDLE", TestCertificates::shared().authority()}};
  ASSERT_EQ(run({"import", "rows.svm", "--to", uri_}, variables).exit_code, 0);
  // Functions know neither the variables nor the file, nor any name of a host.
  const auto result = run({"train", uri_, "--epochs", "2", "--learning-rate", "0.5", "--engine", "local", "--workers",
                           "2", "--channel", uri_ + "/runs"},
                          variables);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  variables["AWS_CA_BUNDLE"] = TestCertificates::shared().file("other.pem");
  const auto strange = run({"inspect", uri_}, variables);
  EXPECT_EQ(strange.exit_code, 4) << strange.err;
  EXPECT_THAT(strange.err, AllOf(HasSubstr("its certificate is signed by nobody whom"), HasSubstr("other.pem")));
}

TEST_F(S3ProgramTest, CarriesWhatFunctionsSay) {
  const auto channel = uri_.substr(0, uri_.find("/sets")) + "/runs";
  const auto result = run({"train", "rows.svm", "--epochs", "2", "--learning-rate", "0.5", "--engine", "process",
                           "--workers", "2", "--channel", channel});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("warning")));
  EXPECT_THAT(open_object_store(channel, swift_.environment())->list(), testing::IsEmpty());
  bool is_paid = false;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), Not(HasSubstr("testing"))) << file.path();
    if (file.path().filename() != "ledger.jsonl") continue;
    const auto ledger = read_ledger(file.path());
    ASSERT_EQ(ledger.services.size(), 1U);
    EXPECT_EQ(ledger.services[0].service, "object-store");
    EXPECT_GT(ledger.services[0].writes, 0U);
    EXPECT_GT(ledger.services[0].reads, 0U);
    is_paid = true;
  }
  EXPECT_TRUE(is_paid);
  const auto nowhere = run({"train", "rows.svm", "--engine", "process", "--channel", "s3://no-such-bucket"});
  EXPECT_EQ(nowhere.exit_code, 3);
  EXPECT_THAT(nowhere.err, AllOf(HasSubstr("NoSuchBucket"), HasSubstr("aws s3 mb")));
}

TEST_F(S3ProgramTest, SaysWhatIsMissing) {
  const auto nothing = run({"train", uri_, "--engine", "single"});
  EXPECT_EQ(nothing.exit_code, 3);
  EXPECT_THAT(nothing.err, AllOf(HasSubstr(uri_), HasSubstr("there is no data set here")));
  const auto no_bucket = run({"import", "rows.svm", "--to", "s3://no-such-bucket/set"});
  EXPECT_EQ(no_bucket.exit_code, 3);
  EXPECT_THAT(no_bucket.err, AllOf(HasSubstr("NoSuchBucket"), HasSubstr("aws s3 mb")));
  const auto wrong = run({"import", "rows.svm", "--to", uri_}, {{"AWS_SECRET_ACCESS_KEY", "wrong"}});
  EXPECT_EQ(wrong.exit_code, 4);
  const auto nobody =
      run({"import", "rows.svm", "--to", uri_}, {{"AWS_ACCESS_KEY_ID", ""}, {"AWS_SECRET_ACCESS_KEY", ""}});
  EXPECT_EQ(nobody.exit_code, 4);
  EXPECT_THAT(nobody.err, HasSubstr("aws configure"));
}

}  // namespace
}  // namespace virga
