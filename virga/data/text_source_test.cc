#include "virga/data/text_source.h"

#include <filesystem>
#include <string>
#include <vector>

#include <stdlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "virga/base/file.h"
#include "virga/base/hash.h"
#include "virga/base/random.h"
#include "virga/data/byte_stream.h"

namespace virga {
namespace {

using testing::HasSubstr;

class TextSourceTest : public testing::Test {
 protected:
  TextSourceTest() {
    std::string name = (std::filesystem::temp_directory_path() / "virga_text_XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~TextSourceTest() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, std::string_view bytes) {
    const auto path = directory_ / name;
    write_file_atomically(path, as_bytes(bytes), false);
    return path.string();
  }
  std::filesystem::path directory_;
};

std::string gzip(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

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
      write("a.gz", gzip(texts[0].substr(0, 999)) + gzip(texts[0].substr(999)) + std::string(600, '\0')),
      write("b", texts[1]), write("empty", texts[2]),
      write("c", zstd(texts[3].substr(0, 5000)) + zstd(texts[3].substr(5000)))};
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
  const std::vector<std::string> files = {write("a", "one\ntwo\nthree"), write("b", "four\n\nfive\n")};
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
  const auto file = write("a", "1;2;3;4;5;");
  TextSource source({file},
                    {.chunk_bytes = 5, .last_record_end = [](std::string_view text) { return text.rfind(';') + 1; }});
  EXPECT_EQ(source.next()->text(), "1;2;");
  EXPECT_EQ(source.next()->text(), "3;4;");
  EXPECT_EQ(source.next()->text(), "5;");
  EXPECT_FALSE(source.next());
}

std::string error_of(const std::vector<std::string>& files, const TextSourceOptions& options = {}) {
  try {
    TextSource source(files, options);
    static_cast<void>(all_text(source));
  } catch (const Error& error) {
    return std::string(to_string(error.kind())) + ": " + error.what() + " -> " + error.remedy();
  }
  return "none";
}

TEST_F(TextSourceTest, RefusesPackedFilesThatAreCutShortOrDamaged) {
  const auto text = lines(4, 2000);
  for (const auto& packed : {gzip(text), zstd(text)}) {
    for (std::size_t size = 5; size < packed.size(); size += 1 + packed.size() / 50) {
      const auto error = error_of({write("cut", packed.substr(0, size))});
      EXPECT_THAT(error, HasSubstr("cut: the packed data end too early; the file is cut short")) << size;
    }
    auto damaged = packed;
    for (std::size_t i = packed.size() / 2; i < packed.size() / 2 + 20; ++i)
      damaged[i] = static_cast<char>(~damaged[i]);
    EXPECT_THAT(error_of({write("damaged", damaged)}), HasSubstr("data are damaged"));
  }
  EXPECT_THAT(error_of({write("more", gzip(text) + std::string(3, '\0') + "x")}),
              HasSubstr("there is something behind the gzip data"));
  EXPECT_THAT(error_of({write("tail", gzip(text) + "tail")}), HasSubstr("damaged"));
}

TEST_F(TextSourceTest, RefusesWhatIsNoTextFile) {
  EXPECT_THAT(error_of({(directory_ / "missing").string()}), HasSubstr("not_found: cannot read "));
  EXPECT_THAT(error_of({directory_.string()}), HasSubstr("cannot read " + directory_.string()));
  const auto endless = write("endless", "a\n" + std::string(5000, 'x'));
  EXPECT_THAT(error_of({endless}, {.chunk_bytes = 16, .longest_record = 1000}),
              HasSubstr("endless:2: the line does not end within 1000 B -> is this a text file"));
}

TEST_F(TextSourceTest, EndsEarlyWhenNobodyTakesChunksOrWhenStopped) {
  const auto file = write("a", lines(5, 5000));
  { TextSource abandoned({file}, {.chunk_bytes = 64}); }
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(error_of({file}, {.stop = stop.get_token()}), HasSubstr("interrupted: reading was stopped"));
}

TEST_F(TextSourceTest, ReadsTheHeadOfAPackedFile) {
  const auto text = lines(6, 5000);
  EXPECT_EQ(read_head(write("a.gz", gzip(text)), 1000), text.substr(0, 1000));
  EXPECT_EQ(read_head(write("b", "short")), "short");
  EXPECT_EQ(input_file_size(write("c", "short")), 5U);
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
