#include "virga/data/csv.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using testing::ElementsAre;

using Records = std::vector<std::vector<std::string>>;

/// Records, and for a malformed one a record of its fault.
Records parse(std::string_view text, char delimiter = ',') {
  const auto chunk = make_text_chunk(text);
  CsvReader reader(chunk, delimiter);
  std::vector<CsvField> fields;
  Records records;
  while (reader.next(fields)) {
    auto& record = records.emplace_back();
    if (!reader.fault().empty()) {
      const auto position = reader.position(reader.fault_position());
      record = {"fault", std::to_string(position.line) + ":" + std::to_string(position.column), reader.fault()};
      continue;
    }
    for (const auto& field : fields) record.emplace_back(field.text);
  }
  return records;
}

TEST(Csv, ReadsFieldsQuotesAndBlanks) {
  EXPECT_EQ(parse("a,b,c\n1,,3\r\n"), (Records{{"a", "b", "c"}, {"1", "", "3"}}));
  EXPECT_EQ(parse(R"(x, "a, b" ,"say ""hi""","")"
                  "\n"),
            (Records{{"x", "a, b", "say \"hi\"", ""}}));
  EXPECT_EQ(parse("\"two\nlines\",1\n\n  \nlast"), (Records{{"two\nlines", "1"}, {"last"}}));
  EXPECT_EQ(parse("a\t\tb \t c\n", '\t'), (Records{{"a", "", "b", "c"}}));
  EXPECT_EQ(parse("5\" pipe,3\n"), (Records{{"5\" pipe", "3"}}));
  EXPECT_EQ(parse(""), Records());
}

TEST(Csv, SaysWhereAndWhyARecordIsMalformed) {
  EXPECT_EQ(parse("1,2\n\"a\"b,3\n4,5\n"),
            (Records{{"1", "2"}, {"fault", "1:4", R"(something stands behind a closing quote: "b,3")"}, {"4", "5"}}));
  EXPECT_EQ(parse("1,2\n3,\"never closed\n5,6\n"),
            (Records{{"1", "2"}, {"fault", "1:3", R"(a quote is not closed: ""never closed")"}, {"5", "6"}}));
  // Lines are counted through quoted fields.
  EXPECT_EQ(parse("\"a\nb\nc\",1\n1,\"x\"y\n")[1][1], "3:6");
}

struct RandomCsv {
  Records records;
  std::string text;
};

/// Valid records with fields of all kinds.
RandomCsv random_csv(std::uint64_t seed, char delimiter) {
  const Random random(seed, Purpose::kTest);
  std::uint64_t next = 0;
  const auto below = [&](std::uint64_t bound) { return random.below(bound, 0, next++); };
  constexpr char kLetters[] = "ab\"\n,;\t 1.";
  RandomCsv csv;
  for (auto records = below(20); records > 0; --records) {
    auto& record = csv.records.emplace_back();
    for (auto fields = 2 + below(5); fields > 0; --fields) {
      auto& field = record.emplace_back();
      if (record.size() > 1) csv.text += delimiter;
      if (below(2) == 0) {
        for (auto length = below(6); length > 0; --length) field += kLetters[below(2)];
        csv.text += field;
        continue;
      }
      csv.text += std::string(below(2), ' ') + "\"";
      for (auto length = below(40); length > 0; --length) field += kLetters[below(sizeof kLetters - 1)];
      for (const char c : field) csv.text += c == '"' ? std::string("\"\"") : std::string(1, c);
      csv.text += "\"" + std::string(below(2), ' ');
    }
    csv.text += below(4) == 0 ? "\r\n" : "\n";
    if (below(10) == 0) csv.text += "\n";
  }
  return csv;
}

TEST(Csv, ReadsBackWhatWasWrittenWhereverItIsCut) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const char delimiter = ",;\t"[seed % 3];
    const auto csv = random_csv(seed, delimiter);
    ASSERT_EQ(parse(csv.text, delimiter), csv.records) << csv.text;
    // Cut anywhere: the whole records before the cut and those behind it are all there are.
    const Random random(seed, Purpose::kTest);
    for (std::uint64_t i = 0; i < 10; ++i) {
      const auto cut = random.below(csv.text.size() + 1, 1, i);
      const auto end = last_csv_record_end(std::string_view(csv.text).substr(0, cut), delimiter);
      ASSERT_LE(end, cut);
      auto records = parse(std::string_view(csv.text).substr(0, end), delimiter);
      const auto rest = parse(std::string_view(csv.text).substr(end), delimiter);
      records.insert(records.end(), rest.begin(), rest.end());
      ASSERT_EQ(records, csv.records) << csv.text << "\ncut at " << cut << ", " << end;
    }
  }
}

TEST(Csv, NumbersTheLinesOfRecords) {
  const auto chunk = make_text_chunk("\n1,2\n\"a\n\nb\",2\n\n3,4");
  CsvReader reader(chunk, ',');
  std::vector<CsvField> fields;
  std::vector<std::uint64_t> lines;
  while (reader.next(fields)) lines.push_back(reader.line());
  EXPECT_THAT(lines, ElementsAre(1U, 2U, 6U));
}

TEST(Csv, DetectsTheDelimiter) {
  EXPECT_EQ(detect_delimiter("a,b,c\n1,2,3\n"), ',');
  EXPECT_EQ(detect_delimiter("a;b\n1,5;2\n1,7;2,5\n"), ';');
  EXPECT_EQ(detect_delimiter("a\tb\n1, 2\t3\n"), '\t');
  EXPECT_EQ(detect_delimiter("one\ntwo\n"), ',');
  EXPECT_EQ(detect_delimiter(""), ',');
}

}  // namespace
}  // namespace virga
