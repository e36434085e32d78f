#include "virga/function/payload.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Payload some_payload() {
  return {.run = "/runs/7", .task = "worker", .member = {2, 5}, .epoch = 3, .lifetime = 60'000ms};
}
constexpr std::string_view kSomePayload =
    R"({"epoch":3,"generation":5,"lifetime_ms":60000,"run":"/runs/7","task":"worker","version":1,"worker":2})";

std::string without(std::string text, const std::string& part, const std::string& replacement = "") {
  const auto at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  return text.replace(at, part.size(), replacement);
}

/// The message that refuses it.
std::string refusal(std::string_view text) {
  try {
    (void)decode_payload(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    return error.what();
  }
  return "not refused";
}

TEST(Payload, HoldsItsBytes) {
  EXPECT_EQ(encode_payload(some_payload()), kSomePayload);
  EXPECT_EQ(decode_payload(kSomePayload), some_payload());
}

TEST(Payload, SaysThatTheAnswerIsLeftAtTheRun) {
  auto payload = some_payload();
  payload.leaves_answer = true;
  const auto text = without(std::string(kSomePayload), R"("lifetime)", R"("leaves_answer":true,"lifetime)");
  EXPECT_EQ(encode_payload(payload), text);
  EXPECT_EQ(decode_payload(text), payload);
  EXPECT_THAT(refusal(without(text, "true", "1")), HasSubstr("cannot be read"));
}

TEST(Payload, SaysWhatRequestsMayCost) {
  auto payload = some_payload();
  payload.requests = {
      .usd = Usd::of(0.25), .channel_write = 5e-6, .channel_read = 0.5, .object_write = 0, .object_read = 1};
  const auto text =
      without(std::string(kSomePayload), R"("run")",
              R"("requests":{"channel":[5e-06,0.5],"objects":[0.0,1.0],"picodollars":250000000000},"run")");
  EXPECT_EQ(encode_payload(payload), text);
  EXPECT_EQ(decode_payload(text), payload);
  EXPECT_THAT(refusal(without(text, "0.5", "1.5")), HasSubstr("an impossible price"));
  EXPECT_THAT(refusal(without(text, "0.5", "-0.5")), HasSubstr("an impossible price"));
  EXPECT_THAT(refusal(without(text, ",0.5")), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal(without(text, "25000", "-25000")), HasSubstr("leases less than nothing"));
}

TEST(Payload, ComesBackAsItWas) {
  Payload payload;
  payload.run = "file:///a \"b\"\\\n\xc3\xa9";
  payload.task = "evaluate";
  payload.member = {~0U, ~0U};
  payload.epoch = ~0U;
  payload.lifetime = std::chrono::milliseconds(std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(decode_payload(encode_payload(payload)), payload);
  EXPECT_EQ(decode_payload(encode_payload({.run = "", .task = "worker"})), (Payload{.run = "", .task = "worker"}));
}

TEST(Payload, IsRefusedWhenItIsTooLarge) {
  auto payload = some_payload();
  payload.run = std::string(kMostPayloadBytes - kSomePayload.size() + payload.run.size(), 'r');
  const auto largest = encode_payload(payload);
  EXPECT_EQ(decode_payload(largest), payload);
  EXPECT_THAT(refusal(largest + " "), HasSubstr("65537 bytes, but 65536 is the most"));
}

TEST(Payload, IsRefusedInAnotherVersionOrForAnotherTask) {
  const std::string text(kSomePayload);
  EXPECT_THAT(refusal(without(text, "\"version\":1", "\"version\":2")), HasSubstr("version 2"));
  EXPECT_THAT(refusal(without(text, "\"worker\",", "\"cook\",")), HasSubstr("task is \"cook\""));
}

TEST(Payload, IsRefusedWhenItIsDamaged) {
  const std::string text(kSomePayload);
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_THAT(refusal(text.substr(0, size)), HasSubstr("cannot be read"));
  }
  EXPECT_THAT(refusal(text + "x"), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal("[]"), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal("\xff"), HasSubstr("cannot be read"));
  for (const auto* part : {"\"epoch\":3,", "\"generation\":5,", "\"lifetime_ms\":60000,", "\"run\":\"/runs/7\",",
                           "\"task\":\"worker\",", "\"version\":1,", ",\"worker\":2"}) {
    EXPECT_THAT(refusal(without(text, part)), HasSubstr("cannot be read")) << part;
  }
  EXPECT_THAT(refusal(without(text, "\"worker\":2", "\"worker\":\"2\"")), HasSubstr("cannot be read"));
}

TEST(Payload, IsAnErrorIfItsRunIsNoText) {
  auto payload = some_payload();
  payload.run = "/runs/\xff";
  EXPECT_THROW((void)encode_payload(payload), Error);
}

Answer worked() {
  Answer answer{.end = "done", .cpu_seconds = 1.5, .peak_memory_bytes = 4096};
  answer.work = {.view = 3,
                 .rounds = 10,
                 .messages_put = 20,
                 .messages_got = 30,
                 .bytes_put = 40,
                 .bytes_got = 50,
                 .paid = {.writes = 60, .reads = 70},
                 .retries = 80};
  answer.work->times.add(WorkPhase::kCompute, std::chrono::milliseconds(2500));
  answer.work->times.add(WorkPhase::kWait, std::chrono::milliseconds(125));
  return answer;
}

TEST(Answer, HoldsItsBytes) {
  const Answer evaluated{.end = "evaluated", .loss = 0.1};
  EXPECT_EQ(encode_answer(evaluated),
            R"({"cpu_seconds":0.0,"end":"evaluated","loss":0.1,"peak_memory_bytes":0,"version":1})");
  const Answer failed{.end = "error", .error_kind = "not_found", .message = "no set", .remedy = "import it"};
  EXPECT_EQ(encode_answer(failed),
            R"({"cpu_seconds":0.0,"end":"error","error":{"code":"not_found","message":"no set","remedy":"import it"},)"
            R"("loss":null,"peak_memory_bytes":0,"version":1})");
  EXPECT_EQ(encode_answer(worked()),
            R"({"cpu_seconds":1.5,"end":"done","loss":null,"peak_memory_bytes":4096,"version":1,"work":)"
            R"({"bytes_got":50,"bytes_put":40,"messages_got":30,"messages_put":20,"paid":{"reads":70,"writes":60},)"
            R"("retries":80,"rounds":10,"seconds":)"
            R"({"apply":0.0,"compute":2.5,"data":0.0,"decode":0.0,"encode":0.0,"keep":0.0,"read":0.0,"send":0.0,)"
            R"("start":0.0,"sum":0.0,"wait":0.125},"view":3}})");
}

TEST(Answer, SaysHowStaleTheStepsWereOfWorkersThatDoNotWait) {
  auto answer = worked();
  answer.work->staleness = {.steps = 10, .sum = 7, .most = 3, .overwritten = 6};
  const auto text = encode_answer(answer);
  EXPECT_THAT(text, HasSubstr(R"("staleness":{"most":3,"overwritten":6,"steps":10,"sum":7},)"));
  EXPECT_EQ(decode_answer(text), answer);
}

TEST(Answer, SaysWhatWasAskedOfS3) {
  auto answer = worked();
  answer.objects = {.writes = 1, .reads = 2, .bytes = 3};
  const auto text = encode_answer(answer);
  EXPECT_THAT(text, HasSubstr(R"("objects":{"bytes":3,"reads":2,"writes":1},)"));
  EXPECT_EQ(decode_answer(text), answer);
}

TEST(Answer, ComesBackAsItWas) {
  const std::optional<double> losses[] = {std::nullopt,           0.0, 0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308,
                                          std::nextafter(0.25, 1)};
  for (const auto& loss : losses) {
    const Answer answer{.end = "evaluated", .loss = loss};
    EXPECT_EQ(decode_answer(encode_answer(answer)), answer);
  }
  const Answer failed{.end = "error", .error_kind = "io", .message = "\"a\"\n", .remedy = ""};
  EXPECT_EQ(decode_answer(encode_answer(failed)), failed);
  EXPECT_EQ(decode_answer(encode_answer(worked())), worked());
}

TEST(Answer, IsRefusedWithAnImpossibleTime) {
  auto text = encode_answer(worked());
  text.replace(text.find("0.125"), 5, "-1.25");
  EXPECT_THROW((void)decode_answer(text), Error);
}

TEST(Answer, ToleratesAMessageThatIsNoText) {
  const Answer failed{.end = "error", .error_kind = "bad_data", .message = "row \xff", .remedy = ""};
  EXPECT_EQ(decode_answer(encode_answer(failed)).message, "row \xef\xbf\xbd");
}

TEST(Answer, IsRefusedWhenItIsDamaged) {
  const auto text = encode_answer({.end = "error", .error_kind = "io", .message = "m", .remedy = "r"});
  for (std::size_t size = 0; size < text.size(); ++size) {
    try {
      (void)decode_answer(text.substr(0, size));
      FAIL() << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    }
  }
  for (const auto* part : {"\"end\":\"error\",", "\"code\":\"io\",", "\"message\":\"m\",", "\"loss\":null,"}) {
    EXPECT_THROW((void)decode_answer(without(text, part)), Error) << part;
  }
}

}  // namespace
}  // namespace virga
