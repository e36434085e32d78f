#include "virga/data/encoding.h"

#include <functional>
#include <limits>
#include <tuple>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "virga/data/escape.h"

namespace virga {
namespace {

using nlohmann::json;
using Kind = ColumnEncoding::Kind;

/// Every member differs from its default, and texts hold what JSON cannot.
Encoding rich_encoding() {
  Encoding encoding;
  encoding.format = SourceFormat::kCsv;
  encoding.task = Task::kMulticlass;
  encoding.features = 6;
  encoding.dense = true;
  encoding.classes = {"no", "100 %", "\xFF\xFE", std::string("a\0b", 3)};
  encoding.feature_names = {"age", "age (missing)", "colour=red", "colour=gr\xFCn", "colour=?", ""};
  encoding.one_based = false;
  encoding.delimiter = '\t';
  encoding.header = false;
  encoding.missing = MissingPolicy::kMean;
  encoding.columns = {
      {.name = "y", .kind = Kind::kLabel},
      {.name = "\xC3\x28", .kind = Kind::kNumeric, .features = 2, .has_missing = true, .mean = 0.1F},
      {.name = "colour", .kind = Kind::kCategorical, .first_feature = 2, .features = 3, .levels = {"gr\xFCn", "red"}},
      {.name = "city", .kind = Kind::kHashed, .first_feature = 5, .features = 1}};
  encoding.image_shape = {2, 3};
  encoding.scale = ScaleKind::kStandardise;
  encoding.scale_offset = {0.1F, -2, 0, 0, 0, 1e-30F};
  encoding.scale_factor = {3.0F};
  return encoding;
}

Encoding through_files(const Encoding& encoding) {
  auto back = encoding_from_json(json::parse(to_json(encoding).dump()));
  read_encoding_arrays(encoding_arrays(encoding), back, "x");
  check_encoding(back, "x");
  return back;
}

TEST(Encoding, SurvivesItsFiles) {
  EXPECT_EQ(through_files(rich_encoding()), rich_encoding());
  Encoding plain{.features = 1, .classes = {"-1", "+1"}};
  EXPECT_EQ(through_files(plain), plain);
  EXPECT_THAT(encoding_arrays(plain), testing::IsEmpty());
}

TEST(Encoding, KeepsEveryEnumerator) {
  for (const auto format : {SourceFormat::kLibsvm, SourceFormat::kCsv, SourceFormat::kIdx}) {
    for (const auto scale : {ScaleKind::kNone, ScaleKind::kMaxAbs, ScaleKind::kStandardise, ScaleKind::kConstant}) {
      for (const auto missing :
           {MissingPolicy::kIndicator, MissingPolicy::kMean, MissingPolicy::kZero, MissingPolicy::kError}) {
        auto encoding = rich_encoding();
        encoding.format = format;
        encoding.scale = scale;
        encoding.missing = missing;
        EXPECT_EQ(through_files(encoding), encoding);
      }
    }
  }
}

TEST(EncodingFromJson, RefusesWhatToJsonDoesNotWrite) {
  const auto good = to_json(rich_encoding());
  const auto refuses = [&](const char* name, const json& value) {
    auto changed = good;
    changed[name] = value;
    try {
      std::ignore = encoding_from_json(changed);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      return std::string(error.what()).find(name) != std::string::npos || std::string(name) == "more";
    }
    return false;
  };
  for (const auto& [name, value] : good.items()) {
    EXPECT_TRUE(refuses(name.c_str(), json())) << name;
    auto without = good;
    without.erase(name);
    EXPECT_THROW(std::ignore = encoding_from_json(without), Error) << name;
  }
  EXPECT_TRUE(refuses("more", 1));
  EXPECT_TRUE(refuses("features", -1));
  EXPECT_TRUE(refuses("features", 1.5));
  EXPECT_TRUE(refuses("features", std::uint64_t{1} << 32));
  EXPECT_TRUE(refuses("task", "ranking"));
  EXPECT_TRUE(refuses("delimiter", ""));
  EXPECT_TRUE(refuses("classes", json::array({1})));
  EXPECT_TRUE(refuses("classes", json::array({"%G0"})));
  EXPECT_TRUE(refuses("columns", json::array({1})));
}

TEST(CheckEncoding, RefusesPartsThatDoNotFitTogether) {
  const auto refuses = [](const std::function<void(Encoding&)>& change) {
    auto encoding = rich_encoding();
    change(encoding);
    try {
      check_encoding(encoding, "model.safetensors");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("model.safetensors"));
      return error.kind() == ErrorKind::kCorrupt;
    }
    return false;
  };
  EXPECT_FALSE(refuses([](auto&) {}));
  EXPECT_TRUE(refuses([](auto& e) { e.features = 0; }));
  EXPECT_TRUE(refuses([](auto& e) { e.task = Task::kBinary; }));
  EXPECT_TRUE(refuses([](auto& e) { e.task = Task::kRegression; }));
  EXPECT_TRUE(refuses([](auto& e) { e.feature_names.pop_back(); }));
  EXPECT_TRUE(refuses([](auto& e) { e.scale_offset.pop_back(); }));
  EXPECT_TRUE(refuses([](auto& e) { e.scale_factor = {std::numeric_limits<float>::infinity()}; }));
  EXPECT_TRUE(refuses([](auto& e) { e.columns[3].first_feature = 6; }));
  EXPECT_TRUE(refuses([](auto& e) { e.columns[3].features = 0xFFFFFFFF; }));
  EXPECT_TRUE(refuses([](auto& e) { e.columns[0].features = 1; }));
  EXPECT_TRUE(refuses([](auto& e) { e.columns[1].levels = {"a"}; }));
  EXPECT_TRUE(refuses([](auto& e) { std::swap(e.columns[2].levels[0], e.columns[2].levels[1]); }));
}

TEST(EncodingArrays, RefuseEveryFlippedBitAndEveryCut) {
  const auto bytes = encoding_arrays(rich_encoding());
  const auto read = [](ByteView damaged) {
    auto encoding = encoding_from_json(to_json(rich_encoding()));
    read_encoding_arrays(damaged, encoding, "encoding.bin");
  };
  EXPECT_NO_THROW(read(bytes));
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_THROW(read(damaged), Error);
  }
  for (std::size_t size = 1; size < bytes.size(); ++size) EXPECT_THROW(read(ByteView(bytes).first(size)), Error);
}

/// docs/formats/manifest.md describes these bytes; a change of the format needs a new version.
TEST(EncodingArrays, AreTheBytesOfVersionOne) {
  Encoding encoding{.features = 2, .feature_names = {"a", "bc"}, .columns = {{}, {.levels = {"x"}}}};
  encoding.scale_factor = {1, 2.5F};
  const std::vector<unsigned> expected = {
      'V', 'E', 'N', 'C', 1, 0, 0, 0, 3, 0, 0, 0, 53, 50, 48,   18,                                      // header
      2,   0,   0,   0,   0, 0, 0, 0, 2, 0, 0, 0, 0,  0,  0x80, 0x3F, 0,  0, 0x20, 0x40,                 // factors
      3,   0,   0,   0,   0, 0, 0, 0, 2, 0, 0, 0, 1,  0,  0,    0,    2,  0, 0,    0,    'a', 'b', 'c',  // names
      4,   0,   0,   0,   1, 0, 0, 0, 1, 0, 0, 0, 1,  0,  0,    0,    'x'};  // levels of column 1
  std::vector<unsigned> seen;
  for (const auto byte : encoding_arrays(encoding)) seen.push_back(std::to_integer<unsigned>(byte));
  EXPECT_EQ(seen, expected);
}

TEST(EscapeText, LeavesValidTextAlone) {
  for (const std::string text : {"", "age", "größer", "日本", "\U0001F600", "a\nb"}) {
    EXPECT_EQ(escape_text(text), text);
    EXPECT_EQ(unescape_text(text, "x"), text);
  }
}

TEST(EscapeText, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(escape_text("100%"), "100%25");
  EXPECT_EQ(escape_text("gr\xFCn"), "gr%FCn");
  EXPECT_EQ(escape_text("\xC0\x80"), "%C0%80") << "not the shortest form";
  EXPECT_EQ(escape_text("\xED\xA0\x80"), "%ED%A0%80") << "a surrogate";
  EXPECT_EQ(escape_text("\xF4\x90\x80\x80"), "%F4%90%80%80") << "beyond Unicode";
  EXPECT_EQ(escape_text("\xE2\x82"), "%E2%82") << "cut";
  for (const std::string text : {"%", "%1", "%1x", "%x1", "a%"})
    EXPECT_THROW(std::ignore = unescape_text(text, "x"), Error);
}

TEST(EscapeText, MakesJsonOfAnyBytes) {
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      for (const std::string& tail : {std::string(), std::string("\x80"), std::string("\xBF\x80")}) {
        const auto bytes = std::string{static_cast<char>(first), static_cast<char>(second)} + tail;
        const auto text = escape_text(bytes);
        ASSERT_NO_THROW(std::ignore = json(text).dump()) << first << ' ' << second;
        ASSERT_EQ(unescape_text(text, "x"), bytes);
      }
    }
  }
}

}  // namespace
}  // namespace virga
