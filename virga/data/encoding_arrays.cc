#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "virga/base/hash.h"
#include "virga/data/encoding.h"

namespace virga {
namespace {

constexpr std::uint32_t kMagic = 0x434E4556;  // "VENC"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 16;  // magic, version, number of sections, CRC-32C of the sections

enum class Section : std::uint32_t { kScaleOffset = 1, kScaleFactor = 2, kFeatureNames = 3, kLevels = 4 };

/// Writes the sections that are not empty, and counts them.
class SectionWriter {
 public:
  explicit SectionWriter(Bytes& out) : out_(out) {}

  void floats(Section section, const std::vector<float>& values) {
    if (values.empty()) return;
    begin(section, 0, values.size());
    out_.put_span(std::span(values));
  }
  void texts(Section section, std::size_t column, const std::vector<std::string>& texts) {
    if (texts.empty()) return;
    begin(section, column, texts.size());
    for (const auto& text : texts) out_.put(static_cast<std::uint32_t>(text.size()));
    for (const auto& text : texts) out_.put_span(std::span(text));
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

 private:
  void begin(Section section, std::size_t column, std::size_t elements) {
    out_.put(section);
    out_.put(static_cast<std::uint32_t>(column));
    out_.put(static_cast<std::uint32_t>(elements));
    ++count_;
  }

  ByteWriter out_;
  std::uint32_t count_ = 0;
};

std::vector<float> read_floats(ByteReader& in, std::uint32_t count) {
  const auto bytes = in.take(std::size_t{count} * sizeof(float));
  std::vector<float> values(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<std::string> read_texts(ByteReader& in, std::uint32_t count) {
  ByteReader lengths(in.take(std::size_t{count} * sizeof(std::uint32_t)), in.what());
  std::vector<std::string> texts(count);
  for (auto& text : texts) text = as_text(in.take(lengths.get<std::uint32_t>()));
  return texts;
}

[[noreturn]] void fail(std::string_view what, std::string_view reason) {
  throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", what, reason), "import the data again");
}

void read_section(ByteReader& in, Section section, std::uint32_t column, Encoding& encoding) {
  const auto count = in.get<std::uint32_t>();
  if (column != 0 && section != Section::kLevels) fail(in.what(), "a section that is not known");
  switch (section) {
    case Section::kScaleOffset:
      encoding.scale_offset = read_floats(in, count);
      return;
    case Section::kScaleFactor:
      encoding.scale_factor = read_floats(in, count);
      return;
    case Section::kFeatureNames:
      encoding.feature_names = read_texts(in, count);
      return;
    case Section::kLevels:
      if (column >= encoding.columns.size()) fail(in.what(), "levels of a column that is not there");
      encoding.columns[column].levels = read_texts(in, count);
      return;
  }
  fail(in.what(), "a section that is not known");
}

}  // namespace

Bytes encoding_arrays(const Encoding& encoding) {
  Bytes sections;
  SectionWriter writer(sections);
  writer.floats(Section::kScaleOffset, encoding.scale_offset);
  writer.floats(Section::kScaleFactor, encoding.scale_factor);
  writer.texts(Section::kFeatureNames, 0, encoding.feature_names);
  for (std::size_t i = 0; i < encoding.columns.size(); ++i)
    writer.texts(Section::kLevels, i, encoding.columns[i].levels);
  if (writer.count() == 0) return {};

  Bytes bytes;
  bytes.reserve(kHeaderBytes + sections.size());
  ByteWriter header(bytes);
  header.put(kMagic);
  header.put(kVersion);
  header.put(writer.count());
  header.put(crc32c(sections, crc32c(bytes)));
  header.put_span(std::span<const std::byte>(sections));
  return bytes;
}

void read_encoding_arrays(ByteView bytes, Encoding& encoding, std::string_view what) {
  if (bytes.empty()) return;
  ByteReader in(bytes, what);
  if (in.get<std::uint32_t>() != kMagic) fail(what, "this is not an encoding of Virga");
  if (const auto version = in.get<std::uint32_t>(); version != kVersion) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: version {} is not known", what, version),
                "use a newer virga, or import the data again");
  }
  const auto sections = in.get<std::uint32_t>();
  const auto crc = in.get<std::uint32_t>();
  if (crc != crc32c(bytes.subspan(kHeaderBytes), crc32c(bytes.first(kHeaderBytes - sizeof crc)))) {
    fail(what, "the checksum does not match");
  }
  std::pair<std::uint32_t, std::uint32_t> last = {0, 0};
  for (std::uint32_t i = 0; i < sections; ++i) {
    const auto section = in.get<std::uint32_t>();
    const auto column = in.get<std::uint32_t>();
    if (std::pair(section, column) <= last) fail(what, "the sections are not in order");
    last = {section, column};
    read_section(in, static_cast<Section>(section), column, encoding);
  }
  if (in.remaining() != 0) fail(what, "it is longer than it says");
}

}  // namespace virga
