#include "virga/channel/emulated_register.h"

namespace virga {

std::optional<RegisterValue> EmulatedRegister::read(std::string_view name, const Wait& wait) {
  const auto asked = EmulatedService::Clock::now();
  auto value = inner_.read(name, wait);
  ++writes_;
  ++reads_;
  service_.sleep_until(service_.down(service_.known_at(asked, asked), value ? value->bytes.size() : 0), uri(), "read",
                       wait);
  return value;
}

std::uint64_t EmulatedRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  service_.sleep_until(service_.up(bytes.size()), uri(), "write", wait);
  writes_ += 2;
  return inner_.write(name, bytes, wait);
}

std::optional<std::uint64_t> EmulatedRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                                ByteView bytes, const Wait& wait) {
  service_.sleep_until(service_.up(bytes.size()), uri(), "exchange", wait);
  writes_ += 2;
  return inner_.compare_exchange(name, expected, bytes, wait);
}

RegisterValue EmulatedRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  const auto asked = EmulatedService::Clock::now();
  auto value = inner_.wait_newer(name, version, wait);
  const auto came = EmulatedService::Clock::now();
  writes_ += service_.looks(asked, came);
  ++reads_;
  service_.sleep_until(service_.down(service_.known_at(asked, came), value.bytes.size()), uri(), "wait", wait);
  return value;
}

}  // namespace virga
