#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/job/job_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    virga::Settings settings;
    settings.set(virga::parse_job_text(text, "job.toml", virga::Source::kJobFile, "jobs"));
    std::vector<std::string> warnings;
    static_cast<void>(virga::make_job(settings, warnings));
  } catch (const virga::Error&) {
  }
  return 0;
}
