#include "virga/training/safetensors.h"

#include <cstdlib>
#include <numeric>

#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

/// A file of that header and data, whether valid or not.
Bytes file_of(std::string_view header, std::size_t data_bytes) {
  Bytes bytes;
  ByteWriter writer(bytes);
  writer.put(std::uint64_t{header.size()});
  writer.put_span(as_bytes(header));
  bytes.resize(bytes.size() + data_bytes);
  return bytes;
}

/// Kind and text of the error that parsing throws.
std::pair<ErrorKind, std::string> error_of(const Bytes& bytes) {
  try {
    static_cast<void>(parse_safetensors(bytes, "m.safetensors"));
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {ErrorKind::kInternal, "no error"};
}

TEST(Safetensors, HasExactlyTheseBytes) {
  const std::vector<float> weights = {1.5F, -2};
  const std::vector<std::uint8_t> pool = {'a', 0xFF, 'c'};
  const Safetensors content{.metadata = {{"format", "x"}},
                            .tensors = {{"a", ElementType::kU8, {3}, std::as_bytes(std::span(pool))},
                                        {"w", ElementType::kF32, {2, 1}, std::as_bytes(std::span(weights))}}};
  const std::string header = R"({"__metadata__":{"format":"x"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                             R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  const auto length = static_cast<char>(header.size() + padding.size());
  const std::string expected = std::string(1, length) + std::string(7, '\0') + header + padding +
                               std::string("\x00\x00\xC0\x3F\x00\x00\x00\xC0", 8) + "a\xFF" + "c";
  EXPECT_EQ(as_text(encode_safetensors(content)), expected);
}

TEST(Safetensors, ReadsBackWhatItWrites) {
  const std::vector<double> doubles = {0.1, -1e300, 5e-324};
  const std::vector<std::int64_t> longs = {-1, std::int64_t{1} << 62};
  const std::vector<std::uint32_t> words = {7};
  const Safetensors content{.metadata = {{"job", "{\"a\": \"\\u0000\"}"}, {"", "\n\"\\"}},
                            .tensors = {{"empty", ElementType::kF32, {0, 5}, {}},
                                        {"scalar", ElementType::kU32, {}, std::as_bytes(std::span(words))},
                                        {"d \"quoted\"", ElementType::kF64, {3}, std::as_bytes(std::span(doubles))},
                                        {"l", ElementType::kI64, {1, 2, 1}, std::as_bytes(std::span(longs))}}};

  const auto bytes = encode_safetensors(content);
  const auto read = parse_safetensors(bytes, "test");

  EXPECT_EQ(read.metadata, content.metadata);
  ASSERT_THAT(read.tensors, SizeIs(4));
  for (const auto& tensor : content.tensors) {
    const auto* found = read.find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->type, tensor.type);
    EXPECT_EQ(found->shape, tensor.shape);
  }
  EXPECT_EQ(elements<double>(*read.find("d \"quoted\"")), doubles);
  EXPECT_EQ(elements<std::int64_t>(*read.find("l")), longs);
  EXPECT_EQ(elements<std::uint32_t>(*read.find("scalar")), words);
  EXPECT_EQ(read.find("x"), nullptr);
}

TEST(Safetensors, AlignsAllDataAndDoesNotDependOnTheOrderOfTensors) {
  const std::vector<double> eight = {1, 2};
  const std::vector<float> four = {3};
  const std::vector<std::uint8_t> one = {4};
  Safetensors content{.tensors = {{"one", ElementType::kU8, {1}, std::as_bytes(std::span(one))},
                                  {"four", ElementType::kF32, {1}, std::as_bytes(std::span(four))},
                                  {"eight", ElementType::kF64, {2}, std::as_bytes(std::span(eight))}}};
  const auto bytes = encode_safetensors(content);
  const auto read = parse_safetensors(bytes, "test");
  for (const auto& tensor : read.tensors) {
    EXPECT_EQ(static_cast<std::size_t>(tensor.data.data() - bytes.data()) % element_bytes(tensor.type), 0U);
  }
  std::ranges::reverse(content.tensors);
  EXPECT_EQ(encode_safetensors(content), bytes);
}

TEST(Safetensors, ReplacesInvalidUtf8InMetadata) {
  const auto bytes = encode_safetensors({.metadata = {{"path", "caf\xE9"}}});
  EXPECT_EQ(parse_safetensors(bytes, "test").metadata.at("path"), "caf\xEF\xBF\xBD");
}

TEST(Safetensors, AcceptsAnyOrderInTheHeaderAndUnalignedData) {
  const auto bytes = file_of(
      R"({"b":{"data_offsets":[1,9],"shape":[2],"dtype":"F32"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}} )",
      9);
  const auto read = parse_safetensors(bytes, "test");
  ASSERT_THAT(read.tensors, SizeIs(2));
  EXPECT_EQ(read.tensors[0].name, "a");
  EXPECT_THAT(elements<float>(read.tensors[1]), ElementsAre(0, 0));
}

TEST(Safetensors, RefusesHeadersThatAreNone) {
  EXPECT_THAT(error_of(Bytes(7)).second,
              HasSubstr("m.safetensors is not a valid safetensors file: it has only 7 bytes"));
  EXPECT_THAT(error_of(Bytes(std::size_t{1000}, std::byte{'x'})).second, HasSubstr("the header does not fit"));
  for (const std::string_view header :
       {"", "[]", "{", "{}x", "{} {}", " {}", R"({"a":1})", R"({"a":{}})", R"({"a":null})",
        R"({"__metadata__":{"a":1}})", R"({"__metadata__":{"a":{}}})", R"({"__metadata__":[]})",
        R"({"a":{"dtype":"U8","shape":[0]}})", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":"U8","shape":[[0]],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":"U8","shape":[0.0],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":["U8"],"shape":[0],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", "{\"a\xFF\":{}}"}) {
    EXPECT_EQ(error_of(file_of(header, 0)).first, ErrorKind::kCorrupt) << header;
  }
}

TEST(Safetensors, RefusesAZeroByteInTheHeader) {
  EXPECT_THAT(error_of(file_of(std::string_view("{}\0{}", 5), 0)).second, HasSubstr("a zero byte in the header"));
}

TEST(Safetensors, RefusesNamesThatStandTwice) {
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                               R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                               0))
                  .second,
              HasSubstr("'a' stands twice"));
  EXPECT_THAT(error_of(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0)).second, HasSubstr("'k' stands twice"));
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"U8","dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0)).second,
              HasSubstr("'dtype' stands twice"));
}

TEST(Safetensors, RefusesOtherElementTypesByName) {
  const auto [kind, text] = error_of(file_of(R"({"a":{"dtype":"BF16","shape":[0],"data_offsets":[0,0]}})", 0));
  EXPECT_EQ(kind, ErrorKind::kUnsupported);
  EXPECT_THAT(text, HasSubstr("tensor 'a' has elements of type 'BF16'"));
}

TEST(Safetensors, RefusesOffsetsThatDoNotFillTheDataExactlyOnce) {
  const auto two = [](std::string_view first, std::string_view second) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(first) +
           R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + std::string(second) + "}}";
  };
  EXPECT_EQ(error_of(file_of(two("[0,4]", "[4,8]"), 8)).second, "no error");
  EXPECT_EQ(error_of(file_of(two("[4,8]", "[0,4]"), 8)).second, "no error");
  EXPECT_THAT(error_of(file_of(two("[0,4]", "[4,8]"), 9)).second, HasSubstr("data after the last tensor"));
  EXPECT_THAT(error_of(file_of(two("[0,4]", "[4,8]"), 7)).second, HasSubstr("tensor 'b'"));
  EXPECT_THAT(error_of(file_of(two("[0,4]", "[5,9]"), 9)).second, HasSubstr("a hole or an overlap before tensor 'b'"));
  EXPECT_THAT(error_of(file_of(two("[0,4]", "[0,4]"), 8)).second, HasSubstr("a hole or an overlap"));
  EXPECT_THAT(error_of(file_of(two("[0,4]", "[2,6]"), 8)).second, HasSubstr("a hole or an overlap"));
  for (const std::string_view offsets : {"[0,5]", "[4,0]", "[0]", "[]", "[0,4,4]", "[0,18446744073709551615]"}) {
    EXPECT_THAT(error_of(file_of(two(offsets, "[4,8]"), 8)).second, HasSubstr("tensor 'a' do not fit")) << offsets;
  }
}

TEST(Safetensors, RefusesSizesThatOverflow) {
  EXPECT_EQ(error_of(file_of(R"({"a":{"dtype":"F32","shape":[4294967296,1073741824],"data_offsets":[0,0]}})", 0)).first,
            ErrorKind::kCorrupt);
  EXPECT_EQ(error_of(file_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4)).first,
            ErrorKind::kUnsupported);
  std::string many = "{\"__metadata__\":{";
  for (int i = 0; i < 5000; ++i) many += "\"" + std::to_string(i) + "\":\"\",";
  EXPECT_THAT(error_of(file_of(many, 0)).second, HasSubstr("more than 4096 entries"));
}

TEST(Safetensors, RefusesAFileThatIsCutAnywhere) {
  const std::vector<float> weights(10, 1.0F);
  const auto bytes = encode_safetensors(
      {.metadata = {{"a", "b"}}, .tensors = {{"w", ElementType::kF32, {10}, std::as_bytes(std::span(weights))}}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(error_of(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))).first,
              ErrorKind::kCorrupt)
        << size;
  }
}

}  // namespace
}  // namespace virga
