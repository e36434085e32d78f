#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/storage/s3_answers.h"
#include "virga/storage/s3_place.h"
#include "virga/storage/xml.h"

namespace {

template <typename Read>
void attempt(const Read& read) {
  try {
    read();
  } catch (const virga::Error&) {
  }
}

}  // namespace

/// Input: an answer of S3's, or the URI of a place; each is read or refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    virga::read_xml(text, [](std::string_view path, const std::string&) { virga::check(!path.empty(), "no path"); });
  });
  attempt([&] {
    for (const auto& object : virga::read_s3_list(text).objects)
      virga::check(object.key.size() <= text.size(), "a key");
  });
  attempt([&] { virga::check(!virga::read_s3_upload_id(text).empty(), "an upload without an id"); });
  attempt([&] { (void)virga::read_s3_completion(text); });
  const auto refusal = virga::read_s3_refusal({.status = 503, .headers = {}, .body = {}}, text);
  virga::check(refusal.message.size() <= 300, "a message without end");
  attempt([&] {
    const auto nothing = [](const std::string&) { return std::optional<std::string>(); };
    const auto place = virga::parse_s3_uri(text, nothing);
    const auto again = virga::parse_s3_uri(virga::full_s3_uri(place), nothing);
    virga::check(again.endpoint == place.endpoint && again.prefix == place.prefix && again.region == place.region,
                 "a place changed on its way");
  });
  return 0;
}
