#include "virga/control/run_folder.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;
using testing::Optional;

TEST(RunFolder, NamesItsObjects) {
  EXPECT_EQ(checkpoint_object(17), "checkpoints/000000000017");
  EXPECT_EQ(snapshot_object(3), "snapshots/000003");
  EXPECT_EQ(evaluation_object(3), "evaluations/000003.json");
  EXPECT_EQ(worker_register(2), "workers/2");
}

TEST(RunFolder, NamesSortAsTheirNumbers) {
  EXPECT_LT(checkpoint_object(99), checkpoint_object(100));
  EXPECT_LT(checkpoint_object(999'999'999'998), checkpoint_object(999'999'999'999));
  EXPECT_LT(snapshot_object(9), snapshot_object(10));
}

TEST(RunFolder, FindsTheNumberInAName) {
  EXPECT_THAT(number_of(checkpoint_object(17), "checkpoints/"), Optional(17U));
  EXPECT_THAT(number_of(checkpoint_object(0), "checkpoints/"), Optional(0U));
  EXPECT_THAT(number_of("checkpoints/18446744073709551615", "checkpoints/"), Optional(~std::uint64_t{0}));
  for (const auto* name : {"", "checkpoints/", "checkpoints/x", "checkpoints/12x", "checkpoints/-1", "checkpoints/+1",
                           "checkpoints/ 1", "checkpoints/18446744073709551616", "snapshots/000003", "12"}) {
    EXPECT_EQ(number_of(name, "checkpoints/"), std::nullopt) << name;
  }
}

TEST(RunFolder, HoldsTheBytesOfAView) {
  const ViewRecord record{.view = {.number = 3, .members = {{0, 2}, {1, 1}}}, .start_round = 40};
  EXPECT_EQ(encode_view(record), R"({"members":[[0,2],[1,1]],"start_round":40,"view":3})");
  EXPECT_EQ(decode_view(encode_view(record)), record);
}

TEST(RunFolder, HoldsTheBytesOfAnEvaluation) {
  EvaluationRecord record{.epoch = 2,
                          .round = 48,
                          .examples = 4800,
                          .learning_rate = 0.5,
                          .train_loss = 1.0 / 3,
                          .validation_loss = 0.1,
                          .seconds = 1.5,
                          .best = true};
  EXPECT_EQ(encode_evaluation(record),
            R"({"best":true,"epoch":2,"examples":4800,"learning_rate":0.5,"round":48,"seconds":1.5,)"
            R"("train_loss":0.3333333333333333,"validation_loss":0.1})");
  EXPECT_EQ(decode_evaluation(encode_evaluation(record)), record);
  record.validation_loss.reset();
  EXPECT_EQ(decode_evaluation(encode_evaluation(record)), record);
}

TEST(RunFolder, HoldsTheBytesOfSignsOfLife) {
  const ProgressRecord progress{.round = 7, .epoch = 1, .examples = 700, .loss = 0.1, .weight = 700};
  EXPECT_EQ(encode_progress(progress), R"({"epoch":1,"examples":700,"loss":0.1,"round":7,"weight":700.0})");
  const auto again = decode_progress(encode_progress(progress));
  EXPECT_EQ(again.round, 7U);
  EXPECT_EQ(again.epoch, 1U);
  EXPECT_EQ(again.examples, 700U);
  EXPECT_EQ(again.loss, 0.1);
  EXPECT_EQ(again.weight, 700);

  const LifeRecord life{.generation = 2, .view = 3, .round = 40, .time = std::chrono::milliseconds(1700000000123)};
  EXPECT_EQ(encode_life(life), R"({"generation":2,"round":40,"time_ms":1700000000123,"view":3})");
  const auto life_again = decode_life(encode_life(life));
  EXPECT_EQ(life_again.generation, 2U);
  EXPECT_EQ(life_again.view, 3U);
  EXPECT_EQ(life_again.round, 40U);
  EXPECT_EQ(life_again.time, life.time);
}

TEST(RunFolder, TellsPeopleOfASignOfLife) {
  using std::chrono::milliseconds;
  const LifeRecord life{.generation = 2, .view = 3, .round = 40, .time = milliseconds(1000)};
  EXPECT_EQ(life_text({1, 2}, life, milliseconds(62'234)),
            "worker 1 (generation 2), last seen 61.2 s ago before round 40 of view 3");
  EXPECT_EQ(life_text({1, 2}, life, milliseconds(0)),
            "worker 1 (generation 2), last seen 0.0 s ago before round 40 of view 3")
      << "another machine's clock";
  const LifeRecord claimed{.generation = 2, .view = 0, .round = 0, .time = milliseconds(1000)};
  EXPECT_EQ(life_text({1, 2}, claimed, milliseconds(3500)), "worker 1 (generation 2), started 2.5 s ago");
  EXPECT_EQ(life_text({1, 3}, life, milliseconds(2000)), "worker 1 (generation 3), not seen yet");
  EXPECT_EQ(life_text({1, 2}, std::nullopt, milliseconds(2000)), "worker 1 (generation 2), not seen yet");
}

template <typename Decode>
void expect_refused(const Decode& decode, const std::string& text) {
  try {
    (void)decode(text);
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("cannot be read"));
  }
}
/// Each beginning of it, and it without each member in turn, is refused.
template <typename Decode>
void expect_whole(const Decode& decode, const std::string& text) {
  for (std::size_t size = 0; size < text.size(); ++size) expect_refused(decode, text.substr(0, size));
  for (auto at = text.find("\":"); at != std::string::npos; at = text.find("\":", at + 1)) {
    expect_refused(decode, text.substr(0, at) + "x" + text.substr(at));
  }
  expect_refused(decode, text + "{");
  expect_refused(decode, "7");
}

TEST(RunFolder, RefusesRecordsThatAreNotWhole) {
  expect_whole(decode_view, R"({"members":[[0,2]],"start_round":40,"view":3})");
  expect_refused(decode_view, R"({"members":[[0]],"start_round":40,"view":3})");
  expect_refused(decode_view, R"({"members":[0],"start_round":40,"view":3})");
  expect_refused(decode_view, R"({"members":[[0,"2"]],"start_round":40,"view":3})");
  expect_whole(decode_evaluation, encode_evaluation({}));
  expect_whole(decode_progress, encode_progress({}));
  expect_whole(decode_life, encode_life({}));
}

}  // namespace
}  // namespace virga
