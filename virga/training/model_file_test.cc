#include "virga/training/model_file.h"

#include <filesystem>
#include <limits>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/training/model_testing.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Error error_of(const Bytes& bytes) {
  try {
    static_cast<void>(decode_model(bytes, "m.safetensors"));
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::kInternal, "no error"};
}

/// Encodes `model` and lets `change` spoil it, with a checksum that fits again.
template <typename Change>
Error error_after(const ModelFile& model, Change change) {
  const auto bytes = encode_model(model);
  auto content = parse_safetensors(bytes, "test");
  change(content);
  content.metadata["crc32c"] = std::to_string(model_checksum(content));
  return error_of(encode_safetensors(content));
}

void expect_equal(const ModelFile& a, const ModelFile& b) {
  EXPECT_EQ(a.spec, b.spec);
  EXPECT_EQ(a.parameters, b.parameters);
  EXPECT_EQ(a.encoding, b.encoding);
  EXPECT_EQ(a.training, b.training);
  EXPECT_EQ(a.data, b.data);
  EXPECT_EQ(a.job, b.job);
  EXPECT_EQ(a.created_by, b.created_by);
}

std::vector<ModelFile> models() {
  std::vector<ModelFile> all = {csv_model(),
                                libsvm_model(ModelKind::kLogistic, 5, {"-1", "1"}),
                                libsvm_model(ModelKind::kSvm, 5, {"a\xFF", "b\n"}),
                                libsvm_model(ModelKind::kSvmSquared, 5, {"", "1"}),
                                libsvm_model(ModelKind::kSoftmax, 7, {"x", "y", "z"}),
                                libsvm_model(ModelKind::kLeastSquares, 3, {}),
                                mixture_model(5, 3, CovarianceKind::kDiagonal),
                                mixture_model(4, 2, CovarianceKind::kFull)};
  auto& full = all[4];
  full.spec.fit_bias = false;
  full.spec.dense = full.encoding.dense = true;
  full.spec.class_weights = {0.1F, 1, 3};
  full.encoding.feature_names = {"a", "b", "", "\xFF\xFE", "e", "f", "g"};
  full.encoding.image_shape = {7, 1};
  full.training = {.seed = 1ULL << 63,
                   .epochs = 20,
                   .rounds = 1'000'000'000'000,
                   .best_epoch = 17,
                   .learning_rate = 0.1,
                   .l1 = 1e-300,
                   .l2 = 1e-5,
                   .training_loss = 0.25,
                   .final_validation_loss = 0.3};
  full.data = {.uri = "/data/100% caf\xE9", .checksum = 0xFFFFFFFF, .sources = {{"a\xFF.gz", 1ULL << 40, 7}}};
  full.job = R"({"seed":1})";
  fill_parameters(full, 9);
  return all;
}

TEST(ModelFile, ReadsBackWhatItWrites) {
  for (const auto& model : models()) expect_equal(decode_model(encode_model(model), "test"), model);
}

TEST(ModelFile, GoesThroughAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "virga_model_file_test.safetensors";
  const auto model = csv_model();
  write_model_file(path, model);
  expect_equal(read_model_file(path), model);
  std::filesystem::remove(path);
  EXPECT_THROW(static_cast<void>(read_model_file(path)), Error);
}

TEST(ModelFile, HasExactlyThisMetadataAndTheseTensors) {
  const auto bytes = encode_model(csv_model());
  const auto content = parse_safetensors(bytes, "test");
  EXPECT_EQ(content.metadata.at("format"), R"("virga-model")");
  EXPECT_EQ(content.metadata.at("version"), "1");
  EXPECT_EQ(content.metadata.at("model"),
            R"({"class_weights":[],"classes":2,"dense":false,"features":14,"fit_bias":true,"kind":"logistic"})");
  EXPECT_THAT(
      content.metadata.at("encoding"),
      HasSubstr(R"({"features":2,"first_feature":0,"has_missing":true,"kind":"numeric","mean":40.0,"name":"age"})"));
  EXPECT_EQ(content.metadata.at("data"), R"({"checksum":0,"sources":[],"uri":""})");
  std::vector<std::string> names;
  for (const auto& tensor : content.tensors) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("classes.offsets", "levels.first", "levels.offsets", "bias", "scale_factor",
                                 "scale_offset", "weights", "classes.text", "levels.text"));
  EXPECT_THAT(content.find("weights")->shape, ElementsAre(14U, 1U));
  EXPECT_EQ(as_text(content.find("classes.text")->data), "noyes, \"maybe\"");
  EXPECT_EQ(model_checksum(content), 490710177U) << "the bytes of a model file must not change unnoticed";
}

TEST(ModelFile, RefusesEveryDamagedByte) {
  const auto bytes = encode_model(csv_model());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{0x20};
    EXPECT_NE(error_of(damaged).kind(), ErrorKind::kInternal) << "byte " << i;
  }
}

TEST(ModelFile, RefusesAFileThatIsSomethingElse) {
  const auto foreign = encode_safetensors({.metadata = {{"format", "pt"}}});
  const auto error = error_of(foreign);
  EXPECT_EQ(error.kind(), ErrorKind::kBadData);
  EXPECT_STREQ(error.what(), "m.safetensors is a safetensors file, but not a model of Virga");
  EXPECT_THAT(error_of(Bytes(100, std::byte{'1'})).what(), HasSubstr("m.safetensors is not a valid safetensors file"));
}

TEST(ModelFile, RefusesAnotherVersion) {
  const auto error = error_after(csv_model(), [](Safetensors& content) { content.metadata["version"] = "2"; });
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_STREQ(error.what(), "m.safetensors: version 2 of the model format is not known");
}

TEST(ModelFile, RefusesMixturesWithoutAVarianceOrAShare) {
  const auto refused = [](CovarianceKind covariance, std::size_t table, std::size_t at, float value) {
    auto model = mixture_model(4, 2, covariance);
    model.parameters.values[table][at] = value;
    return std::string(error_of(encode_model(model)).what());
  };
  EXPECT_THAT(refused(CovarianceKind::kDiagonal, 1, 3, 0), HasSubstr("a variance is not above 0"));
  EXPECT_THAT(refused(CovarianceKind::kFull, 1, 5, -1), HasSubstr("a diagonal of 'cholesky' is not above 0"));
  EXPECT_EQ(refused(CovarianceKind::kFull, 1, 4, -1), "no error");
  EXPECT_THAT(refused(CovarianceKind::kFull, 2, 0, 1.5F), HasSubstr("a mixing coefficient is no share"));
  const auto sparse = error_after(mixture_model(4, 2, CovarianceKind::kDiagonal), [](Safetensors& content) {
    auto& spec = content.metadata["model"];
    spec.replace(spec.find("diagonal"), 8, "full");
  });
  EXPECT_THAT(sparse.what(), HasSubstr("the kind of the model does not fit"));
  const auto unknown = error_after(mixture_model(4, 2, CovarianceKind::kDiagonal), [](Safetensors& content) {
    auto& spec = content.metadata["model"];
    spec.replace(spec.find("diagonal"), 8, "tied");
  });
  EXPECT_EQ(unknown.kind(), ErrorKind::kUnsupported);
  const auto without = error_after(mixture_model(4, 2, CovarianceKind::kDiagonal), [](Safetensors& content) {
    auto& spec = content.metadata["model"];
    spec.replace(spec.find("gaussian-mixture"), 16, "kmeans");
  });
  EXPECT_THAT(without.what(), HasSubstr("only mixtures have covariances"));
}

TEST(ModelFile, RefusesParametersThatAreNotFinite) {
  auto model = csv_model();
  model.parameters.values[0][3] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(static_cast<void>(encode_model(model)), Error);
  const std::vector<float> bias = {std::numeric_limits<float>::quiet_NaN()};
  const auto error = error_after(csv_model(), [&](Safetensors& content) {
    for (auto& tensor : content.tensors) {
      if (tensor.name == "bias") tensor.data = std::as_bytes(std::span(bias));
    }
  });
  EXPECT_STREQ(error.what(), "m.safetensors: tensor 'bias' has values that are not finite");
}

TEST(ModelFile, RefusesPartsThatDoNotFitTogether) {
  const auto replace = [](std::string key, std::string from, std::string to) {
    return std::string(error_after(csv_model(), [&](Safetensors& content) {
                         auto& value = content.metadata.at(key);
                         const auto at = value.find(from);
                         ASSERT_NE(at, std::string::npos) << from;
                         value.replace(at, from.size(), to);
                       }).what());
  };
  EXPECT_THAT(replace("model", R"("features":14)", R"("features":13)"), HasSubstr("does not fit its features"));
  EXPECT_THAT(replace("model", "logistic", "softmax"),
              HasSubstr("the shape of tensor 'weights' is [14, 1], not [14, 2]"));
  EXPECT_THAT(replace("model", "logistic", "least-squares"), HasSubstr("does not fit its features and classes"));
  EXPECT_THAT(replace("model", "logistic", "forest"), HasSubstr("models of kind 'forest' are not known"));
  EXPECT_THAT(replace("model", "[]", "[1.0]"), HasSubstr("does not fit its features and classes"));
  EXPECT_THAT(replace("model", R"("fit_bias":true)", R"("fit_bias":false)"),
              HasSubstr("a tensor 'bias' that is not known"));
  EXPECT_THAT(replace("encoding", R"("first_feature":2)", R"("first_feature":12)"), HasSubstr("m.safetensors"));
  EXPECT_THAT(replace("encoding", R"("kind":"numeric")", R"("kind":"words")"), HasSubstr("m.safetensors is damaged"));
  EXPECT_THAT(replace("encoding", "{", "["), HasSubstr("'encoding' in its metadata is not JSON"));
  EXPECT_THAT(replace("job", "{", ""), HasSubstr("'job' in its metadata is not JSON"));
  EXPECT_THAT(replace("training", R"("epochs":0)", R"("epochs":-1)"), HasSubstr("training.epochs must be an integer"));
}

TEST(ModelFile, RefusesTextsAndLevelsWithWrongOffsets) {
  const auto with = [](std::string name, std::vector<std::int64_t> offsets) {
    return std::string(error_after(csv_model(), [&](Safetensors& content) {
                         for (auto& tensor : content.tensors) {
                           if (tensor.name != name) continue;
                           tensor.shape = {offsets.size()};
                           tensor.data = std::as_bytes(std::span(offsets));
                         }
                       }).what());
  };
  EXPECT_THAT(with("classes.offsets", {}), HasSubstr("'classes.offsets' does not span 'classes.text'"));
  EXPECT_THAT(with("classes.offsets", {0, 2, 13}), HasSubstr("does not span"));
  EXPECT_THAT(with("classes.offsets", {1, 2, 14}), HasSubstr("does not span"));
  EXPECT_THAT(with("classes.offsets", {0, 99, 14}), testing::AnyOf(HasSubstr("does not ascend"), HasSubstr("span")));
  EXPECT_THAT(with("classes.offsets", {0, -5, 14}), testing::AnyOf(HasSubstr("does not ascend"), HasSubstr("span")));
  EXPECT_THAT(with("levels.first", {0, 0, 0, 3, 3}), HasSubstr("'levels.first' does not divide the levels"));
  EXPECT_THAT(with("levels.first", {0, 0, 4, 3, 3, 3}), HasSubstr("'levels.first' does not divide the levels"));
}

}  // namespace
}  // namespace virga
