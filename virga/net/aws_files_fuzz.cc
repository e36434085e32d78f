#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/net/aws_credentials.h"
#include "virga/net/aws_profile.h"
#include "virga/net/endpoint.h"

/// Input: a shared file of the AWS tools, an endpoint's JSON or an endpoint's URL; each is read or refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& [name, section] : virga::parse_aws_sections(text, "file")) {
      for (const auto& [key, value] : section) {
        virga::check(!key.empty() && value.find('\n') == std::string::npos, "a key or value that is none");
      }
    }
  } catch (const virga::Error&) {
  }
  try {
    virga::check(!virga::parse_aws_credentials(text, "endpoint").credentials.access_key_id.empty(), "no credentials");
  } catch (const virga::Error&) {
  }
  try {
    virga::check(!virga::parse_endpoint(text).host.empty(), "an endpoint without a host");
  } catch (const virga::Error&) {
  }
  return 0;
}
