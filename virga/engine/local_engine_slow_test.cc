// The local engine as others' clients see it.
#include <cstdio>
#include <fstream>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/engine/lambda_engine.h"
#include "virga/engine/local_engine_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

class WitnessTest : public LocalEngineTest {
 protected:
  /// What the witness says, which is shown if it fails. Debian's Python, for which boto3 is installed.
  std::string witness() {
    write_file_atomically(folder_ / "code.zip", as_bytes(zip_of("bootstrap", kBootstrap)));
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const auto command = fmt::format(
        "cd / && AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY='{}' AWS_DEFAULT_REGION={} AWS_EC2_METADATA_DISABLED=true "
        "/usr/bin/python3 {}/virga/engine/lambda_witness.py http://127.0.0.1:{} {} {} 2>&1",
        engine_->credentials().access_key_id, engine_->credentials().secret_access_key, engine_->region(),
        source != nullptr ? source : ".", engine_->address().port, (folder_ / "code.zip").string(),
        (folder_ / "shared").string());
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return "python3 cannot be started";
    std::string output;
    char piece[4096];
    for (std::size_t count = 0; (count = std::fread(piece, 1, sizeof piece, pipe)) > 0;) output.append(piece, count);
    ::pclose(pipe);
    return output;
  }
};

TEST_F(WitnessTest, TheSoftwareDevelopmentKitOfAwsFindsItsLambda) {
  LocalEngine::Options options;
  options.region = "eu-north-1";
  engine(options);
  const auto said = witness();
  std::cout << said;
  EXPECT_THAT(said, HasSubstr("all is well\n"));
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
}

TEST_F(LocalEngineTest, LetsAClientGoAtAnyTime) {
  engine();
  constexpr std::string_view kPrograms[] = {"#!/bin/sh\nexit 1\n", "#!/bin/sh\nsleep 1000\n",
                                            "#!/bin/sh\n[ $RANDOM ] && sleep 0.01; exit 1\n"};
  const int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    auto client = std::make_shared<LambdaClient>(LambdaClient::Options{
        .endpoint = engine_->address(), .credentials = engine_->credentials(), .region = engine_->region()});
    LambdaEngine functions(client, {.function_name = fmt::format("f{}", round),
                                    .zip = zip_of("bootstrap", kPrograms[round % 3]),
                                    .memory_mb = 1769,
                                    .timeout = std::chrono::seconds(60)});
    for (int i = 0; i < 3; ++i) (void)functions.invoke({}, "one");
    if (round % 2 == 0) (void)functions.wait(std::chrono::milliseconds(round % 11));
    if (round % 5 == 0) functions.kill_all();
    client.reset();
  }
  EXPECT_TRUE(wait_until([&] { return engine_->processes().empty(); }));
}

}  // namespace
}  // namespace virga
