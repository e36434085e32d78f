// The function under @vercel/fun, a Runtime API that others wrote. Needs node and tests/npm/node_modules.
#include <cstdlib>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "virga/base/file.h"
#include "virga/function/platform_testing.h"
#include "virga/function/run_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

class UnderFun : public testing::Test {
 protected:
  UnderFun() {
    std::filesystem::create_directories(at("code"));
    std::filesystem::copy_file(virga_function_program(), at("code") / "bootstrap");
  }

  [[nodiscard]] std::filesystem::path at(const std::string& name) const { return folder_.path() / name; }

  /// What comes of `events`, invoked one after the other.
  [[nodiscard]] json invoke(const std::vector<std::string>& events, const json& variables = json::object()) const {
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const char* path = std::getenv("PATH");                // NOLINT(concurrency-mt-unsafe): nobody sets it
    const auto script = std::filesystem::path(source == nullptr ? "." : source) / "tests/npm/fun_invoke.js";
    write_file_atomically(at("request.json"), as_bytes(json{{"events", events}, {"variables", variables}}.dump()),
                          false);
    const auto end = run_function(
        {"node", script.string(), at("code").string(), at("request.json").string()},
        {std::string("PATH=") + (path == nullptr ? "/usr/bin:/bin" : path), "HOME=" + folder_.path().string()},
        "/usr/bin/env");
    EXPECT_EQ(end.exit_code, 0) << end.err << "\nnode (18 or newer) and @vercel/fun are needed: "
                                << "apt-get install nodejs npm procps && npm ci --prefix tests/npm";
    return end.exit_code == 0 ? json::parse(end.out) : json(events.size(), {{"Payload", ""}});
  }

  const FunctionFolder folder_;
};

TEST_F(UnderFun, TrainsAndEvaluatesInOneWarmFunction) {
  const auto set = make_tiny_set(at("data"));
  for (const auto* run : {"fun", "file"}) prepare_run(at(run), set, 1);
  const auto payloads = [&](const std::string& run) {
    return std::vector{worker_payload(at(run)), evaluation_payload(at(run), 1), evaluation_payload(at(run), 3)};
  };
  std::vector<std::string> events;
  for (const auto& payload : payloads("fun")) events.push_back(encode_payload(payload));

  const auto results = invoke(events);

  const auto expected = payloads("file");
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_FALSE(results.at(i).contains("FunctionError")) << results[i];
    write_file_atomically(at("payload.json"), as_bytes(encode_payload(expected[i])), false);
    const auto alone = decode_answer(run_function({at("payload.json").string()}).out);
    const auto answer = decode_answer(results[i].at("Payload").get<std::string>());
    EXPECT_EQ(answer.end, expected[i].task == "worker" ? "done" : "evaluated") << answer.message;
    EXPECT_EQ(answer.end, alone.end) << alone.message;
    EXPECT_EQ(answer.loss, alone.loss);
  }
  for (const std::uint32_t epoch : {1U, 2U, 3U}) {
    EXPECT_EQ(read_file(at("fun") / snapshot_object(epoch)), read_file(at("file") / snapshot_object(epoch)));
  }
}

TEST_F(UnderFun, AnswersErrorsAndStaysWarm) {
  const auto nothing = encode_payload(worker_payload(at("nothing")));
  const auto results = invoke({nothing, "{\"key\": 1}", std::string(1'000'000, ' '), nothing});

  for (const std::size_t i : {0U, 3U}) {
    EXPECT_FALSE(results.at(i).contains("FunctionError")) << results[i];
    const auto answer = decode_answer(results[i].at("Payload").get<std::string>());
    EXPECT_EQ(answer.error_kind, "not_found");
    EXPECT_THAT(answer.message, HasSubstr(at("nothing").string()));
  }
  EXPECT_EQ(results.at(1).value("FunctionError", ""), "Handled");
  EXPECT_THAT(results[1].at("Payload").get<std::string>(),
              AllOf(HasSubstr("\"errorType\":\"Virga.BadPayload\""), HasSubstr("\"stackTrace\":[]")));
  EXPECT_EQ(results.at(2).value("FunctionError", ""), "Handled");
  EXPECT_THAT(results[2].at("Payload").get<std::string>(), HasSubstr("the event has 1000000 bytes, but 65536"));
}

TEST_F(UnderFun, IsReplacedWhenItDies) {
  const auto nothing = encode_payload(worker_payload(at("nothing")));
  const auto results = invoke({nothing, nothing, nothing}, {{"VIRGA_CRASH_AT", "before_answer:2"}});

  EXPECT_FALSE(results.at(0).contains("FunctionError"));
  EXPECT_EQ(results.at(1).value("FunctionError", ""), "Unhandled") << "it died before its answer";
  EXPECT_FALSE(results.at(2).contains("FunctionError")) << "another one was started";
}

}  // namespace
}  // namespace virga
