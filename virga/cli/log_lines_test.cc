#include "virga/cli/log_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace virga {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

LogLine of_task(const char* task, const char* text) {
  LogLine line;
  line.origin.task = task;
  line.text = text;
  return line;
}

LogLine of_worker(WorkerId worker, Generation generation, std::string text) {
  return {{.task = "worker", .worker = worker, .generation = generation}, std::move(text)};
}

TEST(LogReaderTest, HoldsThePlatformsStartBackUntilTheFunctionSaysWhoItIs) {
  LogReader reader("virga-run-000001");
  EXPECT_THAT(reader.read("START RequestId: a Version: $LATEST\n"), IsEmpty());
  EXPECT_THAT(reader.read("a worker 2 generation 3 begins, 899 ms left\nhello\n"),
              ElementsAre(of_worker(2, 3, "START RequestId: a Version: $LATEST"),
                          of_worker(2, 3, "a worker 2 generation 3 begins, 899 ms left"), of_worker(2, 3, "hello")));
}

TEST(LogReaderTest, TellsTheInvocationsOfAProcessThatIsUsedAgainApart) {
  LogReader reader("virga-run-000001");
  const auto lines = reader.read(
      "START RequestId: a Version: $LATEST\na evaluate epoch 1 begins, 9 ms left\nEND RequestId: a\n"
      "START RequestId: b Version: $LATEST\nb worker 0 generation 2 begins, 9 ms left\n");
  ASSERT_THAT(lines, SizeIs(5));
  EXPECT_EQ(to_string(lines[2].origin), "evaluate");
  EXPECT_EQ(to_string(lines[3].origin), "0.2");
}

TEST(LogReaderTest, KnowsAFileOfOneInvocationByItsName) {
  EXPECT_THAT(LogReader("worker-4-2").read("out of luck\n"), ElementsAre(of_worker(4, 2, "out of luck")));
  EXPECT_THAT(LogReader("evaluate-stopped").read("x\n"), ElementsAre(of_task("evaluate", "x")));
  EXPECT_THAT(LogReader("worker-4").read("x\n"), IsEmpty());  // not such a file: held back
}

TEST(LogReaderTest, GivesWhatNeverSaidWhoseItIsInTheEnd) {
  LogReader reader("virga-run-000001");
  EXPECT_THAT(reader.read("cannot start\nno new"), IsEmpty());
  EXPECT_THAT(reader.rest(), ElementsAre(of_task("", "cannot start"), of_task("", "no new")));
  EXPECT_EQ(to_string(LogOrigin{}), "?");
}

TEST(LogReaderTest, HoldsBackNoMoreThanAFewLines) {
  LogReader reader("virga-run-000001");
  std::size_t given = 0;
  for (int i = 0; i < 1000; ++i) given += reader.read("chatter\n").size();
  EXPECT_GT(given, 900U);
}

TEST(LogReaderTest, CutsLinesWithoutEndAndTakesTextInAnyParts) {
  LogReader reader("worker-0-1");
  const auto lines = reader.read(std::string(40'000, 'x'));
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_THAT(lines[0].text, SizeIs(16 << 10));
  EXPECT_THAT(reader.read("\n"), SizeIs(1));
  EXPECT_THAT(reader.read("ab"), IsEmpty());
  EXPECT_THAT(reader.read("c\r\n"), ElementsAre(of_worker(0, 1, "abc")));
}

TEST(LogReaderTest, LetsNoFunctionCommandTheTerminal) {
  EXPECT_THAT(LogReader("worker-0-1").read("\x1b[2Jgone\ttab\n"), ElementsAre(of_worker(0, 1, "?[2Jgone\ttab")));
}

}  // namespace
}  // namespace virga
