#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/channel/dynamo_calls.h"
#include "virga/channel/dynamo_items.h"
#include "virga/net/service_process_testing.h"
#include "virga/net/socket.h"
#include "virga/net/tls_testing.h"

namespace virga {

/// dynalite, which speaks DynamoDB's protocol, at a port of its own, with a table.
class DynamoService {
 public:
  enum class Speaks : std::uint8_t { kHttp, kHttps };
  explicit DynamoService(const std::string& table = "virga-test", Speaks speaks = Speaks::kHttp)
      : table_(table), speaks_(speaks) {
    // Somebody else may take the port in between.
    constexpr int kMostAttempts = 5;
    for (int attempt = 1;; ++attempt) {
      port_ = Listener(parse_address("tcp:127.0.0.1:0")).address().port;
      try {
        start();
        break;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUnavailable || attempt == kMostAttempts) throw;
      }
    }
    // Dynalite itself could, but node's server of https ends connections on which more than 64 KiB are sent to one that
    // reads slowly ("Parse Error: Paused").
    if (speaks_ == Speaks::kHttps) front_.emplace(parse_address("tcp:127.0.0.1:" + std::to_string(port_)));
    create_table();
  }

  /// It holds nothing.
  void start() {
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): before threads
    const auto tests = std::filesystem::path(source == nullptr ? "." : source) / "tests/npm";
    if (!std::filesystem::exists(tests / "node_modules/dynalite")) {
      throw Error(ErrorKind::kNotFound, (tests / "node_modules/dynalite").string() + " is missing",
                  "run npm ci --prefix tests/npm");
    }
    const std::vector<std::string> command = {"node", (tests / "dynalite.js").string(), std::to_string(port_)};
    process_.emplace(command, "the Debian package nodejs");
    process_->await([this] { return answers(); });
  }
  /// As by kill -9.
  void kill() { process_.reset(); }
  [[nodiscard]] ServiceProcess& process() { return *process_; }

  void create_table() {
    (void)calls()->perform(
        DynamoRequest{.operation = "CreateTable",
                      .body = R"({"TableName":")" + table_ +
                              R"(","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[)"
                              R"({"AttributeName":"p","AttributeType":"S"},{"AttributeName":"s","AttributeType":"S"}],)"
                              R"("KeySchema":[{"AttributeName":"p","KeyType":"HASH"},)"
                              R"({"AttributeName":"s","KeyType":"RANGE"}]})"},
        {Deadline::in(std::chrono::seconds(20))});
    // It is there at once, but not at its very beginning.
    const auto is_active = [this] {
      const auto answer =
          calls()->perform(DynamoRequest{.operation = "DescribeTable", .body = R"({"TableName":")" + table_ + R"("})"},
                           {Deadline::in(std::chrono::seconds(20))});
      return answer.body.find("\"ACTIVE\"") != std::string::npos;
    };
    process_->await(is_active);
  }

  /// That there are in the table.
  [[nodiscard]] std::size_t items() const {
    const auto answer = calls()->perform(
        DynamoRequest{.operation = "Scan", .body = R"({"TableName":")" + table_ + R"(","ConsistentRead":true})"},
        {Deadline::in(std::chrono::seconds(20))});
    std::size_t count = 0;
    (void)read_query(answer.body, [&](const DynamoItem&) { ++count; });
    return count;
  }
  /// Of those who open it by its uri() alone.
  [[nodiscard]] static std::string token() { return "AKIDTEST:secret-of-tests"; }
  [[nodiscard]] std::string endpoint() const {
    return front_ ? front_->url() : "http://127.0.0.1:" + std::to_string(port_);
  }
  [[nodiscard]] std::string uri() const {
    const auto authority = speaks_ == Speaks::kHttps ? "&ca=" + TestCertificates::shared().authority() : "";
    return "dynamodb://" + table_ + "/tests?region=us-east-1&endpoint=" + endpoint() + authority;
  }
  /// Of the place that uri() names.
  [[nodiscard]] DynamoCalls::Options options() const { return options_of(uri()); }
  [[nodiscard]] static DynamoCalls::Options options_of(const std::string& uri) {
    const Environment environment = [](const std::string& name) -> std::optional<std::string> {
      if (name == "AWS_ACCESS_KEY_ID") return "AKIDTEST";
      if (name == "AWS_SECRET_ACCESS_KEY") return "secret-of-tests";
      return std::nullopt;
    };
    return {.place = parse_dynamo_uri(uri, environment),
            .credentials = std::make_shared<AwsCredentials>(AwsCredentials::Options{.environment = environment})};
  }
  [[nodiscard]] std::shared_ptr<DynamoCalls> calls() const { return std::make_shared<DynamoCalls>(options()); }

 private:
  [[nodiscard]] bool answers() const {
    try {
      return static_cast<bool>(connect_to(parse_address("tcp:127.0.0.1:" + std::to_string(port_)), nullptr,
                                          Deadline::in(std::chrono::seconds(1))));
    } catch (const Error&) {
      return false;
    }
  }

  const std::string table_;
  const Speaks speaks_;
  std::uint16_t port_ = 0;
  std::optional<ServiceProcess> process_;
  std::optional<TlsFront> front_;
};

}  // namespace virga
