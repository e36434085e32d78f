#include "virga/data/text_source.h"

#include <algorithm>
#include <string>
#include <vector>

#include <stdlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "virga/base/hash.h"
#include "virga/base/random.h"
#include "virga/data/byte_stream.h"
#include "virga/data/files_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

class TextSourceTest : public testing::Test {
 protected:
  TestDirectory directory_;
};

std::string lines(std::uint64_t seed, std::size_t count) {
  const Random random(seed, Purpose::kTest);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += std::string(random.below(60, 0, i), static_cast<char>('a' + random.below(26, 1, i))) + "\n";
  }
  return text;
}

std::string all_text(TextSource& source) {
  std::string text;
  std::uint64_t item = 0;
  std::uint64_t number = 0;
  while (const auto chunk = source.next()) {
    EXPECT_EQ(chunk->number, number++);
    EXPECT_EQ(chunk->first_item, item);
    EXPECT_EQ(chunk->text().data()[chunk->size], '\n');
    item += chunk->lines;
    text += chunk->text();
  }
  return text;
}

TEST_F(TextSourceTest, GivesAllFilesInOrderPlainOrPackedCutAtLineEnds) {
  const std::string texts[] = {lines(1, 1000), lines(2, 1) + "no line feed", "", lines(3, 3000)};
  const std::vector<std::string> files = {
      directory_.write("a.gz", gzip(texts[0].substr(0, 999)) + gzip(texts[0].substr(999)) + std::string(600, '\0')),
      directory_.write("b", texts[1]), directory_.write("empty", texts[2]),
      directory_.write("c", zstd(texts[3].substr(0, 5000)) + zstd(texts[3].substr(5000)))};
  for (const std::size_t chunk_bytes : {std::size_t{1}, std::size_t{61}, std::size_t{1000}, std::size_t{1} << 20}) {
    TextSource source(files, {.chunk_bytes = chunk_bytes});
    EXPECT_EQ(all_text(source), texts[0] + texts[1] + texts[3]);
    ASSERT_EQ(source.sources().size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      const auto bytes = read_file(files[i]);
      EXPECT_EQ(source.sources()[i], (SourceInfo{files[i], bytes.size(), crc32c(bytes)}));
    }
  }
}

TEST_F(TextSourceTest, ChunksAreWholeLinesOfOneFileWithTheirNumbers) {
  const std::vector<std::string> files = {directory_.write("a", "one\ntwo\nthree"),
                                          directory_.write("b", "four\n\nfive\n")};
  TextSource source(files, {.chunk_bytes = 8});
  std::vector<std::string> seen;
  while (const auto chunk = source.next()) {
    seen.push_back(files[chunk->file].substr(files[0].size() - 1) + std::to_string(chunk->first_line) + "+" +
                   std::to_string(chunk->lines) + "@" + std::to_string(chunk->first_item) + ":" +
                   std::string(chunk->text()));
  }
  EXPECT_THAT(seen, testing::ElementsAre("a1+2@0:one\ntwo\n", "a3+1@2:three", "b1+2@3:four\n\n", "b3+1@5:five\n"));
}

TEST_F(TextSourceTest, CutsWhereItIsTold) {
  const auto file = directory_.write("a", "1;2;3;4;5;");
  TextSource source({file},
                    {.chunk_bytes = 5, .last_record_end = [](std::string_view text) { return text.rfind(';') + 1; }});
  EXPECT_EQ(source.next()->text(), "1;2;");
  EXPECT_EQ(source.next()->text(), "3;4;");
  EXPECT_EQ(source.next()->text(), "5;");
  EXPECT_FALSE(source.next());
}

std::string reading_error(const std::vector<std::string>& files, const TextSourceOptions& options = {}) {
  return error_of([&] {
    TextSource source(files, options);
    static_cast<void>(all_text(source));
  });
}

TEST_F(TextSourceTest, RefusesPackedFilesThatAreCutShortOrDamaged) {
  const auto text = lines(4, 2000);
  for (const auto& packed : {gzip(text), zstd(text)}) {
    for (std::size_t size = 5; size < packed.size(); size += 1 + packed.size() / 50) {
      const auto error = reading_error({directory_.write("cut", packed.substr(0, size))});
      EXPECT_THAT(error, HasSubstr("cut: the packed data end too early; the file is cut short")) << size;
    }
    auto damaged = packed;
    for (std::size_t i = packed.size() / 2; i < packed.size() / 2 + 20; ++i)
      damaged[i] = static_cast<char>(~damaged[i]);
    EXPECT_THAT(reading_error({directory_.write("damaged", damaged)}), HasSubstr("data are damaged"));
  }
  EXPECT_THAT(reading_error({directory_.write("more", gzip(text) + std::string(3, '\0') + "x")}),
              HasSubstr("there is something behind the gzip data"));
  EXPECT_THAT(reading_error({directory_.write("tail", gzip(text) + "tail")}), HasSubstr("damaged"));
}

TEST_F(TextSourceTest, RefusesWhatIsNoTextFile) {
  EXPECT_THAT(reading_error({directory_.path("missing")}), HasSubstr("not_found: cannot read "));
  EXPECT_THAT(reading_error({directory_.path(".")}), HasSubstr("cannot read " + directory_.path(".")));
  const auto endless = directory_.write("endless", "a\n" + std::string(5000, 'x'));
  EXPECT_THAT(reading_error({endless}, {.chunk_bytes = 16, .longest_record = 1000}),
              HasSubstr("endless:2: the line does not end within 1000 B -> is this a text file"));
}

TEST_F(TextSourceTest, EndsEarlyWhenNobodyTakesChunksOrWhenStopped) {
  const auto file = directory_.write("a", lines(5, 5000));
  { TextSource abandoned({file}, {.chunk_bytes = 64}); }
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(reading_error({file}, {.stop = stop.get_token()}), HasSubstr("interrupted: reading was stopped"));
}

TEST_F(TextSourceTest, ReadsTheHeadOfAPackedFile) {
  const auto text = lines(6, 5000);
  EXPECT_EQ(read_head(directory_.write("a.gz", gzip(text)), 1000), text.substr(0, 1000));
  EXPECT_EQ(read_head(directory_.write("b", "short")), "short");
  EXPECT_EQ(input_file_size(directory_.write("c", "short")), 5U);
}

TEST(CountLines, CountsWhatAnObviousLoopCounts) {
  for (std::size_t size = 0; size < 9000; size += size < 100 ? 1 : 811) {
    std::string text(size, '\n');
    const Random random(size, Purpose::kTest);
    for (std::size_t i = 0; i < size; ++i) {
      if (random.below(3, 0, i) == 0) text[i] = static_cast<char>(i);
    }
    EXPECT_EQ(count_lines(text), static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')));
  }
}

}  // namespace
}  // namespace virga
