// Ledgers as they may lie on a disk: refused, or what a writer would write again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "virga/base/error.h"
#include "virga/cost/ledger.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto ledger = virga::parse_ledger(text);
    std::string again;
    for (const auto& record : ledger.invocations) again += ledger_line(record);
    for (const auto& record : ledger.services) again += ledger_line(record);
    for (const auto& record : ledger.vms) again += ledger_line(record);
    virga::check(virga::parse_ledger(again) == ledger, "what was read can be written and read");
  } catch (const virga::Error& error) {
    virga::check(error.kind() == virga::ErrorKind::kCorrupt, "damage is named so");
  }
  return 0;
}
