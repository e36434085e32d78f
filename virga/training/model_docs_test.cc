#include <filesystem>
#include <sstream>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/base/random.h"
#include "virga/data/raw_reader.h"
#include "virga/training/model_testing.h"
#include "virga/training/predict.h"
#include "virga/training/python_testing.h"

namespace virga {
namespace {

/// Holds the program in docs/formats/model.md, which needs nothing but NumPy, to our own predictions.
class ModelDocs : public testing::Test {
 protected:
  ModelDocs() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    const auto bytes = read_file(source_folder() / "docs/formats/model.md");
    const std::string page(as_text(bytes));
    const auto begin = page.find("```python\n") + 10;
    write("reader.py", page.substr(begin, page.find("```", begin) - begin));
  }
  ~ModelDocs() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    write_file_atomically(folder_ / name, as_bytes(text), /*durable=*/false);
  }

  void expect_same_scores(const ModelFile& model, const std::string& raw, std::size_t rows) const {
    write_model_file(folder_ / "model.safetensors", model);
    write("raw", raw);
    const auto python = run_python("'" + (folder_ / "reader.py").string() + "' '" +
                                   (folder_ / "model.safetensors").string() + "' '" + (folder_ / "raw").string() + "'");

    RawReader reader({(folder_ / "raw").string()}, model.encoding);
    std::string ours;
    EXPECT_EQ(predict(model, groups_of(reader), PredictionKind::kRaw, 2, [&](std::string_view text) { ours += text; }),
              rows);
    ours.erase(0, prediction_header(model, PredictionKind::kRaw).size());
    const auto theirs = numbers(python);
    ASSERT_EQ(theirs.size(), rows * (model.spec.kind == ModelKind::kSoftmax ? model.spec.classes : 1));
    const auto mine = numbers(ours);
    ASSERT_EQ(mine.size(), theirs.size());
    // Rows have few entries: a score is off by a few roundings to float.
    for (std::size_t i = 0; i < theirs.size(); ++i) EXPECT_NEAR(mine[i], theirs[i], 1e-6 * (1 + std::abs(theirs[i])));
  }

 private:
  static std::vector<double> numbers(std::string text) {
    std::ranges::replace(text, ',', '\n');
    std::istringstream in(text);
    std::vector<double> all;
    for (std::string line; std::getline(in, line);) all.push_back(std::stod(line));
    return all;
  }

  const std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "virga_model_docs_test";
};

TEST_F(ModelDocs, PythonReadsLibsvmRowsAsWeDo) {
  const Random random(1, Purpose::kTest);
  std::string raw = "# a comment\n1 1:0 2:1e-3 900:5\n\n3:0.5  4:-1 # no label\n-1\n";
  for (std::uint64_t row = 0; row < 200; ++row) {
    raw += random.below(2, 0, row) == 0 ? "-1" : "1";
    for (std::uint64_t index = 1; index <= 50; ++index) {
      const auto item = row * 50 + index;
      if (random.uniform(1, item) < 0.2) {
        raw += ' ' + std::to_string(index) + ':' + std::to_string(random.uniform(2, item) * 20 - 10);
      }
    }
    raw += '\n';
  }
  expect_same_scores(libsvm_model(ModelKind::kLogistic, 40, {"-1", "1"}), raw, 203);
  auto softmax = libsvm_model(ModelKind::kSoftmax, 45, {"-1", "1", "7"});
  softmax.encoding.scale_factor = {0.25F};
  softmax.spec.fit_bias = false;
  fill_parameters(softmax, 5);
  expect_same_scores(softmax, raw, 203);
}

TEST_F(ModelDocs, PythonReadsCsvRowsAsWeDo) {
  const std::string raw =
      "code,label,city,note,age\n"
      "a1,no,Berlin,x,30\n"
      ",no, Berlin ,\"two\nlines\",?\n"
      "\"b,\"\"2\"\"\",yes,\"Lima, \"\"Peru\"\"\",,NaN\n"
      "longer code of many letters,,S\xC3\xA3o Paulo,,-1.5e1\n"
      "abc,maybe,\"unseen\xFF\",,\n"
      "abcd,,,x,0\n";
  expect_same_scores(csv_model(), raw, 6);
}

}  // namespace
}  // namespace virga
