// DynamoDB as a channel and for registers: what no other store does. What all do is in channel_contract_test.cc and
// register_contract_test.cc.
#include <atomic>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/dynamo_bin.h"
#include "virga/channel/dynamo_items.h"
#include "virga/channel/dynamo_register.h"
#include "virga/channel/dynamodb_testing.h"
#include "virga/channel/json_scanner.h"
#include "virga/channel/message_name.h"
#include "virga/channel/message_parts.h"
#include "virga/channel/polled_channel.h"
#include "virga/net/http_testing.h"
#include "virga/net/sigv4.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

MessageKey message_at(std::uint32_t source, std::uint64_t round) {
  return {.view = 1, .source = source, .round = round};
}

std::string base64_of(std::string_view text) {
  const auto part = as_bytes(text);
  std::string encoded;
  append_base64({&part, 1}, encoded);
  return encoded;
}

TEST(DynamoItemsTest, WritesBase64AsTheOtherWriterDoesHoweverTheBytesAreCut) {
  std::string text;
  for (int size = 0; size < 40; ++size, text += static_cast<char>(size * 37 + 11)) {
    const auto expected = base64_encode(text);
    EXPECT_EQ(base64_of(text), expected);
    EXPECT_EQ(as_text(decode_base64(expected).view()), text);
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      const auto bytes = as_bytes(text);
      const std::vector<ByteView> parts = {bytes.first(cut),
                                           {},
                                           bytes.subspan(cut).first((text.size() - cut) / 2),
                                           bytes.subspan(cut).subspan((text.size() - cut) / 2)};
      std::string encoded = "before";
      append_base64(parts, encoded);
      EXPECT_EQ(encoded, "before" + expected);
    }
  }
}

TEST(DynamoItemsTest, RefusesWhatIsNotBase64) {
  for (const auto* text : {"a", "ab=", "a===", "====", "ab*d", "ab==cd==", "aa-_", "aB==", "aaB="}) {
    EXPECT_EQ(kind_of_error([&] { (void)decode_base64(text); }), ErrorKind::kCorrupt) << text;
  }
}

TEST(DynamoItemsTest, ReadsAnswersAndWhatWasLeftUndone) {
  std::vector<std::string> items;
  const auto again = read_batch_get(
      R"({"Responses":{"T":[{"b":{"B":"aGVsbG8="},"p":{"S":"a\/b"},"s":{"S":"c"},"other":{"L":[{"N":"1"}]}}]},)"
      R"("UnprocessedKeys":{"T":{"ConsistentRead":true,"Keys":[{"p":{"S":"a"},"s":{"S":"d"}}]}}})",
      [&](DynamoItem& item) { items.push_back(item.partition + " " + item.sort + " " + item.bytes); });
  EXPECT_THAT(items, ElementsAre("a/b c aGVsbG8="));
  EXPECT_THAT(again, ElementsAre(DynamoKey{"a", "d"}));
  EXPECT_THAT(
      read_batch_write(R"({"UnprocessedItems":{"T":[{"DeleteRequest":{"Key":{"p":{"S":"a"},"s":{"S":"b"}}}}]}})"),
      ElementsAre(DynamoKey{"a", "b"}));
  EXPECT_THAT(read_batch_write(R"({"UnprocessedItems":{}})"), testing::IsEmpty());
  EXPECT_EQ(read_query(R"({"Items":[],"LastEvaluatedKey":{"p":{"S":"a"},"s":{"S":"b"}}})", [](DynamoItem&) {}),
            (DynamoKey{"a", "b"}));
  EXPECT_FALSE(read_one("{}"));
  EXPECT_EQ(
      read_consumed_units(
          R"({"ConsumedCapacity":[{"TableName":"T","CapacityUnits":2.5},{"CapacityUnits":3,"x":{}}],"Items":[1]})"),
      5.5);
  EXPECT_EQ(read_consumed_units(R"({"ConsumedCapacity" : {"CapacityUnits":1}})"), 1);
  EXPECT_EQ(read_consumed_units("{}"), 0);
  const auto refusal = read_dynamo_refusal(R"({"__type":"a.b#Code","message":"why"})");
  EXPECT_EQ(refusal.code + refusal.message, "Codewhy");
  EXPECT_EQ(read_dynamo_refusal("<html>").code, "");
}

TEST(DynamoItemsTest, RefusesWhatIsNoAnswer) {
  for (const std::string text : {"", "{", "[]", R"({"Responses":[]})", R"({"Responses":{"T":[{"p":1}]}})", "{} {}",
                                 R"({"Responses":{"T":[{"z":{"N":"-1"}}]}})"}) {
    EXPECT_EQ(kind_of_error([&] { (void)read_batch_get(text, [](DynamoItem&) {}); }), ErrorKind::kCorrupt) << text;
  }
  for (const std::string units : {"-1", "\"1\"", "1e99", "nan", ""}) {
    EXPECT_EQ(
        kind_of_error([&] { (void)read_consumed_units(R"({"ConsumedCapacity":{"CapacityUnits":)" + units + "}}"); }),
        ErrorKind::kCorrupt)
        << units;
  }
  const auto deep = std::string(100'000, '[');
  EXPECT_EQ(kind_of_error([&] { JsonScanner(deep, "x").skip(); }), ErrorKind::kCorrupt);
}

const Environment kNoEnvironment = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };

TEST(DynamoPlaceTest, SaysWhichTableAndWhere) {
  const auto place =
      parse_dynamo_uri("dynamodb://a_table/my/pre fix?endpoint=http://127.0.0.1:8000&region=eu-west-1", kNoEnvironment);
  EXPECT_EQ(place.table, "a_table");
  EXPECT_EQ(place.prefix, "my/pre%20fix/");
  EXPECT_EQ(place.region, "eu-west-1");
  EXPECT_EQ(place.endpoint.host, "127.0.0.1:8000");
  EXPECT_EQ(place.uri, "dynamodb://a_table/my/pre fix");
  const Environment environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "AWS_REGION") return "us-west-2";
    if (name == "AWS_ENDPOINT_URL_DYNAMODB") return "http://localhost:1";
    return std::nullopt;
  };
  EXPECT_EQ(parse_dynamo_uri("dynamodb://table", environment).region, "us-west-2");
  EXPECT_EQ(parse_dynamo_uri("dynamodb://table", environment).endpoint.host, "localhost:1");
  for (const auto* uri :
       {"dynamodb:table", "dynamodb://ab", "dynamodb://a b c", "dynamodb://table/../x", "dynamodb://table",
        "dynamodb://table?x=1&region=r", "dynamodb://table?endpoint=http://a&endpoint=http://b"}) {
    EXPECT_EQ(kind_of_error([&] { (void)parse_dynamo_uri(uri, kNoEnvironment); }), ErrorKind::kUsage) << uri;
  }
  const auto aws = parse_dynamo_uri("dynamodb://table?region=cn-north-1", kNoEnvironment);
  EXPECT_EQ(aws.endpoint.host, "dynamodb.cn-north-1.amazonaws.com.cn");
  EXPECT_EQ(aws.endpoint.address.port, 443);
  EXPECT_EQ(aws.endpoint.address.tls, (TlsPeer{.name = aws.endpoint.host, .authorities = ""}));
  EXPECT_THAT(text_of_error([] { (void)parse_dynamo_uri("dynamodb://me:secret@table", kNoEnvironment); }),
              Not(HasSubstr("secret")));
}

/// One dynalite for all tests that do not kill it.
const DynamoService& the_service() {
  static const DynamoService service;
  return service;
}

std::unique_ptr<PolledChannel> dynamo_channel(const std::shared_ptr<DynamoCalls>& calls, std::string_view job) {
  return std::make_unique<PolledChannel>(std::make_shared<DynamoBin>(calls, job));
}

/// The keys of all items of a partition, with the names of their attributes.
std::vector<std::string> sorts_in(const std::string& partition) {
  const auto answer = the_service().calls()->perform(
      DynamoRequest{.operation = "Query",
                    .body = R"({"TableName":"virga-test","KeyConditionExpression":"p = :p",)"
                            R"("ExpressionAttributeValues":{":p":{"S":")" +
                            partition + R"("}}})"},
      soon());
  std::vector<std::string> sorts;
  (void)read_query(answer.body, [&](DynamoItem& item) {
    sorts.push_back(item.sort + (item.has_bytes ? " b" : "") + (item.has_head ? " h" : ""));
  });
  return sorts;
}

// The example of docs/formats/channel-dynamodb.md.
TEST(DynamoFormatTest, KeepsAMessageAsAnItemOfItsSource) {
  auto options = the_service().options();
  options.now = [] { return std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000)); };
  const auto calls = std::make_shared<DynamoCalls>(options);
  const auto channel = dynamo_channel(calls, "a job");
  put_text(*channel, {.view = 1, .group = 2, .source = 3, .round = 0x1234, .phase = 5, .destination = 6, .part = 7},
           "hello");
  const auto answer = calls->perform(DynamoRequest{.operation = "GetItem",
                                                   .body = R"({"TableName":"virga-test","Key":{)"
                                                           R"("p":{"S":"tests/a%20job/m/00000001/00000002/00000003"},)"
                                                           R"("s":{"S":"0000000000001234-0005-00000006-00000007"}}})"},
                                     soon());
  for (const auto* attribute : {R"("b":{"B":"aGVsbG8="})", R"("z":{"N":"5"})", R"("t":{"N":"1604800"})"}) {
    EXPECT_THAT(answer.body, HasSubstr(attribute));
  }
  EXPECT_THAT(sorts_in("tests/a%20job/m"), ElementsAre("00000001/00000002/00000003"));
  channel->sweep(kEverybody, soon());
  EXPECT_THAT(sorts_in("tests/a%20job/m"), testing::IsEmpty());
  EXPECT_THAT(sorts_in("tests/a%20job/m/00000001/00000002/00000003"), testing::IsEmpty());
}

TEST(DynamoFormatTest, CutsWhatDoesNotFitIntoAnItem) {
  const auto channel = dynamo_channel(the_service().calls(), "cut");
  std::string text(1'000'000, 'x');
  std::iota(text.begin(), text.begin() + 1000, '\0');
  put_text(*channel, message_at(0, 1), text);
  const auto partition = std::string("tests/cut/m/00000001/00000000/00000000");
  const auto name = message_name(message_at(0, 1)).substr(27);
  EXPECT_THAT(sorts_in(partition), ElementsAre(name + " h", name + "+0 b", name + "+1 b", name + "+2 b"));
  EXPECT_EQ(get_text(*dynamo_channel(the_service().calls(), "cut"), message_at(0, 1)), text);
  EXPECT_EQ(channel->contents(soon()), (ChannelContents{.messages = 1, .bytes = text.size()}));
  channel->retire(1, 0, 0, 1, soon());
  EXPECT_THAT(sorts_in(partition), testing::IsEmpty());
  put_text(*channel, message_at(0, 2), text);
  dynamo_channel(the_service().calls(), "cut")->sweep(kEverybody, soon());
  EXPECT_THAT(sorts_in(partition), testing::IsEmpty()) << "of another object";
}

TEST(DynamoFormatTest, PutsAndFetchesMoreThanABatchHolds) {
  const auto calls = the_service().calls();
  const auto channel = dynamo_channel(calls, "batches");
  const auto bytes = as_bytes("m");
  std::vector<Outgoing> messages;
  std::vector<MessageKey> keys;
  for (std::uint64_t round = 0; round < 230; ++round) {
    keys.push_back(message_at(0, round));
    messages.push_back({keys.back(), {&bytes, 1}});
  }
  messages.push_back(messages[0]);  // the same again
  channel->put(messages, soon());
  EXPECT_EQ(calls->counts().requests, 10U);  // 231 items of 25
  int came = 0;
  channel->get(
      keys, [&](const auto&, const auto&) { ++came; }, soon());
  EXPECT_EQ(came, 230);
  EXPECT_EQ(calls->counts().requests, 13U);  // 230 keys of 100
  EXPECT_EQ(channel->contents(soon()).messages, 230U);

  // A unit for each KB that is put, begun ones whole, and for each 4 KB that is got; one for what is not there.
  const auto before = channel->paid();
  put_text(*channel, message_at(0, 1000), std::string(6000, 'x'));
  EXPECT_EQ(channel->paid().writes - before.writes, 6U);
  EXPECT_EQ(get_text(*channel, message_at(0, 1000)), std::string(6000, 'x'));
  EXPECT_EQ(channel->paid().reads - before.reads, 2U);
  EXPECT_EQ(try_get_text(*channel, message_at(0, 2000)), std::nullopt);
  EXPECT_EQ(channel->paid().reads - before.reads, 3U);
}

TEST(DynamoFaultTest, SaysHowToMakeATableThatIsNotThere) {
  const auto calls = std::make_shared<DynamoCalls>(
      DynamoService::options_of("dynamodb://nowhere?region=us-east-1&endpoint=" + the_service().endpoint()));
  try {
    put_text(*dynamo_channel(calls, "job"), message_at(0, 1), "m");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("dynamodb://nowhere"), HasSubstr("BatchWriteItem")));
    EXPECT_THAT(error.remedy(), HasSubstr("aws dynamodb create-table --table-name nowhere"));
  }
}

TEST(DynamoFaultTest, GoesOnWhenTheServiceIsBack) {
  DynamoService service;
  auto options = service.options();
  options.most_attempts = 2;
  options.first_pause = 1ms;
  const auto calls = std::make_shared<DynamoCalls>(options);
  const auto channel = dynamo_channel(calls, "job");
  put_text(*channel, message_at(0, 1), "m");
  service.kill();
  EXPECT_EQ(kind_of_error([&] { put_text(*channel, message_at(0, 2), "m"); }), ErrorKind::kUnavailable);
  EXPECT_EQ(calls->counts().retries, 1U);
  service.start();
  service.create_table();
  put_text(*channel, message_at(0, 3), "m");
  EXPECT_EQ(get_text(*channel, message_at(0, 3)), "m");

  service.process().stop();
  EXPECT_EQ(kind_of_error([&] { put_text(*channel, message_at(0, 4), "m", {Deadline::in(50ms)}); }),
            ErrorKind::kDeadlineExceeded);
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_EQ(kind_of_error([&] {
              put_text(*channel, message_at(0, 4), "m", {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
}

/// A server that answers as the test says: dynalite never leaves anything undone.
class ScriptedDynamo {
 public:
  using Answer = std::function<HttpResponse(const HttpRequest& request, int number)>;
  explicit ScriptedDynamo(Answer answer)
      : answer_(std::move(answer)), server_([this](const HttpRequest& request, const HttpReply& reply) {
          reply.send(answer_(request, ++requests_));
        }) {}

  [[nodiscard]] DynamoCalls::Options options() const {
    auto options = DynamoService::options_of("dynamodb://table?region=us-east-1&endpoint=http://127.0.0.1:" +
                                             std::to_string(server_.address().port));
    options.first_pause = 1ms;
    return options;
  }
  [[nodiscard]] int requests() const { return requests_; }

 private:
  const Answer answer_;
  std::atomic<int> requests_ = 0;
  ServerThread server_;
};

HttpResponse refusal(int status, const std::string& code) {
  return {.status = status,
          .headers = {},
          .body = R"({"__type":"com.amazonaws.dynamodb.v20120810#)" + code + R"(","message":"in these words"})"};
}

TEST(DynamoFaultTest, SendsAgainWhatWasLeftUndoneAndWhatWasThrottledAndCountsBoth) {
  std::vector<std::string> bodies;
  const ScriptedDynamo service([&](const HttpRequest& request, int number) {
    bodies.push_back(request.body);
    if (number == 1) return refusal(400, "ProvisionedThroughputExceededException");
    if (number == 2) {
      const auto name = message_name(message_at(0, 2));
      return HttpResponse{.status = 200,
                          .headers = {},
                          .body = R"({"UnprocessedItems":{"table":[{"PutRequest":{"Item":{"p":{"S":"job/m/)" +
                                  name.substr(0, 26) + R"("},"s":{"S":")" + name.substr(27) + R"("}}}}]}})"};
    }
    return HttpResponse{.status = 200, .headers = {}, .body = R"({"UnprocessedItems":{}})"};
  });
  const auto calls = std::make_shared<DynamoCalls>(service.options());
  const auto bytes = as_bytes("m");
  dynamo_channel(calls, "job")
      ->put(std::vector<Outgoing>{{message_at(0, 1), {&bytes, 1}}, {message_at(0, 2), {&bytes, 1}}}, soon());
  EXPECT_EQ(calls->counts(), (DynamoCalls::Counts{.requests = 3, .retries = 1, .throttled = 2}));
  EXPECT_EQ(bodies[0], bodies[1]);
  EXPECT_THAT(bodies[2], AllOf(HasSubstr(message_name(message_at(0, 2)).substr(27)),
                               Not(HasSubstr(message_name(message_at(0, 1)).substr(27)))));
}

TEST(DynamoFaultTest, AsksAgainForKeysThatWereLeftUndone) {
  const auto name = message_name(message_at(0, 1));
  const auto keyed = R"("p":{"S":"job/m/)" + name.substr(0, 26) + R"("},"s":{"S":")" + name.substr(27) + R"("})";
  const ScriptedDynamo service([&](const HttpRequest&, int number) {
    if (number == 1) {
      return HttpResponse{.status = 200,
                          .headers = {},
                          .body = R"({"Responses":{},"UnprocessedKeys":{"table":{"Keys":[{)" + keyed + "}]}}}"};
    }
    return HttpResponse{
        .status = 200, .headers = {}, .body = R"({"Responses":{"table":[{)" + keyed + R"(,"b":{"B":"bQ=="}}]}})"};
  });
  const auto calls = std::make_shared<DynamoCalls>(service.options());
  EXPECT_EQ(get_text(*dynamo_channel(calls, "job"), message_at(0, 1)), "m");
  EXPECT_EQ(calls->counts(), (DynamoCalls::Counts{.requests = 2, .retries = 0, .throttled = 1}));
}

TEST(DynamoFaultTest, EndsWithWhatTheServiceSays) {
  for (const auto& [status, code, kind] :
       {std::tuple{400, "UnrecognizedClientException", ErrorKind::kUnauthorized},
        std::tuple{400, "ExpiredTokenException", ErrorKind::kUnauthorized},
        std::tuple{400, "ValidationException", ErrorKind::kUsage},
        std::tuple{400, "ItemCollectionSizeLimitExceededException", ErrorKind::kTooLarge}}) {
    const ScriptedDynamo service(
        [status = status, code = code](const HttpRequest&, int) { return refusal(status, code); });
    const auto channel = dynamo_channel(std::make_shared<DynamoCalls>(service.options()), "job");
    try {
      put_text(*channel, message_at(0, 1), "m");
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << code;
      EXPECT_THAT(error.what(), AllOf(HasSubstr(code), HasSubstr("in these words"), Not(HasSubstr("secret-of-tests"))));
    }
  }
}

TEST(DynamoFaultTest, RepeatsWhatAServerErrorHasEndedButNoExchange) {
  const ScriptedDynamo service([&](const HttpRequest&, int number) {
    if (number % 2 == 1) return refusal(500, "InternalServerError");
    return HttpResponse{.status = 200, .headers = {}, .body = R"({"Attributes":{"v":{"N":"7"},"b":{"B":""}}})"};
  });
  DynamoRegister registers(std::make_shared<DynamoCalls>(service.options()), "job");
  EXPECT_EQ(registers.write("a", as_bytes("m"), soon()), 7U);
  EXPECT_EQ(service.requests(), 2);
  EXPECT_EQ(kind_of_error([&] { (void)registers.compare_exchange("a", 7, as_bytes("m"), soon()); }),
            ErrorKind::kUnavailable);
  EXPECT_EQ(service.requests(), 3);
}

TEST(DynamoFaultTest, GivesUpWhenThrottledToTheEndOfItsWait) {
  const ScriptedDynamo service([&](const HttpRequest&, int) { return refusal(400, "ThrottlingException"); });
  const auto calls = std::make_shared<DynamoCalls>(service.options());
  EXPECT_EQ(
      kind_of_error([&] { put_text(*dynamo_channel(calls, "job"), message_at(0, 1), "m", {Deadline::in(100ms)}); }),
      ErrorKind::kThrottled);
  EXPECT_GE(calls->counts().throttled, 2U);
}

TEST(DynamoRegisterTest, KeepsItsVersionBesideTheValue) {
  DynamoRegister registers(the_service().calls(), "versions");
  EXPECT_EQ(registers.write("folder/name", as_bytes("one"), soon()), 1U);
  EXPECT_EQ(registers.compare_exchange("folder/name", 1, as_bytes("two"), soon()), 2U);
  EXPECT_THAT(sorts_in("tests/versions/r/folder/name"), ElementsAre("r b"));
  EXPECT_EQ(kind_of_error([&] { registers.write("large", as_bytes(std::string(410'000, 'x')), soon()); }),
            ErrorKind::kTooLarge);
}

}  // namespace
}  // namespace virga
