// Price tables of users: refused with the member that is wrong, or of prices that can be reckoned with.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/cost/price_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using virga::check;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto table = virga::parse_price_table(text, "prices");
    check(virga::parse_price_table(virga::price_table_text(table), "again") == table,
          "it reads back as it was written");
    const auto& prices = table.functions;
    const auto short_one = virga::invocation_price(prices, 128'000'000, std::chrono::milliseconds(1));
    const auto long_one = virga::invocation_price(prices, 10'240'000'000, std::chrono::hours(1000));
    check(virga::Usd() <= short_one && short_one <= long_one, "more time and memory cost no less");
    for (const auto& [name, service] : table.services) {
      check(virga::service_time_price(service, 1) <= virga::service_time_price(service, 1e12), "as does a service");
    }
    for (const auto& [name, instance] : table.instances.types) {
      check(virga::service_time_price(instance.rent, 1) <= virga::service_time_price(instance.rent, 1e12), "as a VM");
    }
    for (const auto* points : {&table.startup.functions, &table.startup.machines}) {
      const auto some = virga::startup_seconds(*points, 37);
      check(some >= 0 && some <= 86400, "a start-up takes the time of two points, or one between them");
    }
  } catch (const virga::Error& error) {
    check(error.kind() == virga::ErrorKind::kUsage, "a table that is wrong is the user's");
  }
  return 0;
}
