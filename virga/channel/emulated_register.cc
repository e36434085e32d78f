#include "virga/channel/emulated_register.h"

namespace virga {

std::optional<RegisterValue> EmulatedRegister::read(std::string_view name, const Wait& wait) {
  const auto asked = EmulatedService::Clock::now();
  auto value = inner_.read(name, wait);
  service_.sleep_until(service_.down(service_.known_at(asked, asked), value ? value->bytes.size() : 0), uri(), "read",
                       wait);
  return value;
}

std::uint64_t EmulatedRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  service_.sleep_until(service_.up(bytes.size()), uri(), "write", wait);
  return inner_.write(name, bytes, wait);
}

std::optional<std::uint64_t> EmulatedRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                                ByteView bytes, const Wait& wait) {
  service_.sleep_until(service_.up(bytes.size()), uri(), "exchange", wait);
  return inner_.compare_exchange(name, expected, bytes, wait);
}

RegisterValue EmulatedRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  const auto asked = EmulatedService::Clock::now();
  auto value = inner_.wait_newer(name, version, wait);
  const auto came = EmulatedService::Clock::now();
  service_.sleep_until(service_.down(service_.known_at(asked, came), value.bytes.size()), uri(), "wait", wait);
  return value;
}

}  // namespace virga
