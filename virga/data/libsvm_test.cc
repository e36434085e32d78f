#include "virga/data/libsvm.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Row {
  std::uint64_t item;
  double label;
  std::vector<std::pair<std::uint32_t, float>> entries;
  bool ones;
  bool operator==(const Row&) const = default;
};

std::vector<Row> rows_of(const ParsedRows& parsed) {
  std::vector<Row> rows;
  for (const auto& row : parsed.rows) {
    rows.push_back({row.item, row.label, {}, row.ones});
    for (auto i = row.begin; i < row.begin + row.count; ++i) {
      rows.back().entries.emplace_back(parsed.ids[i], parsed.values[i]);
    }
  }
  return rows;
}

ParsedRows parse(std::string_view text, const LibsvmOptions& options = {}) {
  ParsedRows parsed;
  parse_libsvm(make_text_chunk(text), options, parsed);
  return parsed;
}

/// The same for valid text, slowly and obviously.
std::vector<Row> reference(const std::string& text) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  std::string line;
  for (std::uint64_t item = 0; std::getline(lines, line); ++item) {
    std::istringstream tokens(line.substr(0, line.find('#')));
    Row row{item, 0, {}, true};
    if (!(tokens >> row.label)) continue;
    std::map<std::uint32_t, float> entries;
    for (std::string token; tokens >> token;) {
      const auto colon = token.find(':');
      const float value = std::strtof(token.c_str() + colon + 1, nullptr);
      if (value != 0) entries[static_cast<std::uint32_t>(std::stoul(token))] = value;
      row.ones = row.ones && value == 1;
    }
    row.entries.assign(entries.begin(), entries.end());
    rows.push_back(row);
  }
  return rows;
}

/// Valid text of all kinds that files have.
std::string random_text(std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  std::uint64_t next = 0;
  const auto below = [&](std::uint64_t bound) { return random.below(bound, 0, next++); };
  constexpr const char* kBlanks[] = {" ", " ", " ", "  ", "\t"};
  constexpr const char* kLabels[] = {"1", "-1", "+1", "0", "17", "-3.25", "1e3", "2."};
  std::string text;
  for (auto line = below(30); line > 0; --line) {
    if (below(12) == 0) text += below(2) == 0 ? "# nothing" : "   ";
    if (below(12) == 0) text += "\n";
    if (below(12) == 0) text += " ";
    text += kLabels[below(std::size(kLabels))];
    const bool shuffled = below(8) == 0;
    std::uint32_t index = static_cast<std::uint32_t>(below(1U << below(31)));
    std::set<std::uint32_t> used;
    for (auto entry = below(20); entry > 0 && used.insert(index).second; --entry) {
      const std::string value = below(2) == 0   ? "1"
                                : below(8) == 0 ? "0"
                                                : fmt::format("{}", random.uniform(1, next++) * 4 - 2);
      text += fmt::format("{}{}:{}", kBlanks[below(std::size(kBlanks))], index, value);
      index = shuffled ? (index * 2654435761U) % 100'003 : index + 1 + static_cast<std::uint32_t>(below(1000));
      if (index > kLargestLibsvmIndex) break;
    }
    if (below(10) == 0) text += " # 3:4 comment";
    if (below(10) == 0) text += "\r";
    if (line > 1 || below(2) == 0) text += "\n";
  }
  return text;
}

TEST(Libsvm, ParsesWhatAnObviousParserParses) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const auto text = random_text(seed);
    const auto parsed = parse(text);
    ASSERT_EQ(parsed.bad_lines, 0U) << parsed.first_bad_lines[0].reason << "\n" << text;
    ASSERT_EQ(rows_of(parsed), reference(text)) << text;
  }
}

TEST(Libsvm, TellsTheSmallestAndTheLargestIndex) {
  const auto parsed = parse("1 5:1 900:1\n0 3:1 17:2\n1\n");
  EXPECT_EQ(parsed.smallest_id, 3U);
  EXPECT_EQ(parsed.largest_id, 900U);
  // An entry of value 0 is dropped, but still tells that indices begin with 0.
  EXPECT_EQ(parse("1 0:0 5:1\n").smallest_id, 0U);
}

TEST(Libsvm, NumbersRowsByTheirLines) {
  auto chunk = make_text_chunk("# head\n1 1:1\n\n\n0 2:1");
  chunk.first_item = 1000;
  ParsedRows parsed;
  parse_libsvm(chunk, {}, parsed);
  EXPECT_EQ(chunk.lines, 5U);
  EXPECT_THAT(rows_of(parsed), ElementsAre(Row{1001, 1, {{1, 1}}, true}, Row{1004, 0, {{2, 1}}, true}));
}

TEST(Libsvm, TakesLabelsThatAreMissingWhereTheyMay) {
  const auto parsed = parse("3:1 4:2\n1 3:1\n7:1", {.label_required = false});
  ASSERT_EQ(parsed.rows.size(), 3U);
  EXPECT_NE(parsed.rows[0].label, parsed.rows[0].label);  // NaN
  EXPECT_EQ(parsed.rows[0].count, 2U);
  EXPECT_EQ(parsed.rows[1].label, 1);
}

struct Bad {
  std::string line;
  std::uint32_t column;
  std::string reason;
};

TEST(Libsvm, SaysWhereAndWhyALineIsBad) {
  const std::vector<Bad> cases = {
      {"x 1:1", 1, R"(the label is not a number: "x")"},
      {"nan 1:1", 1, R"(the label is not finite: "nan")"},
      {"3:1 4:1", 1, R"(the label is missing; the line begins with a feature: "3:1")"},
      {"1,2 3:1", 1, R"(several labels; a row has one: "1,2")"},
      {"1 qid:3 4:1", 3, R"(groups of a ranking (qid) are not supported; remove them: "qid:3")"},
      {"1 3:1 4", 7, R"(not an index:value; a ':' is missing behind the index: "4")"},
      {"1 3:1 x", 7, R"(not an index:value: "x")"},
      {"1 -3:1", 3, R"(the index is negative: "-3:1")"},
      {"1 3:", 5, R"(the value is not a number: "")"},
      {"1 3:1x", 5, R"(the value is not a number: "1x")"},
      {"1 3:nan", 5, R"(the value is not finite: "nan")"},
      {"1 3:-inf", 5, R"(the value is not finite: "-inf")"},
      {"1 3:1e39", 5, R"(the value is too large: "1e39")"},
      {"1 2147483647:1", 3, R"(the index is above 2147483646: "2147483647:1")"},
      {"1 99999999999999999999:1", 3, R"(the index is above 2147483646: "99999999999999999999:1")"},
      {"1 7:1 3:1 7:2", 11, R"(index 7 stands twice in the row: "7:2")"},
      {"1 7:1 7:1", 7, R"(index 7 stands twice in the row: "7:1")"},
      {"1 3 :1", 3, R"(not an index:value; a ':' is missing behind the index: "3")"},
      {std::string("1 3:1 \0 4:1", 11), 7, R"(not an index:value: "\x00")"},
      {"1 3:1;" + std::string(60, 'a'), 5, "the value is not a number: \"1;" + std::string(38, 'a') + "...\""},
  };
  for (const auto& [line, column, reason] : cases) {
    const auto parsed = parse("1 1:1\n" + line + "\n0 2:1\n");
    EXPECT_EQ(parsed.bad_lines, 1U) << line;
    EXPECT_THAT(parsed.first_bad_lines, ElementsAre(BadLine{0, 2, column, reason})) << line;
    EXPECT_EQ(rows_of(parsed), (std::vector<Row>{{0, 1, {{1, 1}}, true}, {2, 0, {{2, 1}}, true}})) << line;
  }
  EXPECT_EQ(to_string({1, 17, 5, "why"}, {"a.txt", "b.txt"}), "b.txt:17:5: why");
}

TEST(Libsvm, RefusesIndexZeroWhereIndicesBeginWithOne) {
  const auto parsed = parse("1 3:1 0:1\n", {.index_base = 1});
  EXPECT_THAT(parsed.first_bad_lines,
              ElementsAre(BadLine{0, 1, 7, R"(the index is 0, but the indices of this set begin with 1: "0:1")"}));
  EXPECT_THAT(parse("1 0:1 3:1\n", {.index_base = 0}).first_bad_lines, IsEmpty());
}

TEST(Libsvm, CountsAllBadLinesButQuotesAFew) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "bad\n1 1:1\n";
  const auto parsed = parse(text);
  EXPECT_EQ(parsed.bad_lines, 100U);
  EXPECT_EQ(parsed.first_bad_lines.size(), ParsedRows::kQuoted);
  EXPECT_EQ(parsed.rows.size(), 100U);
}

TEST(Libsvm, IsRecognised) {
  EXPECT_TRUE(looks_like_libsvm("# head\n1 3:1 17:0.5\n0 4:1\n1 1"));
  EXPECT_FALSE(looks_like_libsvm("a,b,c\n1,2,3\n"));
  EXPECT_FALSE(looks_like_libsvm("1\n2\n3\n"));
  EXPECT_FALSE(looks_like_libsvm("time,label\n12:30,1\n"));
  EXPECT_FALSE(looks_like_libsvm(""));
}

}  // namespace
}  // namespace virga
