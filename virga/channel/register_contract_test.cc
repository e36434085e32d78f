// What every Register does, whatever it is made of. A new one is a line at the end.
#include <atomic>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/contract_testing.h"
#include "virga/channel/directory_register.h"
#include "virga/channel/dynamo_register.h"
#include "virga/channel/dynamodb_testing.h"
#include "virga/channel/memcached_register.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/memory_register.h"
#include "virga/channel/ps_register.h"
#include "virga/channel/redis_register.h"
#include "virga/channel/redis_testing.h"
#include "virga/channel/s3_register.h"
#include "virga/channel/temporary_folder_testing.h"
#include "virga/ps/server.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Optional;

Wait soon() { return {Deadline::in(20s)}; }

class RegisterContract : public testing::TestWithParam<RegisterCase> {
 protected:
  Register& mine() { return *registers_->first; }
  Register& other() { return *registers_->second; }
  std::string text(std::string_view name) {
    const auto value = mine().read(name, soon());
    return value ? std::string(as_text(value->bytes.view())) : "none";
  }

 private:
  std::unique_ptr<RegisterPair> registers_ = GetParam().make();
};

template <typename Call>
ErrorKind kind_of_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

TEST_P(RegisterContract, ReadsTheNewestWrite) {
  EXPECT_EQ(text("a"), "none");
  const auto first = mine().write("a", as_bytes("one"), soon());
  EXPECT_GE(first, 1U);
  EXPECT_EQ(text("a"), "one");
  const auto second = other().write("a", as_bytes(""), soon());
  EXPECT_GT(second, first);
  EXPECT_EQ(text("a"), "");
  EXPECT_EQ(mine().read("a", soon())->version, second);
  mine().write("folder/b", as_bytes("another"), soon());
  EXPECT_EQ(text("a"), "");
  EXPECT_EQ(text("folder/b"), "another");
}

TEST_P(RegisterContract, ExchangesOnlyWhatItExpected) {
  const auto first = mine().compare_exchange("a", 0, as_bytes("one"), soon());
  ASSERT_TRUE(first);
  EXPECT_EQ(other().compare_exchange("a", 0, as_bytes("late"), soon()), std::nullopt);
  EXPECT_EQ(text("a"), "one");
  const auto second = other().compare_exchange("a", *first, as_bytes("two"), soon());
  ASSERT_TRUE(second);
  EXPECT_EQ(mine().compare_exchange("a", *first, as_bytes("late"), soon()), std::nullopt);
  EXPECT_EQ(mine().compare_exchange("a", *second + 1, as_bytes("early"), soon()), std::nullopt);
  EXPECT_EQ(text("a"), "two");
}

TEST_P(RegisterContract, LosesNoCountWhenManyExchange) {
  const int turns = GetParam().is_slow ? 2 : 25;
  run_threads(4, [&](unsigned me) {
    auto& registers = me % 2 == 0 ? mine() : other();
    for (int turn = 0; turn < turns; ++turn) {
      for (;;) {
        const auto value = registers.read("count", soon());
        const int count = value ? std::stoi(std::string(as_text(value->bytes.view()))) : 0;
        const auto next = std::to_string(count + 1);
        if (registers.compare_exchange("count", value ? value->version : 0, as_bytes(next), soon())) break;
      }
    }
  });
  EXPECT_EQ(text("count"), std::to_string(4 * turns));
}

TEST_P(RegisterContract, WaitsForAnewerValue) {
  const auto first = mine().write("a", as_bytes("one"), soon());
  EXPECT_EQ(as_text(mine().wait_newer("a", 0, soon()).bytes.view()), "one");
  std::jthread writer([&] {
    std::this_thread::sleep_for(20ms);
    other().write("a", as_bytes("two"), soon());
  });
  const auto value = mine().wait_newer("a", first, soon());
  EXPECT_EQ(as_text(value.bytes.view()), "two");
  EXPECT_GT(value.version, first);
}

TEST_P(RegisterContract, EndsAWaitAtItsDeadlineOrWhenAskedTo) {
  try {
    (void)mine().wait_newer("a", 3, {Deadline::in(30ms)});
    FAIL() << "came without being written";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeadlineExceeded);
    EXPECT_THAT(error.what(), HasSubstr("\"a\""));
    EXPECT_THAT(error.what(), HasSubstr("version 3"));
  }
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_EQ(kind_of_error([&] {
              (void)mine().wait_newer("a", 0, {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
}

TEST_P(RegisterContract, ForgetsWhatIsRemoved) {
  mine().write("a", as_bytes("one"), soon());
  other().remove("a", soon());
  other().remove("a", soon());
  EXPECT_EQ(text("a"), "none");
  EXPECT_THAT(mine().compare_exchange("a", 0, as_bytes("anew"), soon()), Optional(testing::Ge(1U)));
  EXPECT_EQ(text("a"), "anew");
}

TEST_P(RegisterContract, RefusesNamesThatLeadAstray) {
  for (const auto* name : {"", "../a", ".hidden", "a//b", "/a"}) {
    EXPECT_EQ(kind_of_error([&] { (void)mine().read(name, soon()); }), ErrorKind::kUsage) << name;
    EXPECT_EQ(kind_of_error([&] { mine().write(name, {}, soon()); }), ErrorKind::kUsage) << name;
  }
}

TEST_P(RegisterContract, KeepsValuesWholeUnderManyWriters) {
  std::atomic<bool> done = false;
  std::jthread writer([&] {
    for (int i = 0; i < (GetParam().is_slow ? 10 : 60); ++i)
      other().write("a", as_bytes(std::string(50'000, static_cast<char>('a' + i % 26))), soon());
    done = true;
  });
  std::uint64_t last = 0;
  while (!done) {
    const auto value = mine().read("a", soon());
    if (!value) continue;
    const auto bytes = as_text(value->bytes.view());
    ASSERT_EQ(bytes, std::string(50'000, bytes[0]));
    ASSERT_GE(value->version, last);
    last = value->version;
  }
}

/// Registers in memory, shared by both ends.
class MemoryPair final : public RegisterPair {
 public:
  MemoryPair() { first = second = std::make_shared<MemoryRegister>(); }
};

INSTANTIATE_TEST_SUITE_P(Memory, RegisterContract,
                         testing::Values(RegisterCase{"memory", [] { return std::make_unique<MemoryPair>(); }}),
                         name_of_case<RegisterCase>);

/// Two objects on one folder, as two processes have them.
class DirectoryPair final : public RegisterPair {
 public:
  DirectoryPair() {
    first = std::make_shared<DirectoryRegister>(folder_.path());
    second = std::make_shared<DirectoryRegister>(folder_.path());
  }

 private:
  const TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Directory, RegisterContract,
                         testing::Values(RegisterCase{"directory", [] { return std::make_unique<DirectoryPair>(); }}),
                         name_of_case<RegisterCase>);

/// A data store of this process, and two clients.
class PsPair final : public RegisterPair {
 public:
  explicit PsPair(const std::string& address) : server_({.listen = {address}}) {
    first = client();
    second = client();
  }

 private:
  [[nodiscard]] std::shared_ptr<Register> client() const {
    const PsClientOptions options = {.address = server_.addresses()[0], .token = {}, .job = "contract"};
    return std::make_shared<PsRegister>(std::make_shared<PsClient>(options));
  }
  PsServer server_;
};

/// Servers of tests that run at the same time listen at different paths.
std::string unix_address() {
  static std::atomic<int> count = 0;
  return "unix:" + testing::TempDir() + "virga-register-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

INSTANTIATE_TEST_SUITE_P(
    Ps, RegisterContract,
    testing::Values(RegisterCase{"ps_unix", [] { return std::make_unique<PsPair>(unix_address()); }},
                    RegisterCase{"ps_tcp", [] { return std::make_unique<PsPair>("tcp:127.0.0.1:0"); }}),
    name_of_case<RegisterCase>);

/// A Redis server for all cases, each of which is a job of its own, and two clients.
class RedisPair final : public RegisterPair {
 public:
  explicit RedisPair(RedisServer::Listens listens) {
    static const RedisServer plain;
    static const RedisServer secure(RedisServer::Listens::kTls);
    const auto& server = listens == RedisServer::Listens::kTls ? secure : plain;
    static std::atomic<int> jobs = 0;
    const auto job = "contract-" + std::to_string(++jobs);
    first = std::make_shared<RedisRegister>(server.client(), job);
    second = std::make_shared<RedisRegister>(server.client(), job);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Redis, RegisterContract,
    testing::Values(RegisterCase{"redis", [] { return std::make_unique<RedisPair>(RedisServer::Listens::kUnix); }},
                    RegisterCase{"redis_tls", [] { return std::make_unique<RedisPair>(RedisServer::Listens::kTls); }}),
    name_of_case<RegisterCase>);

/// A Memcached, and two clients.
class MemcachedPair final : public RegisterPair {
 public:
  MemcachedPair() {
    for (auto* end : {&first, &second}) {
      *end = std::make_shared<MemcachedRegister>(std::make_shared<MemcachedClient>(service_.uri(), ""), "contract");
    }
  }

 private:
  MemcachedService service_;
};

INSTANTIATE_TEST_SUITE_P(Memcached, RegisterContract,
                         testing::Values(RegisterCase{"memcached", [] { return std::make_unique<MemcachedPair>(); }}),
                         name_of_case<RegisterCase>);

/// A table of one dynalite, and two clients; each test has a job of its own.
class DynamoPair final : public RegisterPair {
 public:
  explicit DynamoPair(DynamoService::Speaks speaks) {
    static const DynamoService plain;
    static const DynamoService secure("virga-test", DynamoService::Speaks::kHttps);
    const auto& service = speaks == DynamoService::Speaks::kHttps ? secure : plain;
    static int jobs = 0;
    const auto job = "contract-" + std::to_string(++jobs);
    for (auto* end : {&first, &second}) *end = std::make_shared<DynamoRegister>(service.calls(), job);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Dynamo, RegisterContract,
    testing::Values(RegisterCase{"dynamodb", [] { return std::make_unique<DynamoPair>(DynamoService::Speaks::kHttp); }},
                    RegisterCase{"dynamodb_tls",
                                 [] { return std::make_unique<DynamoPair>(DynamoService::Speaks::kHttps); }}),
    name_of_case<RegisterCase>);

/// A bucket of one Swift, and two clients; each test has a job of its own. Exchanges are as safe as elsewhere, but slow
/// where many meet.
class S3Pair final : public RegisterPair {
 public:
  explicit S3Pair(const std::string& query) {
    static const auto bucket = Swift::shared().make_bucket();
    static int jobs = 0;
    const auto job = "contract-" + std::to_string(++jobs);
    for (auto* end : {&first, &second}) {
      *end = std::make_shared<S3Register>(Swift::shared().client(bucket + "/p" + query), job);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    S3, RegisterContract,
    testing::Values(RegisterCase{.name = "s3", .make = [] { return std::make_unique<S3Pair>(""); }, .is_slow = true},
                    RegisterCase{.name = "s3_tls",
                                 .make = [] { return std::make_unique<S3Pair>(Swift::over_tls()); },
                                 .is_slow = true}),
    name_of_case<RegisterCase>);

}  // namespace
}  // namespace virga
