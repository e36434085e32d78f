#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "virga/base/error.h"
#include "virga/driver/run_budget.h"

/// leased.json: a sum that is not negative, or an Error of the kind that is promised.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  try {
    check(parse_leased(std::string_view(reinterpret_cast<const char*>(data), size)) >= Usd(), "nobody leases a debt");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "the kind that is promised");
  }
  return 0;
}
