#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/data/files_testing.h"
#include "virga/data/idx.h"

namespace virga {
namespace {

void read_pair(const std::string& images) {
  Encoding encoding{.format = SourceFormat::kIdx, .dense = true};
  LabelSurvey labels;
  survey_idx({images}, encoding, labels);
  labels.decide(std::nullopt, encoding);
  const auto source = open_idx_rows({images}, encoding, {});
  ParsedRows rows;
  while (source->next(rows)) {
    check(!rows.rows.empty() && rows.rows.front().count == encoding.features, "an image has a value for each feature");
  }
}

}  // namespace
}  // namespace virga

/// The input is cut in two at its last 0x7E: images and labels.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const virga::TestDirectory directory;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto cut = std::min(text.size(), text.rfind('~'));
  const auto images = directory.write("images", text.substr(0, cut));
  directory.write("labels", cut < text.size() ? text.substr(cut + 1) : "");
  try {
    virga::read_pair(images);
  } catch (const virga::Error& error) {
    virga::check(error.kind() == virga::ErrorKind::kBadData || error.kind() == virga::ErrorKind::kUnsupported,
                 "damaged data are bad data");
  }
  return 0;
}
